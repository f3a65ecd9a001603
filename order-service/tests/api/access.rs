//! Who may see which order.

use contracts::shop::order::v1 as wire;
use contracts::shop::order::v1::forget_person_request::Person;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::*;

/// What each way to an order says to a credential.
async fn attempts(app: &App, order_id: &str, token: &str) -> Vec<Result<(), Status>> {
    vec![
        app.get(order_id, token).await.map(drop),
        app.history(order_id, token).await.map(drop),
        app.watch(order_id, "", token).await.map(drop),
        app.cancel(order_id, "CHANGED_MIND", token).await.map(drop),
    ]
}

#[tokio::test]
async fn an_order_is_open_to_its_own_token_and_to_operators() {
    let (_world, app) = start().await;
    let (order_id, token) = app.placed().await;
    for token in [token.as_str(), OPERATOR] {
        for attempt in attempts(&app, &order_id, token).await {
            attempt.unwrap();
        }
    }
}

#[tokio::test]
async fn another_orders_token_gets_the_same_answer_whether_the_order_exists_or_not() {
    let (_world, app) = start().await;
    let ((order_id, _), (_, of_another)) = (app.placed().await, app.placed().await);
    let missing = Uuid::now_v7().to_string();
    for token in [of_another.as_str(), "made-up-token", &"x".repeat(4000)] {
        let existing = attempts(&app, &order_id, token).await;
        let absent = attempts(&app, &missing, token).await;
        for (existing, absent) in existing.into_iter().zip(absent) {
            let (existing, absent) = (existing.unwrap_err(), absent.unwrap_err());
            assert_eq!(refusal(&existing), (Code::PermissionDenied, "ORDER_ACCESS_DENIED".into()));
            assert_eq!((refusal(&existing), existing.message()), (refusal(&absent), absent.message()));
        }
    }
    assert!(!app.get(&order_id, OPERATOR).await.unwrap().cancellation_requested, "nothing was done");
}

#[tokio::test]
async fn an_operator_is_told_that_there_is_no_such_order() {
    let (_world, app) = start().await;
    let missing = Uuid::now_v7().to_string();
    let mut refusals = attempts(&app, &missing, OPERATOR).await;
    refusals.push(app.ship(&missing, "").await.map(drop));
    refusals.push(app.deliver(&missing).await.map(drop));
    refusals.push(app.forget(Person::OrderId(missing)).await.map(drop));
    for refused in refusals {
        assert_eq!(refusal(&refused.unwrap_err()), (Code::NotFound, "ORDER_NOT_FOUND".into()));
    }
    let malformed = app.get("no-uuid", OPERATOR).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn shoppers_neither_list_ship_nor_forget() {
    let (_world, app) = start().await;
    let (order_id, token) = app.placed().await;
    let mut client = app.client();
    let order = || order_id.clone();
    let refused = [
        client.list_orders(with(&token, wire::ListOrdersRequest::default())).await.unwrap_err(),
        client
            .ship_order(with(&token, wire::ShipOrderRequest { order_id: order(), ..Default::default() }))
            .await
            .unwrap_err(),
        client
            .forget_person(with(&token, wire::ForgetPersonRequest { person: Some(Person::OrderId(order())) }))
            .await
            .unwrap_err(),
        client
            .get_order(wire::GetOrderRequest { order_id: order(), ..Default::default() })
            .await
            .unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_token_stays_valid_while_its_key_is_rotated() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    app.stop().await;
    let mut options = world.options();
    options.order_token_keys.insert(0, service_runtime::Secret::new("the next key of order tokens"));
    let app = world.start(options).await.unwrap();
    app.get(&order_id, &token).await.unwrap();
}
