//! Cancellation while checkout goes on: before the pivot it turns back when the open step is answered, from the
//! pivot on it goes forward and leaves the rest to the cancellation saga.

use saga_orchestrator::domain::definition::{CHECKOUT, Failure};
use saga_orchestrator::domain::*;
use testkit::given;

use crate::support::*;

fn noted() -> Event {
    Event::CancellationNoted { reason: "CHANGED_MIND".into() }
}

fn turned_back() -> Event {
    Event::TurnedBack { reason: "CANCELLATION_REQUESTED".into(), note: String::new(), given_up: None }
}

fn cancelled_at(step: Step) -> Vec<Event> {
    history::<Checkout>(way_to(step).into_iter().chain([cancel()]))
}

#[test]
fn a_cancellation_before_the_pivot_waits_for_the_open_step() {
    for step in [Step::ReserveStock, Step::AuthorizePayment, Step::PinReservation] {
        given::<Checkout>(waiting_for(step)).when(cancel()).then([noted(), turned_back()]);
        assert_eq!(saga(&cancelled_at(step)).status(), Some(Status::Compensating));
    }
}

#[test]
fn a_reservation_that_succeeds_late_is_released_and_the_order_cancelled() {
    given::<Checkout>(cancelled_at(Step::ReserveStock))
        .when(answer(Answer::StockReserved))
        .then([succeeded(Step::ReserveStock), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(complete_cancellation())])
        .when(answer(Answer::OrderCancelled))
        .then([succeeded(Step::CompleteCancellation), ended(Outcome::Compensated)]);
}

#[test]
fn an_authorization_that_succeeds_late_is_voided() {
    given::<Checkout>(cancelled_at(Step::AuthorizePayment))
        .when(answer(Answer::PaymentAuthorized))
        .then([succeeded(Step::AuthorizePayment), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(complete_cancellation())]);
}

#[test]
fn a_pin_that_succeeds_late_is_undone_like_every_step_before_it() {
    given::<Checkout>(cancelled_at(Step::PinReservation))
        .when(answer(Answer::ReservationPinned))
        .then([succeeded(Step::PinReservation), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(complete_cancellation())]);
}

#[test]
fn a_step_that_fails_after_a_cancellation_ends_the_order_as_cancelled_and_not_as_rejected() {
    given::<Checkout>(cancelled_at(Step::ReserveStock))
        .when(no(Answer::StockReservationRejected, "INSUFFICIENT_STOCK"))
        .then([failed(Step::ReserveStock, "INSUFFICIENT_STOCK"), asked(complete_cancellation())]);
    given::<Checkout>(cancelled_at(Step::AuthorizePayment))
        .when(no(Answer::PaymentDeclined, "CARD_DECLINED"))
        .then([failed(Step::AuthorizePayment, "CARD_DECLINED"), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(complete_cancellation())]);
}

#[test]
fn from_the_pivot_on_a_cancellation_is_noted_and_checkout_goes_forward() {
    for step in [Step::CapturePayment, Step::CommitStock, Step::ConfirmOrder] {
        given::<Checkout>(waiting_for(step)).when(cancel()).then([noted()]);
        let later: Vec<_> = CHECKOUT[0].forward.iter().skip_while(|row| row.step != step).collect();
        let way =
            way_to(step).into_iter().chain([cancel()]).chain(later.iter().map(|row| answer(row.success)));
        let saga = saga(&history::<Checkout>(way));
        assert_eq!(saga.status(), Some(Status::Completed));
        let start =
            Start::Cancellation { order_id: order_id(), total: euros(4990), reason: "CHANGED_MIND".into() };
        assert_eq!(cancellation_of(&saga), Some(start));
    }
}

#[test]
fn a_free_order_turns_back_until_its_stock_is_being_committed() {
    let to_pin = [start_with(euros(0)), answer(Answer::StockReserved)];
    given::<Checkout>(history::<Checkout>(to_pin.clone())).when(cancel()).then([noted(), turned_back()]);
    let to_commit = to_pin.into_iter().chain([answer(Answer::ReservationPinned)]);
    given::<Checkout>(history::<Checkout>(to_commit)).when(cancel()).then([noted()]);
}

#[test]
fn a_capture_that_definitely_fails_after_a_cancellation_ends_the_order_as_cancelled() {
    given::<Checkout>(cancelled_at(Step::CapturePayment))
        .when(no(Answer::PaymentCaptureFailed, "AUTHORIZATION_LAPSED"))
        .then([failed(Step::CapturePayment, "AUTHORIZATION_LAPSED"), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(complete_cancellation())]);
}

#[test]
fn a_cancellation_of_a_confirmed_order_is_noted_and_calls_for_the_cancellation_saga() {
    let way = way_to(Step::ConfirmOrder).into_iter().chain([answer(Answer::OrderConfirmed)]);
    let completed = history::<Checkout>(way);
    assert_eq!(cancellation_of(&saga(&completed)), None);
    let cancelled = given::<Checkout>(completed.clone()).when(cancel()).then([noted()]);
    cancelled.when(cancel()).then_nothing();
    let saga = saga(&completed).evolve(&noted());
    assert!(cancellation_of(&saga).is_some());
}

#[test]
fn a_checkout_that_turned_back_calls_for_no_cancellation_saga() {
    let answers =
        [answer(Answer::StockReserved), answer(Answer::StockReleased), answer(Answer::OrderCancelled)];
    let way = way_to(Step::ReserveStock).into_iter().chain([cancel()]).chain(answers);
    let saga = saga(&history::<Checkout>(way));
    assert_eq!(saga.status(), Some(Status::Compensated));
    assert_eq!(cancellation_of(&saga), None);
}

#[test]
fn a_second_request_to_cancel_changes_nothing() {
    for row in CHECKOUT[0].forward {
        given::<Checkout>(cancelled_at(row.step)).when(cancel()).then_nothing();
    }
}

#[test]
fn a_cancellation_while_a_failure_is_compensated_ends_the_order_as_cancelled() {
    let way =
        way_to(Step::AuthorizePayment).into_iter().chain([no(Answer::PaymentDeclined, "CARD_DECLINED")]);
    given::<Checkout>(history::<Checkout>(way))
        .when(cancel())
        .then([noted()])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(complete_cancellation())]);
}

#[test]
fn a_cancellation_after_the_rejection_was_requested_comes_too_late() {
    let rejected = no(Answer::StockReservationRejected, "INSUFFICIENT_STOCK");
    let way: Vec<_> = way_to(Step::ReserveStock).into_iter().chain([rejected]).collect();
    given::<Checkout>(history::<Checkout>(way.clone())).when(cancel()).then_nothing();
    let ended = way.into_iter().chain([answer(Answer::OrderRejected)]);
    given::<Checkout>(history::<Checkout>(ended)).when(cancel()).then_nothing();
}

#[test]
fn what_is_compensated_ignores_late_answers_to_the_steps_it_undoes() {
    let way = way_to(Step::PinReservation).into_iter().chain([cancel(), answer(Answer::ReservationPinned)]);
    let releasing = history::<Checkout>(way);
    for row in &CHECKOUT[0].forward[..3] {
        given::<Checkout>(releasing.clone()).when(answer(row.success)).then_nothing();
        if let Failure::TurnsBack(failure) = row.failure {
            given::<Checkout>(releasing.clone()).when(answer(failure)).then_nothing();
        }
    }
}
