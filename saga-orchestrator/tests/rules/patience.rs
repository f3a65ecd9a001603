//! Time: requests are sent again within a budget, unknown outcomes are waited for, and what stays without an
//! answer is stuck, never forgotten.

use saga_orchestrator::domain::definition::{CHECKOUT, Row};
use saga_orchestrator::domain::*;
use testkit::given;

use crate::support::*;

/// The request of a step forward of the sample order.
fn request(row: &Row) -> Request {
    match row.step {
        Step::ReserveStock => reserve(),
        Step::AuthorizePayment => authorize(),
        Step::PinReservation => Request::PinReservation,
        Step::CapturePayment => Request::CapturePayment,
        Step::CommitStock => Request::CommitStock,
        Step::ConfirmOrder => Request::ConfirmOrder,
        other => panic!("{other:?} is not a step forward"),
    }
}

#[test]
fn every_overdue_step_is_asked_again_until_its_budget_is_used_up_and_then_stuck() {
    for row in CHECKOUT[0].forward {
        given::<Checkout>(waiting_for(row.step))
            .when(overdue(row.step, 1))
            .then([asked_again(request(row), 2, 2)])
            .when(overdue(row.step, 2))
            .then([asked_again(request(row), 3, 3)])
            .when(overdue(row.step, 3))
            .then([stuck(row.step, "NO_ANSWER")])
            .when(overdue(row.step, 3))
            .then_nothing();
    }
}

#[test]
fn a_compensation_is_asked_again_too_and_never_abandoned_silently() {
    let way =
        way_to(Step::AuthorizePayment).into_iter().chain([no(Answer::PaymentDeclined, "CARD_DECLINED")]);
    given::<Checkout>(history::<Checkout>(way))
        .when(overdue(Step::ReleaseStock, 1))
        .then([asked_again(Request::ReleaseStock, 2, 2)])
        .when(overdue(Step::ReleaseStock, 2))
        .then([asked_again(Request::ReleaseStock, 3, 3)])
        .when(overdue(Step::ReleaseStock, 3))
        .then([stuck(Step::ReleaseStock, "NO_ANSWER")]);
}

#[test]
fn each_pause_is_longer_than_the_one_before() {
    let mut before = at();
    for tries in 1..=3 {
        let by = answer_by(Step::CommitStock, tries, tries);
        assert!(by > before);
        before = by;
    }
}

#[test]
fn a_timer_of_another_step_attempt_or_waiting_leads_to_nothing() {
    let twice = way_to(Step::CommitStock).into_iter().chain([overdue(Step::CommitStock, 1)]);
    let history = history::<Checkout>(twice);
    let outdated = [
        overdue(Step::CommitStock, 1),
        overdue(Step::CapturePayment, 2),
        timer(Step::CommitStock, 2, Awaiting::Outcome),
    ];
    for timer in outdated {
        given::<Checkout>(history.clone()).when(timer).then_nothing();
    }
}

#[test]
fn an_answer_continues_a_stuck_saga() {
    for row in CHECKOUT[0].forward {
        let history = stuck_at(row.step);
        assert_eq!(saga(&history).status(), Some(Status::Stuck));
        let way = way_to_stuck(row.step).into_iter().chain([answer(row.success)]);
        let after = saga(&self::history::<Checkout>(way));
        assert!(after.done.contains(&row.step), "{row:?}");
        assert_ne!(after.status(), Some(Status::Stuck));
    }
}

#[test]
fn an_unknown_outcome_is_waited_for_without_asking_or_compensating() {
    for (step, operation) in [(Step::AuthorizePayment, "authorize"), (Step::CapturePayment, "capture")] {
        let answer_by = policy().outcome_by(at());
        let waiting = given::<Checkout>(waiting_for(step))
            .when(unknown(operation))
            .then([Event::OutcomeUnknown { step, attempt: 1, answer_by }]);
        // The timer of the request itself, and another message of the same kind.
        let waiting = waiting.when(overdue(step, 1)).then_nothing();
        let waiting = waiting.when(unknown(operation)).then_nothing();
        waiting.when(timer(step, 1, Awaiting::Outcome)).then([stuck(step, "OUTCOME_UNKNOWN")]);
    }
}

#[test]
fn an_unknown_outcome_that_becomes_known_goes_on_as_if_it_had_been_known() {
    let asking = way_to(Step::CapturePayment).into_iter().chain([unknown("capture")]);
    given::<Checkout>(history::<Checkout>(asking.clone()))
        .when(answer(Answer::PaymentCaptured))
        .then([succeeded(Step::CapturePayment), asked(Request::CommitStock)]);
    given::<Checkout>(history::<Checkout>(asking))
        .when(no(Answer::PaymentCaptureFailed, "AUTHORIZATION_LAPSED"))
        .then([failed(Step::CapturePayment, "AUTHORIZATION_LAPSED"), asked(Request::ReleaseStock)]);
}

#[test]
fn a_cancellation_does_not_compensate_an_unknown_authorization_before_it_is_definite() {
    let way = way_to(Step::AuthorizePayment).into_iter().chain([unknown("authorize"), cancel()]);
    given::<Checkout>(history::<Checkout>(way))
        .when(answer(Answer::PaymentAuthorized))
        .then([succeeded(Step::AuthorizePayment), asked(Request::VoidAuthorization)]);
}

#[test]
fn an_unknown_outcome_of_another_operation_does_not_make_a_step_patient() {
    given::<Checkout>(waiting_for(Step::AuthorizePayment)).when(unknown("capture")).then_nothing();
    given::<Checkout>(waiting_for(Step::CommitStock)).when(unknown("capture")).then_nothing();
}

#[test]
fn a_void_waits_for_whatever_the_provider_is_being_asked_about() {
    let failed = no(Answer::PaymentCaptureFailed, "AUTHORIZATION_LAPSED");
    let way = way_to(Step::CapturePayment).into_iter().chain([failed, answer(Answer::StockReleased)]);
    for operation in ["capture", "void", "authorize"] {
        let answer_by = policy().outcome_by(at());
        given::<Checkout>(history::<Checkout>(way.clone()))
            .when(unknown(operation))
            .then([Event::OutcomeUnknown { step: Step::VoidAuthorization, attempt: 1, answer_by }]);
    }
}

#[test]
fn a_stuck_step_whose_outcome_is_being_asked_for_is_no_longer_stuck() {
    let answer_by = policy().outcome_by(at());
    given::<Checkout>(stuck_at(Step::CapturePayment))
        .when(unknown("capture"))
        .then([Event::OutcomeUnknown { step: Step::CapturePayment, attempt: 3, answer_by }])
        .when(timer(Step::CapturePayment, 3, Awaiting::Outcome))
        .then([stuck(Step::CapturePayment, "OUTCOME_UNKNOWN")]);
}
