//! The cancellation of a confirmed order: refund, restock, cancel, each until it is done.

use saga_orchestrator::domain::definition::CANCELLATION;
use saga_orchestrator::domain::*;
use testkit::given;
use uuid::Uuid;

use crate::support::*;

fn begun() -> Vec<Event> {
    history::<Cancellation>([start_cancellation(euros(4990))])
}

fn refund(history: &[Event]) -> Request {
    let refund_id = saga(history).refund_id().unwrap();
    Request::RefundPayment { refund_id, reason: "CHANGED_MIND".into() }
}

fn of_refund(answer: Answer, history: &[Event], detail: &str) -> Command {
    let refund_id = saga(history).refund_id().unwrap();
    command(Input::Reply(Reply::of_refund(answer, refund_id, detail)))
}

#[test]
fn a_cancellation_pays_back_then_takes_the_goods_back_then_ends_the_order() {
    let started = Event::CancellationStarted {
        order_id: order_id(),
        total: euros(4990),
        reason: "CHANGED_MIND".into(),
        definition: 1,
        at: at(),
    };
    let refund = refund(&begun());
    given::<Cancellation>([])
        .when(start_cancellation(euros(4990)))
        .then([started, asked(refund)])
        .when(of_refund(Answer::PaymentRefunded, &begun(), ""))
        .then([succeeded(Step::RefundPayment), asked(Request::RestockGoods)])
        .when(answer(Answer::StockRestocked))
        .then([succeeded(Step::RestockGoods), asked(complete_cancellation())])
        .when(answer(Answer::OrderCancelled))
        .then([succeeded(Step::CompleteCancellation), ended(Outcome::Completed)]);
}

#[test]
fn the_cancellation_of_a_free_order_refunds_nothing() {
    let history = history::<Cancellation>([start_cancellation(euros(0))]);
    assert_eq!(history[1..], [asked(Request::RestockGoods)]);
}

#[test]
fn a_cancellation_starts_once() {
    given::<Cancellation>(begun()).when(start_cancellation(euros(4990))).then_nothing();
    given::<Cancellation>(begun()).when(cancel()).then_nothing();
}

#[test]
fn a_refund_that_is_not_this_saga_s_is_ignored() {
    let other = Reply::of_refund(Answer::PaymentRefunded, Uuid::from_u128(7), "");
    given::<Cancellation>(begun()).when(command(Input::Reply(other))).then_nothing();
    given::<Cancellation>(begun()).when(answer(Answer::PaymentRefunded)).then_nothing();
}

#[test]
fn a_refund_that_definitely_failed_is_tried_again_under_another_id() {
    let first = refund(&begun());
    let again_at = answer_by(Step::RefundPayment, 1, 1);
    let refused = Event::RefundRefused { reason: "PROVIDER_REFUSED".into(), attempt: 1, again_at };
    let after: Vec<_> = begun().into_iter().chain([refused.clone()]).collect();
    let second = refund(&after);
    assert_ne!(first, second);
    given::<Cancellation>(begun())
        .when(of_refund(Answer::PaymentRefundFailed, &begun(), "PROVIDER_REFUSED"))
        .then([refused])
        .when(of_refund(Answer::PaymentRefundFailed, &begun(), "PROVIDER_REFUSED"))
        .then_nothing()
        .when(overdue(Step::RefundPayment, 1))
        .then([asked_again(second, 2, 2)])
        .when(of_refund(Answer::PaymentRefunded, &after, ""))
        .then([succeeded(Step::RefundPayment), asked(Request::RestockGoods)]);
}

#[test]
fn a_refund_that_failed_and_then_succeeded_after_all_counts() {
    let failed = of_refund(Answer::PaymentRefundFailed, &begun(), "PROVIDER_REFUSED");
    let way = [start_cancellation(euros(4990)), failed, overdue(Step::RefundPayment, 1)];
    given::<Cancellation>(history::<Cancellation>(way))
        .when(of_refund(Answer::PaymentRefunded, &begun(), ""))
        .then([succeeded(Step::RefundPayment), asked(Request::RestockGoods)]);
}

#[test]
fn a_refund_that_keeps_failing_is_stuck_with_the_provider_s_reason() {
    let mut history = begun();
    for attempt in 1..=policy().attempts {
        let failed = of_refund(Answer::PaymentRefundFailed, &history, "ACCOUNT_CLOSED");
        let state = saga(&history);
        history.extend(<Cancellation as eventsourcing::Decider>::decide(&state, &failed).unwrap());
        let state = saga(&history);
        let timer = overdue(Step::RefundPayment, attempt);
        history.extend(<Cancellation as eventsourcing::Decider>::decide(&state, &timer).unwrap());
    }
    assert_eq!(history.last(), Some(&stuck(Step::RefundPayment, "ACCOUNT_CLOSED")));
}

#[test]
fn an_unknown_refund_is_waited_for_and_a_refusal_afterwards_is_tried_again() {
    let answer_by = policy().outcome_by(at());
    given::<Cancellation>(begun())
        .when(unknown("refund"))
        .then([Event::OutcomeUnknown { step: Step::RefundPayment, attempt: 1, answer_by }])
        .when(overdue(Step::RefundPayment, 1))
        .then_nothing()
        .when(of_refund(Answer::PaymentRefundFailed, &begun(), "PROVIDER_REFUSED"))
        .then([Event::RefundRefused {
            reason: "PROVIDER_REFUSED".into(),
            attempt: 1,
            again_at: self::answer_by(Step::RefundPayment, 1, 1),
        }])
        .when(timer(Step::RefundPayment, 1, Awaiting::Outcome))
        .then_nothing();
}

#[test]
fn every_step_of_a_cancellation_is_asked_again_and_then_stuck() {
    let mut way = vec![start_cancellation(euros(4990))];
    for row in CANCELLATION[0].forward {
        let tries = (1..=policy().attempts).map(|attempt| overdue(row.step, attempt));
        let history = history::<Cancellation>(way.iter().cloned().chain(tries));
        assert_eq!(history.last(), Some(&stuck(row.step, "NO_ANSWER")));
        let refund_id = (row.step == Step::RefundPayment).then(|| saga(&begun()).refund_id().unwrap());
        way.push(command(Input::Reply(Reply { answer: row.success, detail: String::new(), refund_id })));
    }
}

#[test]
fn a_cancellation_is_never_turned_back() {
    let compensate = || command(Input::Compensate { note: String::new() });
    given::<Cancellation>(begun()).when(compensate()).then_rejected(Refusal::PivotPassed);
    let tries = (1..=policy().attempts).map(|attempt| overdue(Step::RefundPayment, attempt));
    let stuck = history::<Cancellation>(std::iter::once(start_cancellation(euros(4990))).chain(tries));
    given::<Cancellation>(stuck).when(compensate()).then_rejected(Refusal::PivotPassed);
}

#[test]
fn the_refunds_of_a_checkout_and_of_a_cancellation_have_different_ids() {
    let checkout = saga(&waiting_for(Step::ReserveStock)).refund_id();
    assert_ne!(checkout, saga(&begun()).refund_id());
}
