//! The RPCs of operators.

use contracts::shop::inventory::v1 as wire;
use service_runtime::replay::IDEMPOTENCY_REPLAYED;
use service_runtime::status::reason_of;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{App, in_a_while, operator, service, start};

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("it says which fields").field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

async fn list(app: &App, request: wire::ListStockRequest) -> Result<(Vec<String>, String), Status> {
    let reply = app.client().list_stock(operator(request)).await?.into_inner();
    Ok((reply.stock.into_iter().map(|level| level.sku).collect(), reply.next_page_token))
}

#[tokio::test]
async fn a_receipt_answers_with_the_stock_and_a_read_with_its_position_sees_it() {
    let (_database, _saga, app) = start().await;
    app.receive("mug", 5).await;
    let reply = app.receive("mug", 2).await;
    let written = reply.stock.unwrap();
    assert_eq!((written.received, written.available, written.reserved), (7, 7, 0));
    let mut read = app.stock("mug", &reply.position).await.unwrap();
    assert!(read.updated_at.is_some());
    read.updated_at = written.updated_at;
    assert_eq!(read, written, "etag included");
    app.stop().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_again_and_booked_once() {
    let (_database, _saga, app) = start().await;
    let request = |quantity| {
        operator(wire::ReceiveStockRequest {
            request_id: "delivery-17".to_owned(),
            sku: "mug".to_owned(),
            quantity,
            reference: "17".to_owned(),
        })
    };
    let first = app.client().receive_stock(request(5)).await.unwrap();
    app.receive("mug", 1).await;
    let again = app.client().receive_stock(request(5)).await.unwrap();
    assert_eq!(again.get_ref().stock, first.get_ref().stock);
    assert!(first.metadata().get(IDEMPOTENCY_REPLAYED).is_none());
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    assert_eq!(app.stock("mug", &app.now().await).await.unwrap().received, 6);
    let other = app.client().receive_stock(request(6)).await.unwrap_err();
    assert_eq!((other.code(), reason_of(&other).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    app.stop().await;
}

#[tokio::test]
async fn a_refusal_that_is_repeated_says_so() {
    let (_database, _saga, app) = start().await;
    app.receive("mug", 1).await;
    let request = || {
        operator(wire::AdjustStockRequest {
            request_id: "count-1".to_owned(),
            sku: "mug".to_owned(),
            delta: -2,
            reason: "count".to_owned(),
            ..Default::default()
        })
    };
    let first = app.client().adjust_stock(request()).await.unwrap_err();
    app.receive("mug", 1).await;
    let again = app.client().adjust_stock(request()).await.unwrap_err();
    assert_eq!(reason_of(&again), "MORE_THAN_ON_HAND", "though it would be possible now");
    assert!(first.metadata().get(IDEMPOTENCY_REPLAYED).is_none());
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    app.stop().await;
}

#[tokio::test]
async fn an_adjustment_needs_the_current_etag_if_it_brings_one() {
    let (_database, _saga, app) = start().await;
    let etag = app.receive("mug", 5).await.stock.unwrap().etag;
    let adjust = |etag: &str| {
        operator(wire::AdjustStockRequest {
            sku: "mug".to_owned(),
            delta: -1,
            reason: "broken".to_owned(),
            etag: etag.to_owned(),
            ..Default::default()
        })
    };
    let level = app.client().adjust_stock(adjust(&etag)).await.unwrap().into_inner().stock.unwrap();
    assert_eq!((level.adjusted, level.available), (-1, 4));
    let stale = app.client().adjust_stock(adjust(&etag)).await.unwrap_err();
    assert_eq!((stale.code(), reason_of(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let read = app.stock("mug", &app.now().await).await.unwrap();
    assert_eq!(read.etag, level.etag, "reads and writes give the same etag");
    app.client().adjust_stock(adjust(&read.etag)).await.unwrap();
    app.stop().await;
}

#[tokio::test]
async fn malformed_requests_name_every_wrong_field() {
    let (_database, _saga, app) = start().await;
    let long = "x".repeat(101);
    for (sku, quantity, reference, wrong) in [
        ("", 1, "", vec!["sku"]),
        (long.as_str(), 0, "", vec!["sku", "quantity"]),
        ("mug", -1, "", vec!["quantity"]),
        ("mug", 1_000_001, "", vec!["quantity"]),
        ("mug", i64::MIN, "a\0b", vec!["quantity", "reference"]),
        ("mug", i64::MAX, "", vec!["quantity"]),
        ("4242424242424242", 1, "4242 4242 4242 4242", vec!["reference"]),
    ] {
        let (sku, reference) = (sku.to_owned(), reference.to_owned());
        let request = wire::ReceiveStockRequest { sku, quantity, reference, ..Default::default() };
        let refused = app.client().receive_stock(operator(request)).await.unwrap_err();
        assert_eq!(fields(&refused), wrong);
    }
    let request = wire::AdjustStockRequest { sku: " mug".to_owned(), ..Default::default() };
    let refused = app.client().adjust_stock(operator(request)).await.unwrap_err();
    assert_eq!(fields(&refused), ["sku", "delta", "reason"]);
    let reason = "card 4242-4242-4242-4242".to_owned();
    let request = wire::AdjustStockRequest { sku: "mug".to_owned(), delta: 1, reason, ..Default::default() };
    let refused = app.client().adjust_stock(operator(request)).await.unwrap_err();
    assert_eq!(fields(&refused), ["reason"]);
    assert!(!format!("{refused:?}").contains("4242"), "what was refused is not repeated");
    assert_eq!(fields(&app.stock("a\nb", "").await.unwrap_err()), ["sku"]);
    assert_eq!(fields(&app.stock("mug", "yesterday").await.unwrap_err()), ["min_position"]);
    let request = wire::GetReservationRequest { order_id: "1".to_owned(), ..Default::default() };
    let refused = app.client().get_reservation(operator(request)).await.unwrap_err();
    assert_eq!(fields(&refused), ["order_id"]);
    app.stop().await;
}

#[tokio::test]
async fn what_is_unknown_is_not_found() {
    let (_database, _saga, app) = start().await;
    for status in [
        app.stock("mug", "").await.unwrap_err(),
        app.adjust("mug", 1).await.unwrap_err(),
        app.reservation(Uuid::now_v7(), "").await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert!(reason_of(&status).starts_with("UNKNOWN_"), "{status:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_broken_rule_tells_its_reason_and_the_facts() {
    let (_database, _saga, app) = start().await;
    app.receive("mug", 5).await;
    let refused = app.adjust("mug", -6).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["onHand"].as_str()), ("MORE_THAN_ON_HAND", "5"));
    app.stop().await;
}

#[tokio::test]
async fn only_operators_see_and_change_stock() {
    let (_database, _saga, app) = start().await;
    let request = || wire::GetStockRequest { sku: "mug".to_owned(), ..Default::default() };
    let anonymous = app.client().get_stock(tonic::Request::new(request())).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let other = app.client().get_stock(service(request())).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied);
    app.stop().await;
}

#[tokio::test]
async fn stock_is_listed_page_by_page_in_the_order_of_skus() {
    let (_database, _saga, app) = start().await;
    let skus = ["B-1", "a/1", "a_2", "z", "é"];
    for sku in skus.iter().rev() {
        app.receive(sku, 1).await;
    }
    let min_position = app.now().await;
    let mut request =
        wire::ListStockRequest { page_size: 2, min_position: min_position.clone(), ..Default::default() };
    let mut found = Vec::new();
    loop {
        let (page, next) = list(&app, request.clone()).await.unwrap();
        assert!(page.len() <= 2);
        found.extend(page);
        if next.is_empty() {
            break;
        }
        request.page_token = next;
    }
    assert_eq!(found, skus);
    let first = wire::ListStockRequest { page_size: 2, ..Default::default() };
    let (_, token) = list(&app, first).await.unwrap();
    let other = wire::ListStockRequest { page_token: token, shortfall_only: true, ..Default::default() };
    assert_eq!(fields(&list(&app, other).await.unwrap_err()), ["page_token"]);
    let negative = wire::ListStockRequest { page_size: -1, ..Default::default() };
    assert_eq!(fields(&list(&app, negative).await.unwrap_err()), ["page_size"]);
    app.stop().await;
}

#[tokio::test]
async fn a_list_can_show_only_the_skus_that_are_short() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 5).await;
    app.receive("tea", 5).await;
    let order = Uuid::now_v7();
    saga.reserve(order, &[("mug", 5)], in_a_while());
    app.await_answers(order, 1).await;
    let short = app.adjust("mug", -2).await.unwrap().stock.unwrap();
    assert_eq!((short.available, short.shortfall, short.reserved), (-2, 2, 5));
    let only_short =
        |min_position| wire::ListStockRequest { shortfall_only: true, min_position, ..Default::default() };
    assert_eq!(list(&app, only_short(app.now().await)).await.unwrap().0, ["mug"]);
    app.receive("mug", 2).await;
    assert!(list(&app, only_short(app.now().await)).await.unwrap().0.is_empty());
    app.stop().await;
}
