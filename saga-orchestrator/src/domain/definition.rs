//! How checkout and cancellation go, as tables: request, success, failure, compensation, deadline. The machine
//! in `react.rs` reads them and knows no step by name where a row can say it.
//!
//! A released table is never edited: running sagas keep the version that they started with. A change is a new
//! entry at the end of the list, and new sagas start with the last one.

use serde::{Deserialize, Serialize};

use self::Answer::*;
use self::Deadline::*;
use self::Failure::*;
use self::Needed::*;
use self::Step::*;

/// A request to a participant: a step forward, its compensation, or an order's end. Each is open until it is
/// answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    ReserveStock,
    AuthorizePayment,
    PinReservation,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    ReleaseStock,
    VoidAuthorization,
    RefundPayment,
    RestockGoods,
    RejectOrder,
    CompleteCancellation,
}

/// What participants answer, without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    StockReserved,
    StockReservationRejected,
    StockReleased,
    ReservationPinned,
    ReservationPinRejected,
    StockCommitted,
    StockRestocked,
    PaymentAuthorized,
    PaymentDeclined,
    /// No answer yet: the provider is being asked, and a definite answer follows.
    PaymentOutcomeUnknown,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentVoided,
    PaymentRefunded,
    PaymentRefundFailed,
    OrderConfirmed,
    OrderRejected,
    OrderCancelled,
}

/// What a definite failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was done so far is compensated.
    TurnsBack(Answer),
    /// It is tried again, until it works or a person is called.
    IsRetried(Answer),
    /// There is none: the participant answers with success or is asked again.
    Never,
}

/// When a row applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    Always,
    /// The order costs something.
    Paid,
    /// Named as the compensation of a step that was done.
    Undoing,
    /// Money was taken although the saga had turned back.
    LateCapture,
    /// The saga turned back and the customer did not ask for it.
    Refused,
    /// The saga turned back and a cancellation had been requested.
    Cancelled,
}

/// Which patience of the policy a step has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// A service of the shop, which answers at once when it runs.
    Participant,
    /// Payment, which first asks a provider far away.
    Provider,
}

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub step: Step,
    pub needed: Needed,
    pub success: Answer,
    pub failure: Failure,
    pub compensation: Option<Step>,
    pub deadline: Deadline,
}

/// One version of a process.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub version: u32,
    /// In order.
    pub forward: &'static [Row],
    /// Once this step, or a later one, is asked for, only a definite failure turns the saga back; once it
    /// succeeded, nothing does. Without one there is no way back at all.
    pub pivot: Option<Step>,
    /// How compensations are answered. Their order is that of the steps they undo, last first.
    pub compensations: &'static [Row],
    /// What ends a saga that turned back, in order.
    pub ends: &'static [Row],
}

/// Checkout: from a placed order to a confirmed one, or back.
#[rustfmt::skip]
pub const CHECKOUT: &[Definition] = &[Definition {
    version: 1,
    forward: &[
        // request              needed  success            failure                              compensation             deadline
        row(ReserveStock,       Always, StockReserved,     TurnsBack(StockReservationRejected), Some(ReleaseStock),      Participant),
        row(AuthorizePayment,   Paid,   PaymentAuthorized, TurnsBack(PaymentDeclined),          Some(VoidAuthorization), Provider),
        row(PinReservation,     Always, ReservationPinned, TurnsBack(ReservationPinRejected),   Some(ReleaseStock),      Participant),
        row(CapturePayment,     Paid,   PaymentCaptured,   TurnsBack(PaymentCaptureFailed),     None,                    Provider),
        row(CommitStock,        Always, StockCommitted,    Never,                               None,                    Participant),
        row(ConfirmOrder,       Always, OrderConfirmed,    Never,                               None,                    Participant),
    ],
    pivot: Some(CapturePayment),
    compensations: &[
        row(ReleaseStock,      Undoing, StockReleased,     Never,                               None,                    Participant),
        // Also answered by PaymentCaptured: the capture turns out late, and is refunded below.
        row(VoidAuthorization, Undoing, PaymentVoided,     Never,                               None,                    Provider),
    ],
    ends: &[
        row(RefundPayment, LateCapture, PaymentRefunded,   IsRetried(PaymentRefundFailed),      None,                    Provider),
        row(RejectOrder,       Refused, OrderRejected,     Never,                               None,                    Participant),
        row(CompleteCancellation, Cancelled, OrderCancelled, Never,                             None,                    Participant),
    ],
}];

/// Cancellation: from a confirmed order to a cancelled one. There is no way back.
#[rustfmt::skip]
pub const CANCELLATION: &[Definition] = &[Definition {
    version: 1,
    forward: &[
        // request              needed  success            failure                              compensation             deadline
        row(RefundPayment,      Paid,   PaymentRefunded,   IsRetried(PaymentRefundFailed),      None,                    Provider),
        row(RestockGoods,       Always, StockRestocked,    Never,                               None,                    Participant),
        row(CompleteCancellation, Always, OrderCancelled,  Never,                               None,                    Participant),
    ],
    pivot: None,
    compensations: &[],
    ends: &[],
}];

const fn row(
    step: Step,
    needed: Needed,
    success: Answer,
    failure: Failure,
    compensation: Option<Step>,
    deadline: Deadline,
) -> Row {
    Row { step, needed, success, failure, compensation, deadline }
}

impl Definition {
    /// The row of a step, wherever in the tables it stands.
    pub fn row(&self, step: Step) -> Option<&Row> {
        self.rows().find(|row| row.step == step)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.forward.iter().chain(self.compensations).chain(self.ends)
    }

    fn place(&self, step: Step) -> Option<usize> {
        self.forward.iter().position(|row| row.step == step)
    }

    /// Whether this is a step forward, and not a compensation or an end.
    pub fn is_forward(&self, step: Step) -> bool {
        self.place(step).is_some()
    }

    /// Whether a saga that waits for this step may still turn back without being made to by a failure.
    pub fn is_before_pivot(&self, step: Step) -> bool {
        let pivot = self.pivot.and_then(|pivot| self.place(pivot));
        matches!((self.place(step), pivot), (Some(step), Some(pivot)) if step < pivot)
    }

    /// Whether any step of this process is answered so.
    pub fn awaits(&self, answer: Answer) -> bool {
        let fails_so = |row: &Row| matches!(row.failure, TurnsBack(a) | IsRetried(a) if a == answer);
        answer == PaymentOutcomeUnknown || self.rows().any(|row| row.success == answer || fails_so(row))
    }
}

impl Step {
    /// What the payment service calls this step when it does not know the outcome; `None` for other
    /// participants' steps.
    pub fn payment_operation(self) -> Option<&'static str> {
        match self {
            AuthorizePayment => Some("authorize"),
            CapturePayment => Some("capture"),
            VoidAuthorization => Some("void"),
            RefundPayment => Some("refund"),
            ReserveStock | PinReservation | CommitStock | ConfirmOrder | ReleaseStock | RestockGoods
            | RejectOrder | CompleteCancellation => None,
        }
    }

    /// Its name in timelines, metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            ReserveStock => "ReserveStock",
            AuthorizePayment => "AuthorizePayment",
            PinReservation => "PinReservation",
            CapturePayment => "CapturePayment",
            CommitStock => "CommitStock",
            ConfirmOrder => "ConfirmOrder",
            ReleaseStock => "ReleaseStock",
            VoidAuthorization => "VoidAuthorization",
            RefundPayment => "RefundPayment",
            RestockGoods => "RestockGoods",
            RejectOrder => "RejectOrder",
            CompleteCancellation => "CompleteCancellation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Definition> {
        CHECKOUT.iter().chain(CANCELLATION)
    }

    #[test]
    fn versions_are_numbered_from_one_without_a_gap() {
        for definitions in [CHECKOUT, CANCELLATION] {
            let versions: Vec<u32> = definitions.iter().map(|definition| definition.version).collect();
            assert_eq!(versions, (1..=definitions.len() as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_step_has_one_row_and_every_compensation_a_row_of_its_own() {
        for definition in all() {
            let mut steps: Vec<Step> = definition.rows().map(|row| row.step).collect();
            steps.sort();
            let count = steps.len();
            steps.dedup();
            assert_eq!(steps.len(), count);
            for compensation in definition.forward.iter().filter_map(|row| row.compensation) {
                assert!(definition.compensations.iter().any(|row| row.step == compensation));
            }
        }
    }

    #[test]
    fn what_comes_before_the_pivot_can_be_undone_and_what_comes_after_cannot_fail() {
        for definition in all() {
            for row in definition.forward {
                if definition.is_before_pivot(row.step) {
                    assert!(row.compensation.is_some(), "{row:?}");
                } else if definition.pivot != Some(row.step) {
                    assert!(!matches!(row.failure, TurnsBack(_)), "{row:?}");
                }
            }
        }
    }

    #[test]
    fn steps_of_the_payment_service_have_the_provider_s_deadline() {
        for row in all().flat_map(Definition::rows) {
            assert_eq!(row.deadline == Provider, row.step.payment_operation().is_some(), "{row:?}");
        }
    }

    #[test]
    fn a_step_is_stored_under_the_name_that_people_see() {
        for row in all().flat_map(Definition::rows) {
            assert_eq!(serde_json::to_value(row.step).unwrap(), row.step.name());
        }
    }
}
