//! Orders on their way: confirmed, rejected, cancelled before and after.

use contracts::shop::inventory::v1 as inventory;
use contracts::shop::inventory::v1::inventory_event::Event as Inventory;
use contracts::shop::payment::v1 as payment;
use contracts::shop::payment::v1::payment_event::Event as Payment;
use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::SagaEvent;
use contracts::shop::saga::v1::saga_event::Event as Request;
use eventsourcing::feed::Feed;
use prost::Message;
use saga_orchestrator::SagaOrchestrator;
use testkit::{SOON, eventually};

use crate::participants::{Answer, order_of};
use crate::shop::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_everybody_agrees_to_is_confirmed_with_one_request_a_step() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    let expected = [
        "ReserveStock",
        "AuthorizePayment",
        "PinReservation",
        "CapturePayment",
        "CommitStock",
        "ConfirmOrder",
    ];
    assert_eq!(shop.requests(&format!("checkout-{order}")).await, expected);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_order_is_confirmed_without_asking_for_money() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let order = shop.place(0);
    shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    let expected = ["ReserveStock", "PinReservation", "CommitStock", "ConfirmOrder"];
    assert_eq!(shop.requests(&format!("checkout-{order}")).await, expected);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_ends_in_a_rejected_order_with_the_provider_s_reason() {
    let shop = Shop::with(patient(), |request| {
        let Request::PaymentAuthorizationRequested(asked) = request else { return None };
        let (order_id, reason) = (asked.order_id.clone(), "CARD_DECLINED".to_owned());
        Some(vec![Answer::Payment(Payment::PaymentDeclined(payment::PaymentDeclined { order_id, reason }))])
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    shop.until(&saga_id, "SagaEnded Compensated").await;
    let expected = ["ReserveStock", "AuthorizePayment", "ReleaseStock", "RejectOrder"];
    assert_eq!(shop.requests(&saga_id).await, expected);
    let saga = get(&instance, &saga_id).await.unwrap();
    assert_eq!((saga.status(), saga.reason.as_str()), (wire::SagaStatus::Compensated, "CARD_DECLINED"));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_says_all_that_a_participant_needs_and_nothing_private() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    let feed =
        SagaOrchestrator::open(saga_orchestrator::Options::new(shop.database.url())).await.unwrap().feed();
    let page = Feed::read(&*feed, 0, Default::default(), 100).await.unwrap();
    assert_eq!(page.messages.len(), 6, "requests alone are published");
    for message in &page.messages {
        assert_eq!(message.subject, format!("checkout-{order}"));
        assert_eq!(message.source, "/shop/saga");
        assert_eq!(message.correlation_id, order.to_string(), "the flow goes on");
        let request = SagaEvent::decode(message.data.as_slice()).unwrap().event.unwrap();
        assert_eq!(order_of(&request), order.to_string());
        let name = format!("{request:?}");
        let variant = name.split('(').next().unwrap();
        assert_eq!(message.event_type, format!("shop.saga.v1.{variant}"));
    }
    let first = SagaEvent::decode(page.messages[0].data.as_slice()).unwrap().event.unwrap();
    let Request::StockReservationRequested(reservation) = first else { panic!("{first:?}") };
    assert_eq!((reservation.lines[0].sku.as_str(), reservation.lines[0].quantity), ("TEE-M", 2));
    assert!(reservation.expires_at.is_some());
    let second = SagaEvent::decode(page.messages[1].data.as_slice()).unwrap().event.unwrap();
    let Request::PaymentAuthorizationRequested(authorization) = second else { panic!("{second:?}") };
    assert_eq!(authorization.amount.unwrap().minor_units, 4990);
    assert_eq!(authorization.payment_token, "tok_success");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_during_checkout_undoes_what_was_done_and_cancels_the_order() {
    // Payment takes its time until the order is cancelled.
    let shop = Shop::with(patient(), |request| {
        matches!(request, Request::PaymentAuthorizationRequested(_)).then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    shop.until(&saga_id, "StepRequested AuthorizePayment").await;
    shop.cancel(order, true);
    shop.until(&saga_id, "TurnedBack").await;
    let authorized = payment::PaymentAuthorized { order_id: order.to_string() };
    shop.feeds.say(order, Answer::Payment(Payment::PaymentAuthorized(authorized)));
    shop.until(&saga_id, "SagaEnded Compensated").await;
    let expected =
        ["ReserveStock", "AuthorizePayment", "VoidAuthorization", "ReleaseStock", "CompleteCancellation"];
    assert_eq!(shop.requests(&saga_id).await, expected);
    assert!(shop.story(&format!("cancellation-{order}")).await.is_empty());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_after_the_capture_was_requested_goes_forward_and_is_then_paid_back() {
    let shop = Shop::with(patient(), |request| {
        matches!(request, Request::PaymentCaptureRequested(_)).then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let checkout = format!("checkout-{order}");
    shop.until(&checkout, "StepRequested CapturePayment").await;
    shop.cancel(order, true);
    shop.until(&checkout, "CancellationNoted").await;
    let captured = payment::PaymentCaptured { order_id: order.to_string(), amount: None };
    shop.feeds.say(order, Answer::Payment(Payment::PaymentCaptured(captured)));
    let cancellation = format!("cancellation-{order}");
    shop.until(&cancellation, "SagaEnded Completed").await;
    let expected = ["RefundPayment", "RestockGoods", "CompleteCancellation"];
    assert_eq!(shop.requests(&cancellation).await, expected);
    // The order service repeats the wish once the order is confirmed.
    shop.cancel(order, false);
    shop.until_heard(&instance).await;
    assert_eq!(shop.requests(&cancellation).await, expected);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_order_is_cancelled_by_a_saga_of_its_own() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    shop.cancel(order, false);
    shop.until(&format!("cancellation-{order}"), "SagaEnded Completed").await;
    let saga = get(&instance, &format!("cancellation-{order}")).await.unwrap();
    assert_eq!(saga.kind(), wire::SagaKind::Cancellation);
    assert_eq!(saga.status(), wire::SagaStatus::Completed);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stray_and_foreign_messages_change_nothing() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    shop.until(&saga_id, "SagaEnded Completed").await;
    let before = shop.log.head().await.unwrap();
    let order_id = order.to_string();
    let reserved = Inventory::StockReserved(inventory::StockReserved { order_id: order_id.clone() });
    shop.feeds.say(order, Answer::Inventory(reserved));
    let availability = inventory::StockAvailabilityChanged { sku: "TEE-M".into(), in_stock: false };
    shop.feeds.say(order, Answer::Inventory(Inventory::StockAvailabilityChanged(availability)));
    let by_hand = payment::PaymentRefunded { order_id, refund_id: "by hand 1".into(), amount: None };
    shop.feeds.say(order, Answer::Payment(Payment::PaymentRefunded(by_hand)));
    let unknown_order = uuid::Uuid::now_v7();
    let captured = payment::PaymentCaptured { order_id: unknown_order.to_string(), amount: None };
    shop.feeds.say(unknown_order, Answer::Payment(Payment::PaymentCaptured(captured)));
    // An event that this program does not know yet.
    shop.feeds.payment.send(format!("payment-{order}"), vec![0xfa, 0x3f, 0x00]);
    shop.until_heard(&instance).await;
    assert_eq!(shop.log.head().await.unwrap(), before);
    assert!(instance.subscriptions.parked_counts().await.unwrap().is_empty());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_what_it_says_is_parked_and_others_go_on() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let nonsense = payment::PaymentCaptured { order_id: "not an order".into(), amount: None };
    shop.feeds.say(uuid::Uuid::now_v7(), Answer::Payment(Payment::PaymentCaptured(nonsense)));
    shop.feeds.order.send(format!("order-{}", uuid::Uuid::now_v7()), b"\xff\xff\xff".to_vec());
    let order = shop.place(4990);
    shop.until(&format!("checkout-{order}"), "SagaEnded Completed").await;
    eventually("both are parked", SOON, || async {
        let parked = instance.subscriptions.parked_counts().await.unwrap();
        (parked.get("saga.payment-events") == Some(&1) && parked.get("saga.order-events") == Some(&1))
            .then_some(())
    })
    .await;
    instance.stop().await;
}
