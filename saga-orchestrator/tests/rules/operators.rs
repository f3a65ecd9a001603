//! What operators may do with a saga, and what becomes of a capture that was given up and happened after all.

use saga_orchestrator::domain::definition::CHECKOUT;
use saga_orchestrator::domain::*;
use testkit::given;

use crate::support::*;

fn retry() -> Command {
    command(Input::Retry)
}

fn skip() -> Command {
    command(Input::Skip { reason: "done by hand".into() })
}

fn compensate() -> Command {
    command(Input::Compensate { note: "customer called".into() })
}

fn skipped(step: Step) -> Event {
    Event::StepSkipped { step, reason: "done by hand".into() }
}

fn ordered_back(given_up: Option<Step>) -> Event {
    let reason = "COMPENSATED_BY_OPERATOR".into();
    Event::TurnedBack { reason, note: "customer called".into(), given_up }
}

#[test]
fn a_retry_asks_again_with_a_fresh_budget() {
    given::<Checkout>(stuck_at(Step::CommitStock))
        .when(retry())
        .then([asked_again(Request::CommitStock, 4, 1)])
        .when(overdue(Step::CommitStock, 4))
        .then([asked_again(Request::CommitStock, 5, 2)])
        .when(overdue(Step::CommitStock, 5))
        .then([asked_again(Request::CommitStock, 6, 3)])
        .when(overdue(Step::CommitStock, 6))
        .then([stuck(Step::CommitStock, "NO_ANSWER")]);
}

#[test]
fn a_skipped_step_counts_as_done() {
    given::<Checkout>(stuck_at(Step::CommitStock))
        .when(skip())
        .then([skipped(Step::CommitStock), asked(Request::ConfirmOrder)]);
}

#[test]
fn a_step_that_was_skipped_is_compensated_like_one_that_was_done() {
    let way = way_to_stuck(Step::ReserveStock).into_iter().chain([skip()]);
    given::<Checkout>(history::<Checkout>(way))
        .when(no(Answer::PaymentDeclined, "CARD_DECLINED"))
        .then([failed(Step::AuthorizePayment, "CARD_DECLINED"), asked(Request::ReleaseStock)]);
}

#[test]
fn only_a_stuck_saga_is_retried_or_skipped() {
    for row in CHECKOUT[0].forward {
        given::<Checkout>(waiting_for(row.step)).when(retry()).then_rejected(Refusal::NotStuck);
        given::<Checkout>(waiting_for(row.step)).when(skip()).then_rejected(Refusal::NotStuck);
    }
}

#[test]
fn a_saga_that_never_began_or_has_ended_is_left_alone() {
    let rejected = no(Answer::StockReservationRejected, "INSUFFICIENT_STOCK");
    let ended = history::<Checkout>([start(), rejected, answer(Answer::OrderRejected)]);
    for order in [retry(), skip(), compensate()] {
        given::<Checkout>([]).when(order.clone()).then_rejected(Refusal::NotStarted);
        given::<Checkout>(ended.clone()).when(order).then_rejected(Refusal::Ended);
    }
}

#[test]
fn a_saga_that_goes_on_is_turned_back_when_its_open_step_is_answered() {
    given::<Checkout>(waiting_for(Step::AuthorizePayment))
        .when(compensate())
        .then([ordered_back(None)])
        .when(answer(Answer::PaymentAuthorized))
        .then([succeeded(Step::AuthorizePayment), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(reject("COMPENSATED_BY_OPERATOR"))]);
}

#[test]
fn a_stuck_step_before_the_pivot_is_given_up_and_compensated_as_if_it_had_happened() {
    given::<Checkout>(stuck_at(Step::ReserveStock))
        .when(compensate())
        .then([ordered_back(Some(Step::ReserveStock)), asked(Request::ReleaseStock)]);
    given::<Checkout>(stuck_at(Step::AuthorizePayment))
        .when(compensate())
        .then([ordered_back(Some(Step::AuthorizePayment)), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(Request::ReleaseStock)]);
}

#[test]
fn a_cancelled_saga_that_is_stuck_can_be_made_to_give_its_step_up() {
    let way = way_to_stuck(Step::AuthorizePayment).into_iter().chain([cancel()]);
    let history = history::<Checkout>(way);
    assert_eq!(saga(&history).status(), Some(Status::Stuck));
    given::<Checkout>(history)
        .when(compensate())
        .then([ordered_back(Some(Step::AuthorizePayment)), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(complete_cancellation())]);
}

#[test]
fn a_saga_is_turned_back_once() {
    let way = way_to(Step::AuthorizePayment).into_iter().chain([compensate()]);
    given::<Checkout>(history::<Checkout>(way))
        .when(compensate())
        .then_rejected(Refusal::AlreadyCompensating);
    let way =
        way_to(Step::AuthorizePayment).into_iter().chain([no(Answer::PaymentDeclined, "CARD_DECLINED")]);
    given::<Checkout>(history::<Checkout>(way))
        .when(compensate())
        .then_rejected(Refusal::AlreadyCompensating);
}

#[test]
fn from_the_pivot_on_a_saga_is_not_turned_back() {
    for step in [Step::CapturePayment, Step::CommitStock, Step::ConfirmOrder] {
        given::<Checkout>(waiting_for(step)).when(compensate()).then_rejected(Refusal::PivotPassed);
    }
    for step in [Step::CommitStock, Step::ConfirmOrder] {
        given::<Checkout>(stuck_at(step)).when(compensate()).then_rejected(Refusal::PivotPassed);
    }
}

fn voiding_a_capture_that_was_given_up() -> Vec<Command> {
    let back = [compensate(), answer(Answer::StockReleased)];
    way_to_stuck(Step::CapturePayment).into_iter().chain(back).collect()
}

fn refund(history: &[Event]) -> Request {
    let refund_id = saga(history).refund_id().unwrap();
    Request::RefundPayment { refund_id, reason: "LATE_CAPTURE".into() }
}

fn refunded(history: &[Event]) -> Command {
    let refund_id = saga(history).refund_id().unwrap();
    command(Input::Reply(Reply::of_refund(Answer::PaymentRefunded, refund_id, "")))
}

#[test]
fn a_capture_without_an_answer_can_be_given_up_and_is_voided() {
    given::<Checkout>(stuck_at(Step::CapturePayment))
        .when(compensate())
        .then([ordered_back(Some(Step::CapturePayment)), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(reject("COMPENSATED_BY_OPERATOR"))]);
}

#[test]
fn a_void_that_finds_the_money_taken_is_followed_by_a_refund_before_the_order_ends() {
    let history = history::<Checkout>(voiding_a_capture_that_was_given_up());
    given::<Checkout>(history.clone())
        .when(answer(Answer::PaymentCaptured))
        .then([Event::CaptureTurnedOutLate {}, asked(refund(&history))])
        .when(answer(Answer::PaymentCaptured))
        .then_nothing()
        .when(refunded(&history))
        .then([succeeded(Step::RefundPayment), asked(reject("COMPENSATED_BY_OPERATOR"))]);
}

#[test]
fn a_capture_that_turns_out_late_before_the_void_is_refunded_instead() {
    let way = way_to_stuck(Step::CapturePayment).into_iter().chain([compensate()]);
    let history = history::<Checkout>(way);
    given::<Checkout>(history.clone())
        .when(answer(Answer::PaymentCaptured))
        .then([Event::CaptureTurnedOutLate {}])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(refund(&history))]);
}

#[test]
fn a_capture_that_turns_out_after_the_end_is_refunded_all_the_same() {
    let rest = [answer(Answer::PaymentVoided), answer(Answer::OrderRejected)];
    let way = voiding_a_capture_that_was_given_up().into_iter().chain(rest);
    let history = history::<Checkout>(way);
    assert_eq!(saga(&history).status(), Some(Status::Compensated));
    given::<Checkout>(history.clone())
        .when(answer(Answer::PaymentCaptured))
        .then([Event::CaptureTurnedOutLate {}, asked(refund(&history))])
        .when(refunded(&history))
        .then([succeeded(Step::RefundPayment), ended(Outcome::Compensated)]);
}
