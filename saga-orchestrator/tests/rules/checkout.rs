//! Checkout forward: every row's success and failure, what is skipped when nothing is to be paid, and that
//! whatever is not awaited leads to nothing.

use saga_orchestrator::domain::definition::{CHECKOUT, Failure};
use saga_orchestrator::domain::*;
use testkit::given;

use crate::support::*;

#[test]
fn a_checkout_begins_by_reserving_every_line_for_a_limited_time() {
    let started = Event::CheckoutStarted {
        order_id: order_id(),
        lines: lines(),
        total: euros(4990),
        payment_token: "tok_ok".into(),
        reserve_until: policy().reserve_until(at()),
        definition: 1,
        at: at(),
    };
    given::<Checkout>([]).when(start()).then([started, asked(reserve())]);
}

#[test]
fn every_step_that_succeeds_asks_for_the_next_until_the_order_is_confirmed() {
    given::<Checkout>(history::<Checkout>([start()]))
        .when(answer(Answer::StockReserved))
        .then([succeeded(Step::ReserveStock), asked(authorize())])
        .when(answer(Answer::PaymentAuthorized))
        .then([succeeded(Step::AuthorizePayment), asked(Request::PinReservation)])
        .when(answer(Answer::ReservationPinned))
        .then([succeeded(Step::PinReservation), asked(Request::CapturePayment)])
        .when(answer(Answer::PaymentCaptured))
        .then([succeeded(Step::CapturePayment), asked(Request::CommitStock)])
        .when(answer(Answer::StockCommitted))
        .then([succeeded(Step::CommitStock), asked(Request::ConfirmOrder)])
        .when(answer(Answer::OrderConfirmed))
        .then([succeeded(Step::ConfirmOrder), ended(Outcome::Completed)]);
}

#[test]
fn a_free_order_needs_no_payment() {
    given::<Checkout>(history::<Checkout>([start_with(euros(0))]))
        .when(answer(Answer::StockReserved))
        .then([succeeded(Step::ReserveStock), asked(Request::PinReservation)])
        .when(answer(Answer::ReservationPinned))
        .then([succeeded(Step::PinReservation), asked(Request::CommitStock)])
        .when(answer(Answer::StockCommitted))
        .then([succeeded(Step::CommitStock), asked(Request::ConfirmOrder)])
        .when(answer(Answer::OrderConfirmed))
        .then([succeeded(Step::ConfirmOrder), ended(Outcome::Completed)]);
}

#[test]
fn without_stock_the_order_is_rejected_and_nothing_needs_to_be_undone() {
    given::<Checkout>(waiting_for(Step::ReserveStock))
        .when(no(Answer::StockReservationRejected, "INSUFFICIENT_STOCK"))
        .then([failed(Step::ReserveStock, "INSUFFICIENT_STOCK"), asked(reject("INSUFFICIENT_STOCK"))])
        .when(answer(Answer::OrderRejected))
        .then([succeeded(Step::RejectOrder), ended(Outcome::Compensated)]);
}

#[test]
fn a_declined_payment_gives_the_stock_back_before_the_order_is_rejected() {
    given::<Checkout>(waiting_for(Step::AuthorizePayment))
        .when(no(Answer::PaymentDeclined, "CARD_DECLINED"))
        .then([failed(Step::AuthorizePayment, "CARD_DECLINED"), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(reject("CARD_DECLINED"))])
        .when(answer(Answer::OrderRejected))
        .then([succeeded(Step::RejectOrder), ended(Outcome::Compensated)]);
}

#[test]
fn an_expired_reservation_voids_the_authorization_and_leaves_a_release_behind() {
    given::<Checkout>(waiting_for(Step::PinReservation))
        .when(no(Answer::ReservationPinRejected, "RESERVATION_EXPIRED"))
        .then([failed(Step::PinReservation, "RESERVATION_EXPIRED"), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(reject("RESERVATION_EXPIRED"))]);
}

#[test]
fn a_definite_failure_of_the_pivot_compensates_everything_before_it_last_first() {
    given::<Checkout>(waiting_for(Step::CapturePayment))
        .when(no(Answer::PaymentCaptureFailed, "AUTHORIZATION_LAPSED"))
        .then([failed(Step::CapturePayment, "AUTHORIZATION_LAPSED"), asked(Request::ReleaseStock)])
        .when(answer(Answer::StockReleased))
        .then([succeeded(Step::ReleaseStock), asked(Request::VoidAuthorization)])
        .when(answer(Answer::PaymentVoided))
        .then([succeeded(Step::VoidAuthorization), asked(reject("AUTHORIZATION_LAPSED"))])
        .when(answer(Answer::OrderRejected))
        .then([succeeded(Step::RejectOrder), ended(Outcome::Compensated)]);
}

#[test]
fn a_free_order_without_a_reservation_to_pin_has_no_payment_to_void() {
    let way = [start_with(euros(0)), answer(Answer::StockReserved)];
    given::<Checkout>(history::<Checkout>(way))
        .when(no(Answer::ReservationPinRejected, "RESERVATION_EXPIRED"))
        .then([failed(Step::PinReservation, "RESERVATION_EXPIRED"), asked(Request::ReleaseStock)]);
}

const ANSWERS: [Answer; 18] = [
    Answer::StockReserved,
    Answer::StockReservationRejected,
    Answer::StockReleased,
    Answer::ReservationPinned,
    Answer::ReservationPinRejected,
    Answer::StockCommitted,
    Answer::StockRestocked,
    Answer::PaymentAuthorized,
    Answer::PaymentDeclined,
    Answer::PaymentOutcomeUnknown,
    Answer::PaymentCaptured,
    Answer::PaymentCaptureFailed,
    Answer::PaymentVoided,
    Answer::PaymentRefunded,
    Answer::PaymentRefundFailed,
    Answer::OrderConfirmed,
    Answer::OrderRejected,
    Answer::OrderCancelled,
];

#[test]
fn an_answer_that_no_open_step_awaits_leads_to_nothing() {
    for open in CHECKOUT[0].forward {
        for other in ANSWERS {
            let awaited =
                other == open.success || matches!(open.failure, Failure::TurnsBack(f) if f == other);
            if !awaited {
                given::<Checkout>(waiting_for(open.step)).when(answer(other)).then_nothing();
            }
        }
    }
}

#[test]
fn an_answer_that_comes_twice_counts_once() {
    for row in CHECKOUT[0].forward {
        let way = way_to(row.step).into_iter().chain([answer(row.success)]);
        given::<Checkout>(history::<Checkout>(way)).when(answer(row.success)).then_nothing();
    }
}

#[test]
fn an_ended_checkout_hears_nothing_more() {
    let completed = way_to(Step::ConfirmOrder).into_iter().chain([answer(Answer::OrderConfirmed)]);
    let completed = history::<Checkout>(completed);
    for late in ANSWERS {
        given::<Checkout>(completed.clone()).when(answer(late)).then_nothing();
    }
    given::<Checkout>(completed).when(overdue(Step::ConfirmOrder, 1)).then_nothing();
}

#[test]
fn an_order_that_is_placed_twice_is_checked_out_once() {
    given::<Checkout>(waiting_for(Step::CommitStock)).when(start()).then_nothing();
}

#[test]
fn answers_to_a_saga_that_never_began_lead_to_nothing() {
    given::<Checkout>([]).when(answer(Answer::StockReserved)).then_nothing();
    given::<Checkout>([]).when(cancel()).then_nothing();
    given::<Checkout>([]).when(overdue(Step::ReserveStock, 1)).then_nothing();
}

#[test]
fn a_definition_of_a_newer_program_is_refused_rather_than_guessed() {
    let mut history = waiting_for(Step::ReserveStock);
    let Event::CheckoutStarted { definition, .. } = &mut history[0] else { panic!("it begins otherwise") };
    *definition = 77;
    given::<Checkout>(history)
        .when(answer(Answer::StockReserved))
        .then_rejected(Refusal::UnknownDefinition { version: 77 });
}
