//! What can be put to a saga: the message that starts it, participants' answers, timers, and operators' wishes.
//! Times come with the command; a decider has no clock.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, Awaiting, Line, Money, OrderId, Policy, Step};

/// One input, with the moment and the policy that deadlines are computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub at: DateTime<Utc>,
    pub policy: Policy,
    pub input: Input,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Start(Start),
    /// Somebody wants the order cancelled; the saga knows best whether it can still turn back.
    CancellationRequested {
        reason: String,
    },
    Reply(Reply),
    TimerFired(Timer),
    /// An operator: send the open request of a stuck saga again.
    Retry,
    /// An operator: take the open step of a stuck saga as done.
    Skip {
        reason: String,
    },
    /// An operator: turn back.
    Compensate {
        note: String,
    },
}

/// What a saga begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Checkout { order_id: OrderId, lines: Vec<Line>, total: Money, payment_token: String },
    Cancellation { order_id: OrderId, total: Money, reason: String },
}

/// A participant's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    pub answer: Answer,
    /// Why, if the answer is a no; which operation, if its outcome is unknown; else empty.
    pub detail: String,
    /// Which refund it is about, if any.
    pub refund_id: Option<Uuid>,
}

impl Reply {
    pub fn plain(answer: Answer) -> Self {
        Self::because(answer, "")
    }

    pub fn because(answer: Answer, detail: impl Into<String>) -> Self {
        Self { answer, detail: detail.into(), refund_id: None }
    }

    pub fn of_refund(answer: Answer, refund_id: Uuid, detail: impl Into<String>) -> Self {
        Self { answer, detail: detail.into(), refund_id: Some(refund_id) }
    }
}

/// A deadline that passed. It concerns the open step only while that is the same step, the same attempt and the
/// same kind of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timer {
    pub step: Step,
    pub attempt: u32,
    pub awaiting: Awaiting,
}
