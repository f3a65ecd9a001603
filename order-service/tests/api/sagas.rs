//! What the sagas ask, and what they are answered.

use contracts::shop::order::v1 as wire;
use contracts::shop::order::v1::order_event::Event;
use testkit::{SOON, eventually};
use uuid::Uuid;

use crate::support::*;

#[tokio::test]
async fn a_placed_order_is_published_with_what_checkout_needs_and_nothing_personal() {
    let (_world, app) = start().await;
    let reply = app.place(app.order(&[("A-1", 2), ("B-2", 1)])).await.unwrap();
    let published = app.published().await;
    let [Event::OrderPlaced(placed)] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(placed.order_id, reply.order.unwrap().order_id);
    let lines: Vec<_> = placed.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!(lines, [("A-1", 2), ("B-2", 1)]);
    assert_eq!((&placed.total, placed.payment_token.as_str()), (&eur(2599), "tok_success"));

    let message = &app.feed.read(0, Default::default(), 10).await.unwrap().messages[0];
    assert_eq!(message.event_type, "shop.order.v1.OrderPlaced");
    assert_eq!(message.subject, format!("order-{}", placed.order_id));
    assert_eq!((message.source.as_str(), message.version), ("/shop/order", 1));
    assert!(!String::from_utf8_lossy(&message.data).contains("Ada"));
}

#[tokio::test]
async fn every_request_is_answered_also_when_it_is_asked_again() {
    let (world, app) = start().await;
    let ((confirmed, _), (rejected, _)) = (app.placed().await, app.placed().await);
    let is_confirmed = |event: &Event| matches!(event, Event::OrderConfirmed(e) if e.order_id == confirmed);
    let is_rejected = |event: &Event| matches!(event, Event::OrderRejected(e) if e.order_id == rejected && e.reason == "PAYMENT_DECLINED");
    for times in 1..=3 {
        world.confirm(&confirmed);
        world.reject(&rejected, "PAYMENT_DECLINED");
        app.until_published("the confirmation is answered", times, is_confirmed).await;
        app.until_published("the rejection is answered", times, is_rejected).await;
    }
    for order_id in [&confirmed, &rejected] {
        assert_eq!(app.history(order_id, OPERATOR).await.unwrap().len(), 2, "readers see each end once");
    }
    let order = eventually("the read model has seen every answer", SOON, || async {
        let order = app.get(&rejected, OPERATOR).await.unwrap();
        (order.etag == "\"v4\"").then_some(order)
    })
    .await;
    assert_eq!((order.status(), order.reason.as_str()), (wire::OrderStatus::Rejected, "PAYMENT_DECLINED"));
}

#[tokio::test]
async fn the_same_message_delivered_twice_is_answered_once() {
    let (world, app) = start().await;
    let (order_id, _) = app.placed().await;
    world.confirm(&order_id);
    world.saga.redeliver();
    let (marker, _) = app.placed().await;
    world.confirm(&marker);
    app.until(&marker, wire::OrderStatus::Confirmed).await;
    let confirmations = app.published().await;
    let confirmations =
        confirmations.iter().filter(|e| matches!(e, Event::OrderConfirmed(e) if e.order_id == order_id));
    assert_eq!(confirmations.count(), 1);
}

#[tokio::test]
async fn a_pending_order_is_cancelled_by_the_checkout_saga() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    app.cancel(&order_id, "CHANGED_MIND", &token).await.unwrap();
    let asked = |event: &Event| matches!(event, Event::OrderCancellationRequested(e) if e.while_pending && e.reason == "CHANGED_MIND");
    app.until_published("the saga is asked", 1, asked).await;
    world.complete_cancellation(&order_id, "CHANGED_MIND");
    let order = app.until(&order_id, wire::OrderStatus::Cancelled).await;
    assert_eq!((order.reason.as_str(), order.cancellation_requested), ("CHANGED_MIND", false));
    app.until_published("the saga is answered", 1, |e| matches!(e, Event::OrderCancelled(_))).await;
}

#[tokio::test]
async fn a_confirmation_that_overtakes_a_cancellation_asks_the_cancellation_saga() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    app.cancel(&order_id, "CHANGED_MIND", &token).await.unwrap();
    world.confirm(&order_id);
    let order = app.until(&order_id, wire::OrderStatus::Confirmed).await;
    assert!(order.cancellation_requested);
    let asked = |event: &Event| matches!(event, Event::OrderCancellationRequested(e) if !e.while_pending);
    app.until_published("the cancellation saga is asked", 1, asked).await;
    let refused = app.ship(&order_id, "").await.unwrap_err();
    assert_eq!(refusal(&refused).1, "CANCELLATION_UNDER_WAY");
    world.complete_cancellation(&order_id, "CHANGED_MIND");
    app.until(&order_id, wire::OrderStatus::Cancelled).await;
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_is_parked_and_others_go_on() {
    let (world, app) = start().await;
    world.confirm(&Uuid::now_v7().to_string());
    world.confirm("no-uuid");
    world.saga.send("saga-broken", vec![0xff]);
    let (order_id, _) = app.placed().await;
    world.confirm(&order_id);
    app.until(&order_id, wire::OrderStatus::Confirmed).await;
    let parked = eventually("three messages are parked", SOON, || async {
        let parked = app.subscriptions.parked(Some("order.saga-requests"), None, 10).await.unwrap();
        (parked.len() == 3).then_some(parked)
    })
    .await;
    assert!(parked.iter().all(|message| message.error.is_some()));
}

#[tokio::test]
async fn a_malformed_reason_does_not_keep_a_saga_waiting() {
    let (world, app) = start().await;
    let (order_id, _) = app.placed().await;
    world.reject(&order_id, "because 4242 4242 4242 4242");
    let order = app.until(&order_id, wire::OrderStatus::Rejected).await;
    assert_eq!(order.reason, "UNSPECIFIED");
}
