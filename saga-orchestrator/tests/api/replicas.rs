//! More than one of everything: two instances on one database, messages that are delivered again, a restart in the
//! middle. Every effect happens once.

use contracts::shop::saga::v1::saga_event::Event as Request;
use sqlx::Connection;

use crate::shop::*;

const STEPS: [&str; 6] =
    ["ReserveStock", "AuthorizePayment", "PinReservation", "CapturePayment", "CommitStock", "ConfirmOrder"];

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_on_one_database_ask_each_participant_once() {
    let shop = Shop::open().await;
    let first = shop.start(true).await;
    let second = shop.start(false).await;
    let orders: Vec<_> = (0..20).map(|_| shop.place(4990)).collect();
    for order in &orders[..10] {
        shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    }
    for order in orders {
        shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
        assert_eq!(shop.requests(&format!("checkout-{order}")).await, STEPS);
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_all_delivered_again_have_no_new_effect() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let confirmed = shop.place(4990);
    let cancelled = shop.place(4990);
    shop.until(&format!("checkout-{cancelled}"), "SagaEnded Completed").await;
    shop.cancel(cancelled, false);
    shop.until(&format!("cancellation-{cancelled}"), "SagaEnded Completed").await;
    shop.until(&format!("checkout-{confirmed}"), "SagaEnded Completed").await;
    instance.stop().await;

    let before = shop.log.head().await.unwrap();
    let mut owner = sqlx::PgConnection::connect(shop.database.admin_url()).await.unwrap();
    let reset = "UPDATE eventsourcing.checkpoints SET position = 0 WHERE subscription LIKE 'saga.%-events'";
    let subscriptions = sqlx::query(reset).execute(&mut owner).await.unwrap().rows_affected();
    assert_eq!(subscriptions, 3);
    let instance = shop.start(false).await;
    shop.until_heard(&instance).await;
    assert_eq!(shop.log.head().await.unwrap(), before);
    assert!(instance.subscriptions.parked_counts().await.unwrap().is_empty());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_again_goes_on_where_the_last_one_stopped() {
    let shop = Shop::with(patient(), |request| {
        matches!(request, Request::PaymentCaptureRequested(_)).then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    shop.until(&format!("checkout-{order}"), "StepRequested CapturePayment").await;
    instance.stop().await;

    // Orders are placed and payment answers while nobody listens.
    let later = shop.place(0);
    let captured =
        contracts::shop::payment::v1::PaymentCaptured { order_id: order.to_string(), amount: None };
    let captured = contracts::shop::payment::v1::payment_event::Event::PaymentCaptured(captured);
    shop.feeds.say(order, crate::participants::Answer::Payment(captured));

    // The participants see every request again, and answer again.
    let instance = shop.start(true).await;
    shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    shop.until(&format!("checkout-{later}"), "SagaEnded Completed").await;
    assert_eq!(shop.requests(&format!("checkout-{order}")).await, STEPS);
    instance.stop().await;
}
