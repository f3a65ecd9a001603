//! History and the live stream of one order.

use std::future::Future;

use contracts::shop::order::v1 as wire;
use testkit::SOON;
use tonic::{Code, Streaming};

use crate::support::*;

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(SOON, what).await.expect("this should have come long ago")
}

/// The next entry's event with its cursor, and whether it is the last.
async fn next(stream: &mut Streaming<wire::WatchOrderResponse>) -> Option<(String, String, bool)> {
    let next = soon(stream.message()).await.unwrap()?;
    Some((next.entry.unwrap().event, next.cursor, next.last))
}

fn entry(event: &str, cursor: &str, last: bool) -> Option<(String, String, bool)> {
    Some((event.to_owned(), cursor.to_owned(), last))
}

#[tokio::test]
async fn a_history_tells_what_happened_when_by_whom_and_why() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    app.cancel(&order_id, "I found it cheaper", &token).await.unwrap();
    world.complete_cancellation(&order_id, "REQUESTED_BY_SHOPPER");
    app.until(&order_id, wire::OrderStatus::Cancelled).await;
    let history = app.history(&order_id, &token).await.unwrap();
    let told: Vec<_> =
        history.iter().map(|e| (e.event.as_str(), e.actor.as_str(), e.status(), e.reason.as_str())).collect();
    use wire::OrderStatus::{Cancelled, Pending};
    assert_eq!(
        told,
        [
            ("OrderPlaced", "shopper", Pending, ""),
            ("OrderCancellationRequested", "shopper", Pending, "I found it cheaper"),
            ("OrderCancelled", "saga", Cancelled, "REQUESTED_BY_SHOPPER"),
        ]
    );
    assert!(history.is_sorted_by_key(|entry| entry.at.as_ref().map(|at| (at.seconds, at.nanos))));
}

#[tokio::test]
async fn a_stream_tells_what_has_happened_then_what_happens_and_ends_with_checkout() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    let mut stream = app.watch(&order_id, "", &token).await.unwrap();
    assert_eq!(next(&mut stream).await, entry("OrderPlaced", "v1", false));
    world.confirm(&order_id);
    assert_eq!(next(&mut stream).await, entry("OrderConfirmed", "v2", true));
    let read = app.get(&order_id, &token).await.unwrap();
    assert_eq!(read.status(), wire::OrderStatus::Confirmed, "a read is never behind what a stream has told");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_stream_continues_exactly_after_its_cursor() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    let mut stream = app.watch(&order_id, "", &token).await.unwrap();
    let (_, cursor, _) = next(&mut stream).await.unwrap();
    drop(stream);
    app.cancel(&order_id, "CHANGED_MIND", &token).await.unwrap();
    world.confirm(&order_id);
    app.until(&order_id, wire::OrderStatus::Confirmed).await;

    let mut stream = app.watch(&order_id, &cursor, &token).await.unwrap();
    assert_eq!(next(&mut stream).await, entry("OrderCancellationRequested", "v2", false));
    assert_eq!(next(&mut stream).await, entry("OrderConfirmed", "v3", false));
    let again = entry("OrderCancellationRequested", "v4", false);
    assert_eq!(next(&mut stream).await, again, "confirmed, and not at its end: it is being cancelled");
    world.complete_cancellation(&order_id, "CHANGED_MIND");
    assert_eq!(next(&mut stream).await, entry("OrderCancelled", "v5", true));
    assert_eq!(next(&mut stream).await, None);

    let mut stream = app.watch(&order_id, "v5", &token).await.unwrap();
    assert_eq!(next(&mut stream).await, None, "nothing comes after the end");
    let malformed = app.watch(&order_id, "5", &token).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_confirmed_order_is_followed_on_to_its_delivery_after_the_cursor_of_its_confirmation() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    world.confirm(&order_id);
    app.until(&order_id, wire::OrderStatus::Confirmed).await;
    let mut whole = app.watch(&order_id, "", &token).await.unwrap();
    assert_eq!(next(&mut whole).await, entry("OrderPlaced", "v1", false));
    assert_eq!(next(&mut whole).await, entry("OrderConfirmed", "v2", true));

    let mut further = app.watch(&order_id, "v2", &token).await.unwrap();
    app.ship(&order_id, "").await.unwrap();
    assert_eq!(next(&mut further).await, entry("OrderShipped", "v3", false));
    // An answer that is repeated for a saga is no news.
    world.confirm(&order_id);
    app.deliver(&order_id).await.unwrap();
    let (event, _, last) = next(&mut further).await.unwrap();
    assert_eq!((event.as_str(), last), ("OrderDelivered", true));
    assert_eq!(next(&mut further).await, None);
}

#[tokio::test]
async fn streams_are_limited_and_their_places_are_given_back() {
    let (world, app) = start().await;
    app.stop().await;
    let app = world.start(order_service::Options { max_watches: 1, ..world.options() }).await.unwrap();
    let ((one, token), (other, other_token)) = (app.placed().await, app.placed().await);
    let first = app.watch(&one, "", &token).await.unwrap();
    let refused = app.watch(&other, "", &other_token).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, "OVERLOADED".into()));
    drop(first);
    testkit::eventually("the place is free again", SOON, || async {
        app.watch(&other, "", &other_token).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_the_service_stops() {
    let (_world, app) = start().await;
    let (order_id, token) = app.placed().await;
    let mut stream = app.watch(&order_id, "", &token).await.unwrap();
    assert_eq!(next(&mut stream).await, entry("OrderPlaced", "v1", false));
    let (_, ended) = tokio::join!(app.stop(), next(&mut stream));
    assert_eq!(ended, None, "without a last entry, so that the client continues elsewhere");
}
