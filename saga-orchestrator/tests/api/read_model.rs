//! The list and the measurements, which follow the log, say what the streams say.

use std::sync::atomic::{AtomicBool, Ordering};

use contracts::shop::payment::v1 as payment;
use contracts::shop::payment::v1::payment_event::Event as Payment;
use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::saga_event::Event as Request;
use service_runtime::Shutdown;
use service_runtime::metrics::Metrics;
use testkit::{SOON, eventually};

use crate::participants::Answer;
use crate::shop::*;

/// Totals that make payment behave otherwise.
const DECLINED: i64 = 1;
const NEVER_ANSWERED: i64 = 2;
const REFUND_REFUSED_ONCE: i64 = 3;

/// Payments go as the totals above say; a capture that is given up happened all the same.
async fn shop_of_all_outcomes() -> Shop {
    let totals = std::sync::Mutex::new(std::collections::HashMap::new());
    let refused = AtomicBool::new(false);
    Shop::with(impatient(2), move |request| match request {
        Request::PaymentAuthorizationRequested(asked) => {
            let (order_id, total) = (asked.order_id.clone(), asked.amount.as_ref()?.minor_units);
            totals.lock().unwrap().insert(order_id.clone(), total);
            let reason = "CARD_DECLINED".to_owned();
            let declined = Payment::PaymentDeclined(payment::PaymentDeclined { order_id, reason });
            (total == DECLINED).then(|| vec![Answer::Payment(declined)])
        }
        Request::PaymentCaptureRequested(asked) => {
            (totals.lock().unwrap().get(&asked.order_id) == Some(&NEVER_ANSWERED)).then(Vec::new)
        }
        Request::PaymentVoidRequested(asked) => {
            let order_id = asked.order_id.clone();
            let late = totals.lock().unwrap().get(&order_id) == Some(&NEVER_ANSWERED);
            let captured = Payment::PaymentCaptured(payment::PaymentCaptured { order_id, amount: None });
            late.then(|| vec![Answer::Payment(captured)])
        }
        Request::PaymentRefundRequested(asked) => {
            let refuse = totals.lock().unwrap().get(&asked.order_id) == Some(&REFUND_REFUSED_ONCE)
                && !refused.swap(true, Ordering::SeqCst);
            let (order_id, refund_id) = (asked.order_id.clone(), asked.refund_id.clone());
            let reason = "PROVIDER_REFUSED".to_owned();
            let failed = payment::PaymentRefundFailed { order_id, refund_id, reason };
            refuse.then(|| vec![Answer::Payment(Payment::PaymentRefundFailed(failed))])
        }
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_what_the_streams_say_whatever_happened() {
    let shop = shop_of_all_outcomes().await;
    let instance = shop.start(true).await;

    let confirmed = shop.place(4990);
    let declined = shop.place(DECLINED);
    let cancelled = shop.place(REFUND_REFUSED_ONCE);
    let stuck = shop.place(NEVER_ANSWERED);
    let given_up = shop.place(NEVER_ANSWERED);
    shop.until(&format!("checkout-{cancelled}"), "SagaEnded Completed").await;
    shop.cancel(cancelled, false);
    stuck_at(&instance, &format!("checkout-{given_up}"), "CapturePayment").await;
    stuck_at(&instance, &format!("checkout-{stuck}"), "CapturePayment").await;
    let give_up = wire::CompensateSagaRequest { saga_id: given_up.to_string(), ..Default::default() };
    instance.client.clone().compensate_saga(as_operator(give_up)).await.unwrap();

    let expected = [
        (format!("checkout-{confirmed}"), wire::SagaStatus::Completed),
        (format!("checkout-{declined}"), wire::SagaStatus::Compensated),
        (format!("checkout-{cancelled}"), wire::SagaStatus::Completed),
        (format!("cancellation-{cancelled}"), wire::SagaStatus::Completed),
        (format!("checkout-{stuck}"), wire::SagaStatus::Stuck),
        (format!("checkout-{given_up}"), wire::SagaStatus::Compensated),
    ];
    for (saga_id, status) in expected {
        let row = listed(&instance, &saga_id, status).await;
        let stream = get(&instance, &saga_id).await.unwrap();
        assert_eq!(row, wire::Saga { timeline: Vec::new(), ..stream });
    }
    // What is answered late is asked for again, so how often says nothing.
    let mut requests = shop.requests(&format!("cancellation-{cancelled}")).await;
    let refunds = requests.iter().filter(|step| *step == "RefundPayment").count();
    assert!(refunds >= 2, "the first was refused: {requests:?}");
    requests.dedup();
    assert_eq!(requests, ["RefundPayment", "RestockGoods", "CompleteCancellation"]);
    let mut undone = shop.requests(&format!("checkout-{given_up}")).await;
    undone.dedup();
    assert!(undone.ends_with(&["VoidAuthorization".into(), "RefundPayment".into(), "RejectOrder".into()]));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_sagas_is_measured() {
    let metrics = Metrics::install(&Shutdown::new()).unwrap();
    let shop = shop_of_all_outcomes().await;
    let instance = shop.start(true).await;
    shop.place(4990);
    shop.place(DECLINED);
    shop.place(NEVER_ANSWERED);
    for series in [
        "saga_ended_total{saga=\"checkout\",outcome=\"completed\"}",
        "saga_ended_total{saga=\"checkout\",outcome=\"compensated\"}",
        "saga_stuck_total{saga=\"checkout\",step=\"CapturePayment\"}",
        "saga_requests_repeated_total{saga=\"checkout\",step=\"CapturePayment\"}",
        "saga_step_duration_seconds_count{saga=\"checkout\",step=\"ReserveStock\"}",
        "saga_open{saga=\"checkout\",status=\"stuck\"}",
    ] {
        eventually(series, SOON, || async { metrics.render().contains(series).then_some(()) }).await;
    }
    instance.stop().await;
}
