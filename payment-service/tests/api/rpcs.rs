//! The RPCs: look at payments, list them, pay back.

use crate::support::{Answer, Shop, as_operator, euro};
use contracts::shop::payment::v1 as pb;
use contracts::shop::r#type::v1::Money;
use service_runtime::replay::IDEMPOTENCY_REPLAYED;
use service_runtime::status::reason_of;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

async fn refund(shop: &Shop, request: pb::RefundPaymentRequest) -> Result<pb::RefundPaymentResponse, Status> {
    shop.client().refund_payment(as_operator(request)).await.map(|reply| reply.into_inner())
}

fn refund_of(order: Uuid, request_id: &str, amount: Option<Money>) -> pb::RefundPaymentRequest {
    let (order_id, request_id) = (order.to_string(), request_id.to_owned());
    pb::RefundPaymentRequest { request_id, order_id, amount, reason: "came broken".into() }
}

async fn get(shop: &Shop, order: Uuid, min_position: &str) -> Result<pb::Payment, Status> {
    let request = pb::GetPaymentRequest { order_id: order.to_string(), min_position: min_position.into() };
    let reply = shop.client().get_payment(as_operator(request)).await?;
    Ok(reply.into_inner().payment.unwrap())
}

#[tokio::test]
async fn a_payment_shows_what_was_held_taken_and_paid_back() {
    let shop = Shop::open().await;
    let order = shop.captured("tok_success").await;
    let reply = refund(&shop, refund_of(order, "r-1", Some(euro(300)))).await.unwrap();
    let shown = reply.payment.unwrap();
    assert_eq!(shown.refunds.len(), 1, "a reply is never stale");
    assert_eq!(shown.refunds[0].amount, Some(euro(300)));
    assert_eq!(shown.refunds[0].reason, "came broken");

    shop.until(order, "refund", |e| matches!(e, Answer::PaymentRefunded(_))).await;
    // The position of a later mutation is behind the refund's end.
    let second = refund(&shop, refund_of(order, "r-2", Some(euro(1)))).await.unwrap();
    let payment = get(&shop, order, &second.position).await.unwrap();
    assert_eq!(payment.order_id, order.to_string());
    assert_eq!(payment.status(), pb::PaymentStatus::Captured);
    assert_eq!((payment.amount, payment.captured), (Some(euro(1000)), Some(euro(1000))));
    assert!(payment.refunded.unwrap().minor_units >= 300);
    assert_eq!(payment.refunds[0].status(), pb::RefundStatus::Succeeded);
    assert!(payment.provider_reference.starts_with("sim_") && payment.updated_at.is_some());
    assert!(payment.etag.starts_with("\"v"));
}

#[tokio::test]
async fn the_same_refund_request_is_one_refund() {
    let shop = Shop::open().await;
    let order = shop.captured("tok_success").await;
    let request = || as_operator(refund_of(order, "same", Some(euro(600))));
    let first = shop.client().refund_payment(request()).await.unwrap();
    let again = shop.client().refund_payment(request()).await.unwrap();
    assert!(first.metadata().get(IDEMPOTENCY_REPLAYED).is_none());
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(first.position, again.position);
    assert_eq!(again.payment.unwrap().refunds.len(), 1);
    let reused = refund(&shop, refund_of(order, "same", Some(euro(1)))).await.unwrap_err();
    assert_eq!((reused.code(), reason_of(&reused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
}

#[tokio::test]
async fn refunds_at_the_same_moment_never_exceed_the_capture() {
    let shop = Shop::open().await;
    let order = shop.captured("tok_success").await;
    let requests = (0..10).map(|i| refund(&shop, refund_of(order, &format!("r-{i}"), Some(euro(300)))));
    let replies = futures::future::join_all(requests).await;
    assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 3);
    for refused in replies.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let details = refused.get_details_error_info().unwrap();
        assert_eq!(
            (details.reason.as_str(), details.metadata["left"].as_str()),
            ("REFUND_EXCEEDS_CAPTURE", "100")
        );
    }
    refund(&shop, refund_of(order, "rest", None)).await.unwrap();
    shop.until_count(order, 4, "refunds", |e| matches!(e, Answer::PaymentRefunded(_))).await;
    assert_eq!(shop.provider_payments(order).await, [("captured".into(), 1000)]);
    let nothing = refund(&shop, refund_of(order, "more", None)).await.unwrap_err();
    assert_eq!(reason_of(&nothing), "NOTHING_LEFT_TO_REFUND");
}

#[tokio::test]
async fn refunds_that_make_no_sense_are_refused_with_a_reason() {
    let shop = Shop::open().await;
    let order = shop.captured("tok_success").await;
    let dollars = Money { currency_code: "USD".into(), minor_units: 1 };
    let malformed = Money { currency_code: "euro".into(), minor_units: 1 };
    for (amount, code, reason) in [
        (euro(0), Code::InvalidArgument, "INVALID_REQUEST"),
        (euro(-1), Code::InvalidArgument, "INVALID_REQUEST"),
        (euro(i64::MAX), Code::InvalidArgument, "INVALID_REQUEST"),
        (malformed, Code::InvalidArgument, "INVALID_REQUEST"),
        (euro(1001), Code::FailedPrecondition, "REFUND_EXCEEDS_CAPTURE"),
        (dollars, Code::FailedPrecondition, "CURRENCY_MISMATCH"),
    ] {
        let refused = refund(&shop, refund_of(order, "", Some(amount.clone()))).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (code, reason), "{amount:?}");
    }
    let nobody = refund(&shop, refund_of(Uuid::now_v7(), "", None)).await.unwrap_err();
    assert_eq!((nobody.code(), reason_of(&nobody).as_str()), (Code::NotFound, "PAYMENT_NOT_FOUND"));
    let held = Uuid::now_v7();
    shop.requests.authorize(held, "tok_success");
    shop.until_authorized(held).await;
    let early = refund(&shop, refund_of(held, "", None)).await.unwrap_err();
    assert_eq!(reason_of(&early), "PAYMENT_NOT_CAPTURED");
    assert_eq!(shop.provider_calls(order, "refund").await, 0);
}

#[tokio::test]
async fn a_card_number_in_a_reason_is_refused_and_kept_nowhere() {
    let shop = Shop::open().await;
    let order = shop.captured("tok_success").await;
    let card = "4242 4242 4242 4242";
    let request = pb::RefundPaymentRequest {
        reason: format!("customer paid with {card}, refund please"),
        order_id: "not-an-order".into(),
        ..refund_of(order, "", None)
    };
    let refused = refund(&shop, request.clone()).await.unwrap_err();
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["order_id", "reason"]);
    let request = pb::RefundPaymentRequest { order_id: order.to_string(), ..request };
    assert_eq!(refund(&shop, request).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(!format!("{refused:?}").contains("4242") && !shop.dump().await.contains(card));
}

#[tokio::test]
async fn payments_are_listed_newest_first_in_pages() {
    let shop = Shop::open().await;
    let mut orders: Vec<String> = Vec::new();
    for _ in 0..5 {
        let order = Uuid::now_v7();
        shop.requests.authorize(order, "tok_decline");
        shop.until(order, "decline", |e| matches!(e, Answer::PaymentDeclined(_))).await;
        orders.insert(0, order.to_string());
    }
    let captured = shop.captured("tok_success").await;
    // What the read model shows of it has come after all others.
    refund(&shop, refund_of(captured, "", Some(euro(1)))).await.unwrap();

    let list = async |status: pb::PaymentStatus, page_token: &str| {
        let (status, page_token) = (status.into(), page_token.to_owned());
        let request = pb::ListPaymentsRequest { page_size: 2, page_token, status };
        let reply = shop.client().list_payments(as_operator(request)).await?.into_inner();
        let ids: Vec<_> = reply.payments.into_iter().map(|payment| payment.order_id).collect();
        Ok::<_, Status>((ids, reply.next_page_token))
    };
    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let (ids, next) = list(pb::PaymentStatus::Declined, &token).await.unwrap();
        listed.extend(ids);
        if next.is_empty() {
            break;
        }
        let foreign = list(pb::PaymentStatus::Captured, &next).await.unwrap_err();
        assert_eq!(foreign.code(), Code::InvalidArgument, "a token belongs to its filter");
        token = next;
    }
    assert_eq!(listed, orders);
    let (all, _) = list(pb::PaymentStatus::Unspecified, "").await.unwrap();
    assert_eq!(all, [captured.to_string(), orders[0].clone()]);
}

#[tokio::test]
async fn only_operators_see_payments_and_only_real_ones() {
    let shop = Shop::open().await;
    let request = pb::ListPaymentsRequest::default();
    assert_eq!(shop.client().list_payments(request).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(get(&shop, Uuid::now_v7(), "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get(&shop, Uuid::now_v7(), "x").await.unwrap_err().code(), Code::InvalidArgument);
    let request = pb::GetPaymentRequest { order_id: "1".into(), min_position: String::new() };
    let malformed = shop.client().get_payment(as_operator(request)).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let request = pb::ListPaymentsRequest { status: 99, ..Default::default() };
    let unknown = shop.client().list_payments(as_operator(request)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
}
