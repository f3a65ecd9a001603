//! Two replicas of the service on one database.

use std::time::Duration;

use contracts::shop::order::v1 as wire;
use futures::future::join_all;
use order_service::Options;
use testkit::{SOON, eventually};

use crate::support::*;

#[tokio::test]
async fn what_one_replica_places_the_other_reads_follows_and_repeats() {
    let (world, one) = start().await;
    let two = world.start(world.options()).await.unwrap();

    let request = one.order(&[("A-1", 1)]);
    let placed = one.place(request.clone()).await.unwrap();
    let (order, token) = (placed.order.unwrap(), placed.access_token);
    let read = wire::GetOrderRequest { order_id: order.order_id.clone(), min_position: placed.position };
    let read = two.client().get_order(with(&token, read)).await.unwrap().into_inner();
    assert_eq!(read.order.as_ref(), Some(&order));
    let repeated = two.place(request).await.unwrap();
    assert_eq!((repeated.order, repeated.access_token), (Some(order.clone()), token.clone()));

    let mut streams = [
        one.watch(&order.order_id, "v1", &token).await.unwrap(),
        two.watch(&order.order_id, "v1", &token).await.unwrap(),
    ];
    world.confirm(&order.order_id);
    for stream in &mut streams {
        let next = tokio::time::timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
        assert_eq!((next.entry.unwrap().event.as_str(), next.last), ("OrderConfirmed", true));
    }
    one.stop().await;
    assert_eq!(two.ship(&order.order_id, "").await.unwrap().status(), wire::OrderStatus::Shipped);
}

#[tokio::test]
async fn the_same_requests_to_two_replicas_at_once_are_one_order_each() {
    let (world, one) = start().await;
    let two = world.start(world.options()).await.unwrap();
    let requests: Vec<_> = (0..10)
        .map(|number| wire::PlaceOrderRequest {
            customer_id: if number % 2 == 0 { "c-1".into() } else { String::new() },
            ..one.order(&[("A-1", 1)])
        })
        .collect();
    let places = requests.iter().flat_map(|request| {
        [&one, &two, &one, &two].map(|app| async move {
            let reply = app.place(request.clone()).await.unwrap();
            (request.request_id.clone(), reply.order.unwrap().order_id, reply.access_token)
        })
    });
    let mut placed = join_all(places).await;
    placed.sort();
    placed.dedup();
    assert_eq!(placed.len(), 10, "each request led to one order, whoever was asked");
    assert_eq!(world.keys().await, 6, "one key for the customer, one for each guest");
    for (_, order_id, token) in &placed {
        let order = two.get(order_id, token).await.unwrap();
        assert_eq!(order.contact, Some(contact()));
    }
    assert_eq!(one.published().await.len(), 10);
}

#[tokio::test]
async fn master_keys_are_rotated_while_replicas_with_the_former_order_of_keys_still_work() {
    let (world, first) = start().await;
    first.stop().await;
    let with = |keys: [char; 2]| Options {
        personal_data_keys: keys.map(master_key).to_vec(),
        rewrap_interval: Duration::from_millis(20),
        ..world.options()
    };
    // The new key is known everywhere before anybody uses it; then replicas come that use it first.
    let former = world.start(Options { rewrap_interval: SOON, ..with(['a', 'b']) }).await.unwrap();
    let newer = world.start(with(['b', 'a'])).await.unwrap();
    for _ in 0..3 {
        let placed = former.place(former.order(&[("A-1", 1)])).await.unwrap();
        let order = placed.order.unwrap();
        assert_eq!(newer.get(&order.order_id, &placed.access_token).await.unwrap().contact, Some(contact()));
        eventually("what the former replica wrapped is wrapped anew", SOON, || async {
            let masters = "SELECT count(DISTINCT master_key) FROM personal_data_keys";
            (world.count(masters).await == 1).then_some(())
        })
        .await;
        assert_eq!(former.get(&order.order_id, &placed.access_token).await.unwrap().contact, Some(contact()));
    }
}
