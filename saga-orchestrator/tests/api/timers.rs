//! Deadlines that pass: requests are sent again, unknown outcomes are waited for, and what nobody answers is stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use contracts::shop::payment::v1 as payment;
use contracts::shop::payment::v1::payment_event::Event as Payment;
use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::saga_event::Event as Request;
use saga_orchestrator::domain::Policy;
use testkit::{SOON, eventually};

use crate::participants::Answer;
use crate::shop::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_answers_is_sent_again_until_somebody_does() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let shop = Shop::with(impatient(10), move |request| {
        // Inventory is away for two requests.
        let first = matches!(request, Request::StockReservationRequested(_))
            && counted.fetch_add(1, Ordering::SeqCst) < 2;
        first.then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    shop.until(&saga_id, "SagaEnded Completed").await;
    let requests = shop.requests(&saga_id).await;
    assert!(requests.iter().filter(|step| *step == "ReserveStock").count() >= 3, "{requests:?}");
    assert!(asked.load(Ordering::SeqCst) >= 3);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_stays_away_makes_the_saga_stuck_and_its_answer_continues_it() {
    let shop = Shop::with(impatient(2), |request| {
        matches!(request, Request::PaymentAuthorizationRequested(_)).then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    let stuck = stuck_at(&instance, &saga_id, "AuthorizePayment").await;
    assert_eq!(stuck.reason, "NO_ANSWER");
    assert_eq!((stuck.attempts, stuck.deadline), (2, None));

    let authorized = payment::PaymentAuthorized { order_id: order.to_string() };
    shop.feeds.say(order, Answer::Payment(Payment::PaymentAuthorized(authorized)));
    shop.until(&saga_id, "SagaEnded Completed").await;
    let completed = listed(&instance, &saga_id, wire::SagaStatus::Completed).await;
    assert_eq!((completed.open_step.as_str(), completed.reason.as_str()), ("", ""));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_shown_waited_for_and_then_a_person_is_called() {
    // Only what is unknown is not waited for.
    let policy = Policy { outcome: impatient(1).outcome, ..patient() };
    let shop = Shop::with(policy, |request| {
        let Request::PaymentCaptureRequested(asked) = request else { return None };
        let (order_id, operation) = (asked.order_id.clone(), "capture".to_owned());
        let unknown = payment::PaymentOutcomeUnknown { order_id, operation };
        Some(vec![Answer::Payment(Payment::PaymentOutcomeUnknown(unknown))])
    })
    .await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    let stuck = listed(&instance, &saga_id, wire::SagaStatus::Stuck).await;
    assert_eq!(stuck.reason, "OUTCOME_UNKNOWN");
    let saga = get(&instance, &saga_id).await.unwrap();
    let events: Vec<_> = saga.timeline.iter().map(|entry| entry.event.as_str()).collect();
    assert!(events.ends_with(&["StepRequested", "OutcomeUnknown", "SagaStuck"]), "{events:?}");
    assert!(!events.contains(&"TurnedBack") && !events.contains(&"StepFailed"), "{events:?}");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_has_one_timer_and_an_ended_one_has_none() {
    // Nobody sells goods, nor authorizes a payment of one cent.
    let shop = Shop::with(patient(), |request| {
        let never = match request {
            Request::StockCommitRequested(_) => true,
            Request::PaymentAuthorizationRequested(asked) => asked.amount.as_ref()?.minor_units == 1,
            _ => false,
        };
        never.then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let waiting = shop.place(4990);
    shop.until(&format!("checkout-{waiting}"), "StepRequested CommitStock").await;
    let ended = shop.place(1);
    let saga_id = format!("checkout-{ended}");
    shop.until(&saga_id, "StepRequested AuthorizePayment").await;
    shop.cancel(ended, true);
    shop.until(&saga_id, "TurnedBack").await;
    let authorized = payment::PaymentAuthorized { order_id: ended.to_string() };
    shop.feeds.say(ended, Answer::Payment(Payment::PaymentAuthorized(authorized)));
    shop.until(&saga_id, "SagaEnded Compensated").await;
    eventually("the timers follow", SOON, || async {
        let timers: Vec<(String, String)> = sqlx::query_as(
            "SELECT key, payload->>'step' FROM eventsourcing.tasks WHERE queue = 'saga.timers'",
        )
        .fetch_all(shop.log.pool())
        .await
        .unwrap();
        (timers == [(format!("checkout-{waiting}"), "CommitStock".to_owned())]).then_some(())
    })
    .await;
    instance.stop().await;
}
