//! What operators and shoppers do with orders that exist, and how orders are listed.

use contracts::shop::order::v1 as wire;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn a_confirmed_order_is_shipped_and_delivered() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    let early = app.ship(&order_id, "").await.unwrap_err();
    assert_eq!(refusal(&early), (Code::FailedPrecondition, "ORDER_NOT_CONFIRMED".into()));
    world.confirm(&order_id);
    app.until(&order_id, wire::OrderStatus::Confirmed).await;

    let early = app.deliver(&order_id).await.unwrap_err();
    assert_eq!(refusal(&early), (Code::FailedPrecondition, "ORDER_NOT_SHIPPED".into()));
    assert_eq!(app.ship(&order_id, "").await.unwrap().status(), wire::OrderStatus::Shipped);
    let late = app.cancel(&order_id, "", &token).await.unwrap_err();
    assert_eq!(refusal(&late), (Code::FailedPrecondition, "ORDER_ALREADY_SHIPPED".into()));
    assert_eq!(app.deliver(&order_id).await.unwrap().status(), wire::OrderStatus::Delivered);
    let again = app.deliver(&order_id).await.unwrap_err();
    assert_eq!(refusal(&again), (Code::FailedPrecondition, "ORDER_ALREADY_DELIVERED".into()));
}

#[tokio::test]
async fn a_change_against_an_older_version_is_refused_and_nothing_happens() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    let seen = app.get(&order_id, &token).await.unwrap().etag;
    world.confirm(&order_id);
    let confirmed = app.until(&order_id, wire::OrderStatus::Confirmed).await;
    let status = app.ship(&order_id, &seen).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Aborted, "ETAG_MISMATCH".into()));
    assert_eq!(app.ship(&order_id, &confirmed.etag).await.unwrap().status(), wire::OrderStatus::Shipped);
}

#[tokio::test]
async fn a_repeated_change_gets_the_first_answer() {
    let (world, app) = start().await;
    let (order_id, _) = app.placed().await;
    world.confirm(&order_id);
    app.until(&order_id, wire::OrderStatus::Confirmed).await;
    let request = wire::ShipOrderRequest { request_id: "ship-1".into(), order_id, ..Default::default() };
    for _ in 0..2 {
        let reply = app.client().ship_order(with(OPERATOR, request.clone())).await.unwrap().into_inner();
        assert_eq!(reply.order.unwrap().status(), wire::OrderStatus::Shipped);
    }
}

#[tokio::test]
async fn cancelling_twice_is_cancelling_once() {
    let (_world, app) = start().await;
    let (order_id, token) = app.placed().await;
    for reason in ["CHANGED_MIND", "SOMETHING_ELSE"] {
        let order = app.cancel(&order_id, reason, &token).await.unwrap();
        assert_eq!(order.status(), wire::OrderStatus::Pending, "only checkout ends pending");
        assert!(order.cancellation_requested);
    }
    assert_eq!(app.history(&order_id, &token).await.unwrap().len(), 2);
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_status_and_customer_in_pages() {
    let (world, app) = start().await;
    let mut placed = Vec::new();
    for customer in ["c-1", "c-2", "c-1", "c-1", ""] {
        let request = wire::PlaceOrderRequest { customer_id: customer.into(), ..app.order(&[("A-1", 1)]) };
        placed.push(app.place(request).await.unwrap());
    }
    let min_position = placed[4].position.clone();
    let ids: Vec<_> = placed.into_iter().rev().map(|reply| reply.order.unwrap().order_id).collect();
    world.confirm(&ids[1]);
    app.until(&ids[1], wire::OrderStatus::Confirmed).await;

    let pages = async |request: wire::ListOrdersRequest| {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = wire::ListOrdersRequest { page_size: 2, page_token, ..request.clone() };
            let page = app.list(request).await.unwrap();
            assert!(page.orders.len() <= 2);
            found.extend(page.orders.into_iter().map(|order| order.order_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    };
    let all = wire::ListOrdersRequest { min_position, ..Default::default() };
    assert_eq!(pages(all.clone()).await, ids);
    let of_customer = wire::ListOrdersRequest { customer_id: "c-1".into(), ..all.clone() };
    assert_eq!(pages(of_customer.clone()).await, [&ids[1..3], &ids[4..]].concat());
    let open = wire::ListOrdersRequest { status: wire::OrderStatus::Pending.into(), ..of_customer };
    assert_eq!(pages(open.clone()).await, [&ids[2..3], &ids[4..]].concat());

    let first = app.list(wire::ListOrdersRequest { page_size: 1, ..open.clone() }).await.unwrap();
    let elsewhere = wire::ListOrdersRequest { page_token: first.next_page_token, ..all };
    assert_eq!(app.list(elsewhere).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = wire::ListOrdersRequest { status: 99, ..open };
    assert_eq!(app.list(unknown).await.unwrap_err().code(), Code::InvalidArgument);
}
