//! The requests of the saga, answered through every turn that the provider can take.

use std::time::Duration;

use crate::support::{Answer, Shop, as_operator, euro, patient, quick, simulator};
use contracts::shop::payment::v1 as pb;
use testkit::{SOON, eventually};
use uuid::Uuid;

#[tokio::test]
async fn every_script_is_played_to_its_end() {
    let shop = Shop::open().await;
    let declined = |reason: &'static str| move |e: &Answer| matches!(e, Answer::PaymentDeclined(e) if e.reason == reason);
    let failed = |e: &Answer| matches!(e, Answer::PaymentCaptureFailed(e) if e.reason == "CAPTURE_REFUSED");
    let captured = |e: &Answer| matches!(e, Answer::PaymentCaptured(_));

    let end_in_a_decline = [
        ("tok_decline", declined("CARD_DECLINED")),
        ("tok_decline_insufficient_funds", declined("INSUFFICIENT_FUNDS")),
        ("tok_unknown_then_decline", declined("CARD_DECLINED")),
        ("tok_nobody_knows", declined("INVALID_TOKEN")),
    ];
    let end_in_a_failed_capture = ["tok_capture_fails", "tok_capture_timeout_then_failure"];
    let end_in_a_capture = [
        "tok_success",
        "tok_slow",
        "tok_timeout_then_success",
        "tok_unknown_until_asked",
        "tok_error_then_success",
        "tok_lost_then_success",
        "tok_capture_timeout_then_success",
        "tok_webhook_twice",
        "tok_webhook_reordered",
    ];
    let begin = |token| {
        let order = Uuid::now_v7();
        shop.requests.authorize(order, token);
        order
    };
    let declines: Vec<_> = end_in_a_decline.into_iter().map(|(token, end)| (begin(token), end)).collect();
    let failures = end_in_a_failed_capture.map(begin);
    let captures = end_in_a_capture.map(begin);
    for order in failures.into_iter().chain(captures) {
        shop.until_authorized(order).await;
        shop.requests.capture(order);
    }

    for (order, end) in declines {
        shop.until(order, "decline", end).await;
        assert_eq!(shop.provider_payments(order).await, [("declined".into(), 0)]);
    }
    for order in failures {
        shop.until(order, "failed capture", failed).await;
        assert_eq!(shop.provider_payments(order).await, [("authorized".into(), 0)]);
    }
    for order in captures {
        let answer = shop.until(order, "capture", captured).await;
        let Answer::PaymentCaptured(answer) = answer else { unreachable!() };
        assert_eq!(answer.amount, Some(euro(1000)));
        assert_eq!(shop.provider_payments(order).await, [("captured".into(), 0)], "one payment, once");
        assert_eq!(shop.provider_calls(order, "capture").await, 1);
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_told_and_definite_after_asking() {
    let shop = Shop::open().await;
    let order = Uuid::now_v7();
    shop.requests.authorize(order, "tok_unknown_until_asked");
    shop.until_authorized(order).await;
    let unknown = pb::PaymentOutcomeUnknown { order_id: order.to_string(), operation: "authorize".into() };
    let published = shop.published(order).await;
    assert_eq!(published[0], Answer::PaymentOutcomeUnknown(unknown), "told once, before the answer");
    assert_eq!(published.len(), 2);
    let asks = "SELECT asks::bigint FROM simulator_calls WHERE order_id = $1";
    assert_eq!(shop.count(asks, order).await, 4, "three times it was pending");
}

#[tokio::test]
async fn a_payment_stays_unknown_and_visible_beyond_its_budget_and_is_asked_on() {
    let forever = |options: &mut payment_service::Options| {
        quick(options);
        options.calls.budget = 1;
        options.calls.slow_pause = Duration::from_millis(20);
        simulator(options).pending_asks = u32::MAX;
    };
    let mut shop = Shop::open_with(forever).await;
    let order = Uuid::now_v7();
    shop.requests.authorize(order, "tok_unknown_until_asked");
    // Nothing is compensated meanwhile: the void waits too.
    shop.requests.void(order);
    let asked = || async {
        let asks = "SELECT coalesce(max(asks), 0)::bigint FROM simulator_calls WHERE order_id = $1";
        (shop.count(asks, order).await > 5).then_some(())
    };
    eventually("more asks than the budget has", SOON, asked).await;
    let unknown = || async {
        let status = pb::PaymentStatus::Unknown.into();
        let request = pb::ListPaymentsRequest { status, ..Default::default() };
        let listed = shop.client().list_payments(as_operator(request)).await.unwrap().into_inner().payments;
        (!listed.is_empty()).then_some(listed)
    };
    let listed = eventually("it is listed", SOON, unknown).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].order_id, order.to_string());
    let told = || async { (shop.stored(order).await.len() >= 3).then_some(()) };
    eventually("the void is heard of", SOON, told).await;
    assert_eq!(shop.stored(order).await[1..].len(), 2, "only that it is unknown, and that a void is wanted");
    assert_eq!(shop.provider_calls(order, "void").await, 0);

    shop.crash_and_restart(|options| {
        quick(options);
        simulator(options).pending_asks = 0;
    })
    .await;
    shop.until_voided(order).await;
    assert_eq!(shop.provider_payments(order).await, [("voided".into(), 0)]);
}

#[tokio::test]
async fn every_repeated_request_is_answered_and_nothing_is_done_twice() {
    let shop = Shop::open().await;
    let order = Uuid::now_v7();
    for _ in 0..3 {
        shop.requests.authorize(order, "tok_slow");
    }
    shop.until_authorized(order).await;
    shop.requests.authorize(order, "tok_slow");
    shop.until_count(order, 2, "authorizations", |e| matches!(e, Answer::PaymentAuthorized(_))).await;
    for _ in 0..3 {
        shop.requests.capture(order);
    }
    shop.until_captured(order).await;
    shop.requests.capture(order);
    shop.requests.void(order);
    shop.until_count(order, 3, "captures", |e| matches!(e, Answer::PaymentCaptured(_))).await;
    for _ in 0..2 {
        shop.requests.refund(order, "refund-1", Some(euro(400)));
    }
    shop.until(order, "refund", |e| matches!(e, Answer::PaymentRefunded(_))).await;
    shop.requests.refund(order, "refund-1", Some(euro(400)));
    shop.until_count(order, 2, "refunds", |e| matches!(e, Answer::PaymentRefunded(_))).await;

    assert_eq!(shop.provider_payments(order).await, [("captured".into(), 400)]);
    for operation in ["authorize", "capture", "refund"] {
        assert_eq!(shop.provider_calls(order, operation).await, 1, "{operation}");
    }
    let captured = shop.stored(order).await.into_iter().filter(|event| event == "Captured").count();
    assert_eq!(captured, 1, "a repeated answer is no second capture");
}

#[tokio::test]
async fn a_void_that_comes_first_refuses_the_late_authorization() {
    let shop = Shop::open().await;
    let order = Uuid::now_v7();
    shop.requests.void(order);
    shop.until_voided(order).await;
    shop.requests.authorize(order, "tok_success");
    let voided_before = |e: &Answer| matches!(e, Answer::PaymentDeclined(e) if e.reason == "VOIDED_BEFORE");
    shop.until(order, "refusal", voided_before).await;
    shop.requests.capture(order);
    shop.until(order, "refusal", |e| matches!(e, Answer::PaymentCaptureFailed(_))).await;
    assert_eq!(shop.provider_calls(order, "authorize").await, 0, "the provider was never asked");
}

#[tokio::test]
async fn a_void_while_the_authorization_is_unknown_waits_and_then_voids() {
    let shop = Shop::open().await;
    for token in ["tok_timeout_then_success", "tok_unknown_until_asked", "tok_void_timeout_then_success"] {
        let order = Uuid::now_v7();
        shop.requests.authorize(order, token);
        shop.requests.void(order);
        shop.until_voided(order).await;
        assert_eq!(shop.provider_payments(order).await, [("voided".into(), 0)], "{token}");
    }
    let order = Uuid::now_v7();
    shop.requests.authorize(order, "tok_unknown_then_decline");
    shop.requests.void(order);
    shop.until_voided(order).await;
    assert_eq!(shop.provider_calls(order, "void").await, 0, "nothing was held");
}

#[tokio::test]
async fn a_void_while_the_capture_is_unknown_is_answered_by_what_happened() {
    let shop = Shop::open().await;
    let begin = async |token| {
        let order = Uuid::now_v7();
        shop.requests.authorize(order, token);
        shop.until_authorized(order).await;
        shop.requests.capture(order);
        shop.requests.void(order);
        order
    };
    let happened = begin("tok_capture_timeout_then_success").await;
    let failed = begin("tok_capture_timeout_then_failure").await;
    shop.until_captured(happened).await;
    shop.requests.refund(happened, "late-capture", None);
    let refunded = shop.until(happened, "refund", |e| matches!(e, Answer::PaymentRefunded(_))).await;
    let Answer::PaymentRefunded(refunded) = refunded else { unreachable!() };
    assert_eq!((refunded.refund_id.as_str(), refunded.amount), ("late-capture", Some(euro(1000))));
    assert_eq!(shop.provider_payments(happened).await, [("captured".into(), 1000)]);
    assert_eq!(shop.provider_calls(happened, "void").await, 0);

    shop.until_voided(failed).await;
    assert_eq!(shop.provider_payments(failed).await, [("voided".into(), 0)]);
}

#[tokio::test]
async fn refunds_that_fail_or_stay_silent_are_answered() {
    let shop = Shop::open().await;
    let fails = shop.captured("tok_refund_fails").await;
    shop.requests.refund(fails, "r", None);
    let refused = |e: &Answer| matches!(e, Answer::PaymentRefundFailed(e) if e.reason == "REFUND_REFUSED");
    shop.until(fails, "failed refund", refused).await;

    let silent = shop.captured("tok_refund_timeout_then_success").await;
    shop.requests.refund(silent, "r", None);
    shop.until(silent, "refund", |e| matches!(e, Answer::PaymentRefunded(_))).await;
    assert_eq!(shop.provider_payments(silent).await, [("captured".into(), 1000)]);

    let nothing = Uuid::now_v7();
    shop.requests.refund(nothing, "r", None);
    let refused = |e: &Answer| matches!(e, Answer::PaymentRefundFailed(e) if e.reason == "PAYMENT_NOT_FOUND");
    shop.until(nothing, "refused refund", refused).await;
}

#[tokio::test]
async fn amounts_and_tokens_that_cannot_be_charged_are_declined_and_not_kept() {
    let shop = Shop::open().await;
    let card = "4242-4242-4242-4242";
    let mut last = Uuid::nil();
    for (token, amount, reason) in [
        ("tok_success", euro(0), "AMOUNT_NOT_POSITIVE"),
        ("tok_success", euro(-5), "AMOUNT_NOT_POSITIVE"),
        ("tok_success", euro(i64::MAX), "AMOUNT_TOO_LARGE"),
        (card, euro(5), "CARD_NUMBER_REFUSED"),
        ("", euro(5), "PAYMENT_TOKEN_MALFORMED"),
    ] {
        let order = Uuid::now_v7();
        shop.requests.authorize_amount(order, token, amount);
        shop.until(order, reason, |e| matches!(e, Answer::PaymentDeclined(e) if e.reason == reason)).await;
        assert_eq!(shop.provider_calls(order, "authorize").await, 0);
        last = order;
    }
    let dump = shop.dump().await;
    assert!(dump.contains(&last.to_string()) && !dump.contains(card));
}

#[tokio::test]
async fn a_worker_that_dies_between_call_and_report_leaves_one_capture() {
    /// The provider does it at once and answers when nobody waits any more.
    fn deaf(options: &mut payment_service::Options) {
        quick(options);
        options.calls.timeout = Duration::from_secs(3600);
        simulator(options).slow = Duration::from_secs(3600);
    }
    let mut shop = Shop::open_with(deaf).await;
    let order = Uuid::now_v7();
    shop.requests.authorize(order, "tok_slow");
    for (operation, report) in [("authorize", "Authorized"), ("capture", "Captured")] {
        let done = || async {
            let sql = "SELECT count(*) FROM simulator_calls WHERE order_id = $1 AND outcome IS NOT NULL";
            let wanted = if operation == "authorize" { 1 } else { 2 };
            (shop.count(sql, order).await == wanted).then_some(())
        };
        eventually("the provider has done it", SOON, done).await;
        assert!(!shop.stored(order).await.contains(&report.to_owned()), "nobody heard of it yet");
        shop.crash_and_restart(deaf).await;
        match operation {
            "authorize" => {
                shop.until_authorized(order).await;
                shop.requests.capture(order);
            }
            _ => shop.until_captured(order).await,
        }
    }
    assert_eq!(shop.provider_payments(order).await, [("captured".into(), 0)]);
    for operation in ["authorize", "capture"] {
        assert_eq!(shop.provider_calls(order, operation).await, 1, "one key for each intent");
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_no_request() {
    let mut shop = Shop::open().await;
    let orders: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for (i, order) in orders.iter().enumerate() {
        shop.requests.authorize(*order, ["tok_success", "tok_error_then_success", "tok_slow"][i % 3]);
    }
    shop.until_authorized(orders[0]).await;
    shop.crash_and_restart(quick).await;
    for order in &orders {
        shop.requests.capture(*order);
        shop.requests.authorize(*order, "tok_success");
    }
    for order in &orders {
        let ended = |e: &Answer| matches!(e, Answer::PaymentCaptured(_) | Answer::PaymentCaptureFailed(_));
        shop.until(*order, "end", ended).await;
        shop.until_authorized(*order).await;
        assert_eq!(shop.provider_payments(*order).await.len(), 1);
        assert!(shop.provider_calls(*order, "capture").await <= 1);
    }
}

#[tokio::test]
async fn webhooks_that_come_twice_or_out_of_order_change_nothing() {
    let shop = Shop::open_with(patient).await;
    for token in ["tok_webhook_twice", "tok_webhook_reordered"] {
        let order = shop.captured(token).await;
        // Each notification leaves its durable answer, whether it was news or not.
        let handled = || async { (shop.notifications_handled(order).await == 2).then_some(()) };
        eventually("both notifications are handled", SOON, handled).await;
        let stored = shop.stored(order).await;
        assert_eq!(stored, ["AuthorizationStarted", "Authorized", "CaptureStarted", "Captured"], "{token}");
    }
}

#[tokio::test]
async fn a_service_that_is_told_to_stop_ends_also_while_the_provider_is_silent() {
    let shop = Shop::open().await;
    let order = Uuid::now_v7();
    shop.requests.authorize(order, "tok_timeout_then_success");
    let sent = || async { (shop.provider_calls(order, "authorize").await == 1).then_some(()) };
    eventually("the provider was called", SOON, sent).await;
    shop.stop().await;
}
