//! Every rule of a payment, as given(events).when(command).then(events).

use testkit::given;

use super::*;
use crate::domain::{Currency, RefundReason};
use PaymentCommand as Do;
use PaymentEvent as It;

pub(super) fn money(minor_units: i64) -> Money {
    Money::new(Currency::parse("EUR").unwrap(), minor_units)
}

fn dollars(minor_units: i64) -> Money {
    Money::new(Currency::parse("USD").unwrap(), minor_units)
}

pub(super) fn token() -> PaymentToken {
    PaymentToken::parse("tok_success").unwrap()
}

pub(super) fn reference() -> ProviderReference {
    ProviderReference("sim_1".into())
}

pub(super) fn refund_id(id: &str) -> RefundId {
    RefundId::parse(id).unwrap()
}

fn reason(code: &str) -> Reason {
    Reason::of(code)
}

pub(super) fn order(id: &str, amount: Option<Money>) -> RefundOrder {
    RefundOrder { refund_id: refund_id(id), amount, reason: RefundReason::default() }
}

fn authorize_1000() -> PaymentCommand {
    Do::Authorize { amount: money(1000), payment_token: token() }
}

fn authorizing() -> Vec<PaymentEvent> {
    vec![It::AuthorizationStarted { amount: money(1000), payment_token: token() }]
}

fn authorized() -> Vec<PaymentEvent> {
    after(authorizing(), [It::Authorized { provider_reference: reference() }])
}

fn declined() -> Vec<PaymentEvent> {
    after(authorizing(), [It::Declined { reason: reason("CARD_DECLINED") }])
}

fn capturing() -> Vec<PaymentEvent> {
    after(authorized(), [It::CaptureStarted { amount: money(1000), provider_reference: reference() }])
}

fn captured() -> Vec<PaymentEvent> {
    after(capturing(), [It::Captured { amount: money(1000) }])
}

fn voiding() -> Vec<PaymentEvent> {
    after(authorized(), [void_started()])
}

fn void_started() -> PaymentEvent {
    It::VoidStarted { provider_reference: reference() }
}

fn refunding(id: &str, minor_units: i64) -> PaymentEvent {
    It::RefundStarted {
        refund_id: refund_id(id),
        amount: money(minor_units),
        reason: RefundReason::default(),
        provider_reference: reference(),
    }
}

fn refunded(id: &str, minor_units: i64) -> PaymentEvent {
    It::Refunded { refund_id: refund_id(id), amount: money(minor_units) }
}

fn repeated(answer: Answer) -> [PaymentEvent; 1] {
    [It::AnswerRepeated { answer }]
}

fn after(
    mut history: Vec<PaymentEvent>,
    events: impl IntoIterator<Item = PaymentEvent>,
) -> Vec<PaymentEvent> {
    history.extend(events);
    history
}

fn unknown(call: Call) -> PaymentEvent {
    It::OutcomeUnknown { call }
}

fn status(history: Vec<PaymentEvent>) -> Option<Status> {
    history.iter().fold(PaymentState::default(), Payment::evolve).status()
}

// Authorization

#[test]
fn an_authorization_is_written_down_before_the_provider_is_asked() {
    given::<Payment>([]).when(authorize_1000()).then(authorizing());
}

#[test]
fn a_request_that_is_repeated_while_the_provider_is_asked_waits_for_the_same_answer() {
    given::<Payment>(authorizing()).when(authorize_1000()).then_nothing();
}

#[test]
fn a_repeated_request_to_authorize_gets_the_same_answer_again() {
    given::<Payment>(authorized()).when(authorize_1000()).then(repeated(Answer::Authorized));
    given::<Payment>(captured()).when(authorize_1000()).then(repeated(Answer::Authorized));
    let answer = Answer::Declined { reason: reason("CARD_DECLINED") };
    given::<Payment>(declined()).when(authorize_1000()).then(repeated(answer));
}

#[test]
fn zero_negative_and_huge_amounts_are_never_authorized() {
    for (minor_units, code) in [
        (0, "AMOUNT_NOT_POSITIVE"),
        (-1, "AMOUNT_NOT_POSITIVE"),
        (i64::MIN, "AMOUNT_NOT_POSITIVE"),
        (MAX_MINOR_UNITS + 1, "AMOUNT_TOO_LARGE"),
        (i64::MAX, "AMOUNT_TOO_LARGE"),
    ] {
        given::<Payment>([])
            .when(Do::Authorize { amount: money(minor_units), payment_token: token() })
            .then([It::AuthorizationRefused { reason: reason(code) }])
            .when(authorize_1000())
            .then(repeated(Answer::Declined { reason: reason(code) }));
    }
    let largest = money(MAX_MINOR_UNITS);
    given::<Payment>([])
        .when(Do::Authorize { amount: largest, payment_token: token() })
        .then([It::AuthorizationStarted { amount: largest, payment_token: token() }]);
}

#[test]
fn a_request_that_cannot_be_understood_is_answered_unless_there_is_an_answer_already() {
    let refuse = || Do::RefuseAuthorization { reason: reason("PAYMENT_TOKEN_REFUSED") };
    given::<Payment>([])
        .when(refuse())
        .then([It::AuthorizationRefused { reason: reason("PAYMENT_TOKEN_REFUSED") }]);
    given::<Payment>(authorized()).when(refuse()).then(repeated(Answer::Authorized));
    given::<Payment>(authorizing()).when(refuse()).then_nothing();
}

#[test]
fn what_the_provider_says_first_stands() {
    let authorize = || Do::RecordAuthorized { provider_reference: reference() };
    let decline = || Do::RecordDeclined { reason: reason("CARD_DECLINED") };
    given::<Payment>(authorizing())
        .when(authorize())
        .then([It::Authorized { provider_reference: reference() }])
        .when(authorize())
        .then_nothing()
        .when(decline())
        .then_rejected(PaymentError::Contradiction);
    given::<Payment>(authorizing())
        .when(decline())
        .then([It::Declined { reason: reason("CARD_DECLINED") }])
        .when(decline())
        .then_nothing()
        .when(authorize())
        .then_rejected(PaymentError::Contradiction);
    let another = Do::RecordAuthorized { provider_reference: ProviderReference("sim_2".into()) };
    given::<Payment>(authorized()).when(another).then_rejected(PaymentError::Contradiction);
}

#[test]
fn a_report_about_what_was_never_asked_is_refused() {
    for report in [
        Do::RecordAuthorized { provider_reference: reference() },
        Do::RecordDeclined { reason: reason("X") },
        Do::RecordCaptured,
        Do::RecordCaptureFailed { reason: reason("X") },
        Do::RecordVoided,
        Do::RecordRefunded { refund_id: refund_id("r") },
        Do::RecordRefundFailed { refund_id: refund_id("r"), reason: reason("X") },
    ] {
        given::<Payment>([]).when(report).then_rejected(PaymentError::NotAsked);
    }
    given::<Payment>(authorized()).when(Do::RecordCaptured).then_rejected(PaymentError::NotAsked);
}

// Unknown outcomes

#[test]
fn an_outcome_becomes_unknown_once_and_definite_once() {
    given::<Payment>(authorizing())
        .when(Do::RecordOutcomeUnknown { call: Call::Authorize })
        .then([unknown(Call::Authorize)])
        .when(Do::RecordOutcomeUnknown { call: Call::Authorize })
        .then_nothing()
        .when(Do::RecordAuthorized { provider_reference: reference() })
        .then([It::Authorized { provider_reference: reference() }])
        .when(Do::RecordOutcomeUnknown { call: Call::Authorize })
        .then_nothing();
}

#[test]
fn a_payment_is_unknown_until_all_of_it_is_definite() {
    let half = after(captured(), [refunding("a", 1), refunding("b", 1)]);
    let unsure = after(half, [unknown(Call::Refund(refund_id("a"))), unknown(Call::Refund(refund_id("b")))]);
    assert_eq!(status(unsure.clone()), Some(Status::Unknown));
    let one = after(unsure, [refunded("a", 1)]);
    assert_eq!(status(one.clone()), Some(Status::Unknown));
    let failed = It::RefundFailed { refund_id: refund_id("b"), reason: reason("X") };
    assert_eq!(status(after(one, [failed])), Some(Status::Captured));
}

// Capture

#[test]
fn an_authorization_is_captured_once() {
    given::<Payment>(authorized())
        .when(Do::Capture)
        .then([It::CaptureStarted { amount: money(1000), provider_reference: reference() }])
        .when(Do::Capture)
        .then_nothing()
        .when(Do::RecordCaptured)
        .then([It::Captured { amount: money(1000) }])
        .when(Do::RecordCaptured)
        .then_nothing()
        .when(Do::Capture)
        .then(repeated(Answer::Captured { amount: money(1000) }));
}

#[test]
fn a_failed_capture_stays_failed() {
    let failed = || It::CaptureFailed { reason: reason("EXPIRED") };
    given::<Payment>(capturing())
        .when(Do::RecordCaptureFailed { reason: reason("EXPIRED") })
        .then([failed()])
        .when(Do::RecordCaptureFailed { reason: reason("EXPIRED") })
        .then_nothing()
        .when(Do::Capture)
        .then(repeated(Answer::CaptureFailed { reason: reason("EXPIRED") }))
        .when(Do::RecordCaptured)
        .then_rejected(PaymentError::Contradiction);
    given::<Payment>(captured())
        .when(Do::RecordCaptureFailed { reason: reason("EXPIRED") })
        .then_rejected(PaymentError::Contradiction);
}

#[test]
fn nothing_is_captured_that_is_not_held() {
    let refused = || It::CaptureRefused { reason: Reason::not_authorized() };
    for history in [vec![], authorizing(), declined()] {
        given::<Payment>(history).when(Do::Capture).then([refused()]);
    }
    // Whoever was told that nothing is captured must be able to rely on it.
    given::<Payment>(after(vec![refused()], authorized()))
        .when(Do::Capture)
        .then(repeated(Answer::CaptureFailed { reason: Reason::not_authorized() }));
}

#[test]
fn nothing_is_captured_once_a_void_is_wanted() {
    let refused = [It::CaptureRefused { reason: Reason::voided_before() }];
    given::<Payment>(voiding()).when(Do::Capture).then(refused.clone());
    given::<Payment>(after(voiding(), [It::Voided {}])).when(Do::Capture).then(refused.clone());
    given::<Payment>(after(authorizing(), [It::VoidRequested {}])).when(Do::Capture).then(refused.clone());
    given::<Payment>([It::Voided {}]).when(Do::Capture).then(refused);
}

// Void

#[test]
fn a_void_before_the_authorization_leaves_a_tombstone() {
    given::<Payment>([])
        .when(Do::Void)
        .then([It::Voided {}])
        .when(authorize_1000())
        .then([It::AuthorizationRefused { reason: Reason::voided_before() }])
        .when(authorize_1000())
        .then(repeated(Answer::Declined { reason: Reason::voided_before() }))
        .when(Do::Void)
        .then(repeated(Answer::Voided));
}

#[test]
fn what_is_held_is_voided_at_the_provider() {
    given::<Payment>(authorized())
        .when(Do::Void)
        .then([void_started()])
        .when(Do::Void)
        .then_nothing()
        .when(authorize_1000())
        .then(repeated(Answer::Authorized))
        .when(Do::RecordVoided)
        .then([It::Voided {}])
        .when(Do::RecordVoided)
        .then_nothing()
        .when(Do::Void)
        .then(repeated(Answer::Voided))
        .when(authorize_1000())
        .then(repeated(Answer::Declined { reason: Reason::voided_before() }));
}

#[test]
fn a_void_waits_until_a_running_authorization_is_definite() {
    for history in [authorizing(), after(authorizing(), [unknown(Call::Authorize)])] {
        given::<Payment>(history.clone())
            .when(Do::Void)
            .then([It::VoidRequested {}])
            .when(Do::Void)
            .then_nothing()
            .when(Do::RecordAuthorized { provider_reference: reference() })
            .then([It::Authorized { provider_reference: reference() }, void_started()]);
        given::<Payment>(after(history, [It::VoidRequested {}]))
            .when(Do::RecordDeclined { reason: reason("CARD_DECLINED") })
            .then([It::Declined { reason: reason("CARD_DECLINED") }, It::Voided {}]);
    }
}

#[test]
fn a_void_after_a_decline_has_nothing_to_do_and_is_answered() {
    given::<Payment>(declined()).when(Do::Void).then([It::Voided {}]);
}

#[test]
fn a_void_waits_until_a_running_capture_is_definite() {
    for history in [capturing(), after(capturing(), [unknown(Call::Capture)])] {
        given::<Payment>(history.clone())
            .when(Do::Void)
            .then([It::VoidRequested {}])
            .when(Do::RecordCaptured)
            .then([It::Captured { amount: money(1000) }]);
        given::<Payment>(after(history, [It::VoidRequested {}]))
            .when(Do::RecordCaptureFailed { reason: reason("EXPIRED") })
            .then([It::CaptureFailed { reason: reason("EXPIRED") }, void_started()]);
    }
}

#[test]
fn a_void_after_a_capture_is_answered_by_the_capture() {
    given::<Payment>(captured()).when(Do::Void).then(repeated(Answer::Captured { amount: money(1000) }));
}

#[test]
fn a_void_that_the_provider_answers_with_a_capture_is_a_capture() {
    given::<Payment>(voiding()).when(Do::RecordCaptured).then([It::Captured { amount: money(1000) }]);
    let failed = after(capturing(), [It::CaptureFailed { reason: reason("X") }, void_started()]);
    given::<Payment>(failed)
        .when(Do::RecordCaptured)
        .then([It::Captured { amount: money(1000) }])
        .when(Do::RecordVoided)
        .then_rejected(PaymentError::Contradiction);
}

#[test]
fn a_failed_capture_can_be_voided() {
    let failed = after(capturing(), [It::CaptureFailed { reason: reason("EXPIRED") }]);
    given::<Payment>(failed).when(Do::Void).then([void_started()]);
}

// Refund

#[test]
fn everything_that_is_left_is_refunded_when_no_amount_is_named() {
    given::<Payment>(captured())
        .when(Do::RequestRefund(order("a", Some(money(300)))))
        .then([refunding("a", 300)])
        .when(Do::RequestRefund(order("b", None)))
        .then([refunding("b", 700)]);
}

#[test]
fn refunds_never_exceed_the_capture_and_running_ones_count() {
    let history = after(captured(), [refunding("a", 300), refunded("a", 300), refunding("b", 600)]);
    given::<Payment>(history.clone())
        .when(Do::Refund(order("c", Some(money(101)))))
        .then_rejected(PaymentError::RefundExceedsCapture { left: money(100) });
    given::<Payment>(history)
        .when(Do::Refund(order("c", Some(money(100)))))
        .then([refunding("c", 100)])
        .when(Do::Refund(order("d", None)))
        .then_rejected(PaymentError::NothingLeftToRefund);
}

#[test]
fn a_failed_refund_leaves_its_amount_to_another() {
    let failed = It::RefundFailed { refund_id: refund_id("a"), reason: reason("X") };
    given::<Payment>(after(captured(), [refunding("a", 1000), failed]))
        .when(Do::Refund(order("b", None)))
        .then([refunding("b", 1000)]);
}

#[test]
fn a_refund_with_a_known_id_is_that_refund() {
    let pending = after(captured(), [refunding("a", 300)]);
    given::<Payment>(pending.clone()).when(Do::RequestRefund(order("a", Some(money(300))))).then_nothing();
    given::<Payment>(after(pending.clone(), [refunded("a", 300)]))
        .when(Do::RequestRefund(order("a", None)))
        .then(repeated(Answer::Refunded { refund_id: refund_id("a"), amount: money(300) }));
    let failed = It::RefundFailed { refund_id: refund_id("a"), reason: reason("X") };
    given::<Payment>(after(pending, [failed]))
        .when(Do::RequestRefund(order("a", None)))
        .then(repeated(Answer::RefundFailed { refund_id: refund_id("a"), reason: reason("X") }));
}

#[test]
fn zero_negative_huge_and_foreign_refunds_are_refused() {
    for (amount, error) in [
        (money(0), PaymentError::AmountNotPositive),
        (money(-5), PaymentError::AmountNotPositive),
        (money(i64::MAX), PaymentError::AmountTooLarge),
        (dollars(5), PaymentError::CurrencyMismatch { captured: money(1000) }),
    ] {
        given::<Payment>(captured()).when(Do::Refund(order("a", Some(amount)))).then_rejected(error);
    }
}

#[test]
fn nothing_is_refunded_that_is_not_captured() {
    for history in [authorized(), capturing(), after(capturing(), [unknown(Call::Capture)])] {
        given::<Payment>(history).when(Do::Refund(order("a", None))).then_rejected(PaymentError::NotCaptured);
    }
    given::<Payment>([]).when(Do::Refund(order("a", None))).then_rejected(PaymentError::NoPayment);
}

#[test]
fn a_saga_is_told_of_a_broken_rule_by_an_event_that_stands() {
    let code = || reason("PAYMENT_NOT_CAPTURED");
    given::<Payment>(authorized())
        .when(Do::RequestRefund(order("a", None)))
        .then([It::RefundRefused { refund_id: refund_id("a"), reason: code() }])
        .when(Do::RequestRefund(order("a", None)))
        .then(repeated(Answer::RefundFailed { refund_id: refund_id("a"), reason: code() }));
    given::<Payment>(captured())
        .when(Do::RefuseRefund { refund_id: refund_id("a"), reason: reason("MALFORMED") })
        .then([It::RefundRefused { refund_id: refund_id("a"), reason: reason("MALFORMED") }]);
}

#[test]
fn a_payment_has_a_limited_number_of_refunds() {
    let refunds = (0..MAX_REFUNDS).map(|i| refunding(&format!("r{i}"), 1));
    given::<Payment>(after(captured(), refunds))
        .when(Do::Refund(order("one-more", Some(money(1)))))
        .then_rejected(PaymentError::TooManyRefunds { limit: MAX_REFUNDS });
}

#[test]
fn a_refund_ends_once() {
    let pending = after(captured(), [refunding("a", 300)]);
    let id = || refund_id("a");
    given::<Payment>(pending.clone())
        .when(Do::RecordRefunded { refund_id: id() })
        .then([refunded("a", 300)])
        .when(Do::RecordRefunded { refund_id: id() })
        .then_nothing()
        .when(Do::RecordRefundFailed { refund_id: id(), reason: reason("X") })
        .then_rejected(PaymentError::Contradiction);
    given::<Payment>(pending)
        .when(Do::RecordRefundFailed { refund_id: id(), reason: reason("X") })
        .then([It::RefundFailed { refund_id: id(), reason: reason("X") }])
        .when(Do::RecordRefunded { refund_id: id() })
        .then_rejected(PaymentError::Contradiction);
}

// In one word

#[test]
fn a_payment_has_a_status_at_every_stage() {
    let failed = after(capturing(), [It::CaptureFailed { reason: reason("X") }]);
    for (history, expected) in [
        (vec![], None),
        (vec![It::RefundRefused { refund_id: refund_id("a"), reason: reason("X") }], None),
        (authorizing(), Some(Status::Authorizing)),
        (after(authorizing(), [unknown(Call::Authorize)]), Some(Status::Unknown)),
        (authorized(), Some(Status::Authorized)),
        (declined(), Some(Status::Declined)),
        (after(declined(), [It::Voided {}]), Some(Status::Declined)),
        (capturing(), Some(Status::Capturing)),
        (captured(), Some(Status::Captured)),
        (failed.clone(), Some(Status::CaptureFailed)),
        (after(failed, [void_started()]), Some(Status::Voiding)),
        (voiding(), Some(Status::Voiding)),
        (after(voiding(), [It::Voided {}]), Some(Status::Voided)),
        (vec![It::Voided {}], Some(Status::Voided)),
    ] {
        assert_eq!(status(history.clone()), expected, "{history:?}");
        let name = expected.map(Status::name);
        assert_eq!(name.and_then(Status::from_name), expected, "a status survives being stored");
    }
}
