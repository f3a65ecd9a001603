//! What the saga asks for, and what it is told.

use contracts::shop::inventory::v1 as wire;
use contracts::shop::inventory::v1::inventory_event::Event as Answer;
use contracts::shop::saga::v1 as saga_wire;
use contracts::shop::saga::v1::saga_event::Event as Ask;
use testkit::{SOON, eventually};
use uuid::Uuid;
use wire::ReservationStatus as Status;

use crate::support::{
    App, committed, in_a_while, pin_rejected, pinned, rejected, released, reserved, restocked, start,
};

async fn level(app: &App, sku: &str) -> wire::StockLevel {
    app.stock(sku, &app.now().await).await.unwrap()
}

async fn status(app: &App, order: Uuid) -> Status {
    app.reservation(order, &app.now().await).await.unwrap().status()
}

#[tokio::test]
async fn an_order_is_reserved_pinned_sold_and_taken_back() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    app.receive("tea", 5).await;
    let order = Uuid::now_v7();
    saga.reserve(order, &[("mug", 2), ("tea", 1), ("mug", 1)], in_a_while());
    assert_eq!(app.await_answers(order, 1).await, [reserved(order)]);
    let view = app.reservation(order, &app.now().await).await.unwrap();
    let lines: Vec<_> = view.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!((view.status(), lines), (Status::Held, vec![("mug", 3), ("tea", 1)]));
    assert!(view.expires_at.is_some());
    assert_eq!(level(&app, "mug").await.reserved, 3);

    saga.pin(order);
    app.await_answers(order, 2).await;
    assert_eq!(status(&app, order).await, Status::Pinned);
    saga.commit(order);
    app.await_answers(order, 3).await;
    let sold = level(&app, "mug").await;
    assert_eq!((sold.reserved, sold.committed, sold.available), (0, 3, 2));
    saga.restock(order);
    let told = app.await_answers(order, 4).await;
    assert_eq!(told, [reserved(order), pinned(order), committed(order), restocked(order)]);
    assert_eq!((level(&app, "mug").await.available, status(&app, order).await), (5, Status::Restocked));
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_met_is_rejected_with_every_lacking_line() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 1).await;
    app.receive("tea", 9).await;
    let (short, unknown, malformed) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    saga.reserve(short, &[("mug", 2), ("tea", 1)], in_a_while());
    saga.reserve(unknown, &[("nowhere", 1), ("tea", 1)], in_a_while());
    saga.reserve(malformed, &[("tea", 0)], in_a_while());
    let told = app.await_answers(short, 1).await;
    assert_eq!(told, [rejected(short, "INSUFFICIENT_STOCK", &[("mug", 2, 1)])]);
    let told = app.await_answers(unknown, 1).await;
    assert_eq!(told, [rejected(unknown, "UNKNOWN_SKU", &[("nowhere", 1, 0)])]);
    assert_eq!(app.await_answers(malformed, 1).await, [rejected(malformed, "INVALID_LINES", &[])]);
    assert_eq!(level(&app, "tea").await.reserved, 0);
    assert_eq!(status(&app, short).await, Status::Rejected);
    app.stop().await;
}

#[tokio::test]
async fn every_repetition_is_answered_and_has_its_effect_once() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    let order = Uuid::now_v7();
    for _ in 0..3 {
        saga.reserve(order, &[("mug", 2)], in_a_while());
    }
    assert_eq!(app.await_answers(order, 3).await, vec![reserved(order); 3]);
    for _ in 0..2 {
        saga.pin(order);
    }
    assert_eq!(app.await_answers(order, 5).await[3..], vec![pinned(order); 2]);
    for _ in 0..2 {
        saga.commit(order);
    }
    assert_eq!(app.await_answers(order, 7).await[5..], vec![committed(order); 2]);
    for _ in 0..2 {
        saga.restock(order);
    }
    assert_eq!(app.await_answers(order, 9).await[7..], vec![restocked(order); 2]);
    let level = level(&app, "mug").await;
    assert_eq!((level.available, level.committed, level.restocked, level.reserved), (5, 2, 2, 0));
    app.stop().await;
}

#[tokio::test]
async fn a_message_that_is_delivered_again_is_the_same_request() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    let order = Uuid::now_v7();
    saga.reserve(order, &[("mug", 2)], in_a_while());
    saga.feed.redeliver();
    saga.pin(order);
    saga.feed.redeliver();
    saga.commit(order);
    saga.feed.redeliver();
    saga.restock(order);
    let told = app.await_answers(order, 4).await;
    assert_eq!(told, [reserved(order), pinned(order), committed(order), restocked(order)]);
    app.stop().await;
}

#[tokio::test]
async fn a_late_reservation_finds_the_tombstone_of_its_release() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    let order = Uuid::now_v7();
    saga.release(order);
    saga.release(order);
    saga.reserve(order, &[("mug", 2)], in_a_while());
    saga.reserve(order, &[("mug", 2)], in_a_while());
    saga.pin(order);
    let told = app.await_answers(order, 5).await;
    let refused = rejected(order, "RELEASED_BEFORE", &[]);
    let released = released(order, false);
    let no_pin = pin_rejected(order, "RESERVATION_RELEASED");
    assert_eq!(told, [released.clone(), released, refused.clone(), refused, no_pin]);
    assert_eq!((level(&app, "mug").await.available, status(&app, order).await), (5, Status::Released));
    app.stop().await;
}

#[tokio::test]
async fn a_released_reservation_gives_its_pieces_to_the_next_order() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 1).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    saga.reserve(first, &[("mug", 1)], in_a_while());
    app.await_answers(first, 1).await;
    saga.pin(first);
    saga.release(first);
    assert_eq!(app.await_answers(first, 3).await[2], released(first, false), "a pinned one can be released");
    saga.reserve(second, &[("mug", 1)], in_a_while());
    assert_eq!(app.await_answers(second, 1).await, [reserved(second)]);
    let of_sku: Vec<_> =
        app.published().await.into_iter().filter(|(key, _)| key == "stock-mug").map(|(_, e)| e).collect();
    let in_stock = |in_stock| {
        Answer::StockAvailabilityChanged(wire::StockAvailabilityChanged { sku: "mug".to_owned(), in_stock })
    };
    assert_eq!(of_sku, [in_stock(true), in_stock(false), in_stock(true), in_stock(false)]);
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_no_correct_saga_sends_is_parked_and_the_others_go_on() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    let (wrong, nobody, right) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    saga.commit(wrong);
    saga.feed.send(format!("saga-{nobody}"), b"\xff\xff\xff".to_vec());
    let no_order = saga_wire::StockReleaseRequested { order_id: "nobody".to_owned() };
    saga.ask(nobody, Ask::StockReleaseRequested(no_order));
    saga.reserve(right, &[("mug", 1)], in_a_while());
    assert_eq!(app.await_answers(right, 1).await, [reserved(right)]);
    let parked = eventually("three messages are parked", SOON, || async {
        let parked = app.subscriptions.parked(None, None, 10).await.unwrap();
        (parked.len() >= 3).then_some(parked)
    })
    .await;
    let errors: Vec<_> = parked.iter().filter_map(|message| message.error.as_deref()).collect();
    assert!(errors.iter().any(|error| error.contains("nothing is held that could be sold")), "{errors:?}");
    assert!(app.answers(wrong).await.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn requests_to_other_participants_are_passed_over() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    let order = Uuid::now_v7();
    let order_id = order.to_string();
    saga.ask(order, Ask::PaymentCaptureRequested(saga_wire::PaymentCaptureRequested { order_id }));
    saga.feed.send(format!("saga-{order}"), Vec::new());
    saga.reserve(order, &[("mug", 1)], in_a_while());
    assert_eq!(app.await_answers(order, 1).await, [reserved(order)]);
    assert!(app.subscriptions.parked(None, None, 1).await.unwrap().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn two_hundred_buyers_of_fifty_pieces_get_exactly_fifty() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 50).await;
    let buyers: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
    for buyer in &buyers {
        saga.reserve(*buyer, &[("mug", 1)], in_a_while());
    }
    let told = eventually("every buyer is told", SOON, || async {
        let all = app.published().await;
        let told: Vec<_> = all.into_iter().filter(|(key, _)| key.starts_with("reservation-")).collect();
        (told.len() == 200).then_some(told)
    })
    .await;
    let sold = told.iter().filter(|(_, answer)| matches!(answer, Answer::StockReserved(_))).count();
    assert_eq!(sold, 50);
    let level = level(&app, "mug").await;
    assert_eq!((level.available, level.reserved, level.shortfall), (0, 50, 0));
    app.stop().await;
}
