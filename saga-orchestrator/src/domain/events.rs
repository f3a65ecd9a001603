//! What happened to a saga. `StepRequested` is the one that leaves the service, as the integration event of its
//! request; all others are the saga's own. A released variant is never edited.

use chrono::{DateTime, Utc};
use eventsourcing::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Line, Money, OrderId, Step};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    CheckoutStarted {
        order_id: OrderId,
        lines: Vec<Line>,
        total: Money,
        payment_token: String,
        /// A reservation that is not pinned by then is given back.
        reserve_until: DateTime<Utc>,
        definition: u32,
        at: DateTime<Utc>,
    },
    CancellationStarted {
        order_id: OrderId,
        /// What was charged.
        total: Money,
        reason: String,
        definition: u32,
        at: DateTime<Utc>,
    },
    /// A participant is asked, or asked again.
    StepRequested {
        request: Request,
        /// Counts how often this step was sent.
        attempt: u32,
        /// Counts how often it was sent within the current budget of retries.
        tries: u32,
        /// When it is sent again, or the saga is stuck.
        answer_by: DateTime<Utc>,
    },
    StepSucceeded {
        step: Step,
    },
    /// It definitely did not happen. What was done before is compensated.
    StepFailed {
        step: Step,
        reason: String,
    },
    /// Somebody did it by hand.
    StepSkipped {
        step: Step,
        reason: String,
    },
    /// A refund definitely failed. It is tried again under another refund id.
    RefundRefused {
        reason: String,
        /// The attempt that was refused.
        attempt: u32,
        again_at: DateTime<Utc>,
    },
    /// The provider is being asked what became of the open step.
    OutcomeUnknown {
        step: Step,
        attempt: u32,
        /// When a person is called.
        answer_by: DateTime<Utc>,
    },
    /// Somebody wants the order cancelled.
    CancellationNoted {
        reason: String,
    },
    /// From here on the saga compensates, at once or when the open step is answered.
    TurnedBack {
        reason: String,
        /// What an operator wrote about it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
        /// The open step, when its answer is not waited for: it is compensated as if it had happened.
        given_up: Option<Step>,
    },
    /// Money was taken although the saga had turned back: it is refunded.
    CaptureTurnedOutLate {},
    /// The budget of retries is used up, or an outcome stayed unknown: a person has to look.
    SagaStuck {
        step: Step,
        reason: String,
    },
    SagaEnded {
        outcome: Outcome,
    },
}

impl DomainEvent for Event {}

/// A request to a participant, with all that it needs to know besides the order's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    ReserveStock { lines: Vec<Line>, expires_at: DateTime<Utc> },
    AuthorizePayment { amount: Money, payment_token: String },
    PinReservation,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    ReleaseStock,
    VoidAuthorization,
    RefundPayment { refund_id: Uuid, reason: String },
    RestockGoods,
    RejectOrder { reason: String },
    CompleteCancellation { reason: String },
}

impl Request {
    pub fn step(&self) -> Step {
        match self {
            Self::ReserveStock { .. } => Step::ReserveStock,
            Self::AuthorizePayment { .. } => Step::AuthorizePayment,
            Self::PinReservation => Step::PinReservation,
            Self::CapturePayment => Step::CapturePayment,
            Self::CommitStock => Step::CommitStock,
            Self::ConfirmOrder => Step::ConfirmOrder,
            Self::ReleaseStock => Step::ReleaseStock,
            Self::VoidAuthorization => Step::VoidAuthorization,
            Self::RefundPayment { .. } => Step::RefundPayment,
            Self::RestockGoods => Step::RestockGoods,
            Self::RejectOrder { .. } => Step::RejectOrder,
            Self::CompleteCancellation { .. } => Step::CompleteCancellation,
        }
    }
}

/// What the open step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Awaiting {
    /// The participant's answer.
    Answer,
    /// What the provider says about an outcome that is unknown.
    Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything was done.
    Completed,
    /// Everything was undone.
    Compensated,
}
