//! What happened to a payment. `...Started` is an intent: it is written before the provider is called, and the
//! call is made because it was written. A released variant is never edited.

use eventsourcing::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::domain::{Money, PaymentToken, ProviderReference, Reason, RefundId, RefundReason};

/// A fact about one payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentEvent {
    /// The provider is asked to hold this amount.
    AuthorizationStarted { amount: Money, payment_token: PaymentToken },
    /// The provider is not even asked.
    AuthorizationRefused { reason: Reason },
    /// The provider holds the amount.
    Authorized { provider_reference: ProviderReference },
    /// The provider holds nothing.
    Declined { reason: Reason },

    /// The provider is asked to take what it holds.
    CaptureStarted { amount: Money, provider_reference: ProviderReference },
    /// The provider is not even asked.
    CaptureRefused { reason: Reason },
    /// The money is taken.
    Captured { amount: Money },
    /// The money is not taken.
    CaptureFailed { reason: Reason },

    /// A void is wanted, and waits until it is known what a running call to the provider did.
    VoidRequested {},
    /// The provider is asked to give up what it holds.
    VoidStarted { provider_reference: ProviderReference },
    /// Nothing is or will be held or taken.
    Voided {},

    /// The provider is asked to pay this amount back.
    RefundStarted {
        refund_id: RefundId,
        amount: Money,
        reason: RefundReason,
        provider_reference: ProviderReference,
    },
    /// The provider is not even asked.
    RefundRefused { refund_id: RefundId, reason: Reason },
    /// The amount is paid back.
    Refunded { refund_id: RefundId, amount: Money },
    /// The amount is not paid back.
    RefundFailed { refund_id: RefundId, reason: Reason },

    /// A call to the provider ended without an answer. The provider is being asked; a definite event follows.
    OutcomeUnknown { call: Call },
    /// Something was asked for again that is answered already: the same answer once more.
    AnswerRepeated { answer: Answer },
}

impl DomainEvent for PaymentEvent {}

impl PaymentEvent {
    /// What it tells whoever asked; `None` for what is on its way.
    pub fn answer(&self) -> Option<Answer> {
        match self.clone() {
            Self::Authorized { .. } => Some(Answer::Authorized),
            Self::AuthorizationRefused { reason } | Self::Declined { reason } => {
                Some(Answer::Declined { reason })
            }
            Self::Captured { amount } => Some(Answer::Captured { amount }),
            Self::CaptureRefused { reason } | Self::CaptureFailed { reason } => {
                Some(Answer::CaptureFailed { reason })
            }
            Self::Voided {} => Some(Answer::Voided),
            Self::Refunded { refund_id, amount } => Some(Answer::Refunded { refund_id, amount }),
            Self::RefundRefused { refund_id, reason } | Self::RefundFailed { refund_id, reason } => {
                Some(Answer::RefundFailed { refund_id, reason })
            }
            Self::AnswerRepeated { answer } => Some(answer),
            Self::AuthorizationStarted { .. }
            | Self::CaptureStarted { .. }
            | Self::VoidRequested {}
            | Self::VoidStarted { .. }
            | Self::RefundStarted { .. }
            | Self::OutcomeUnknown { .. } => None,
        }
    }

    /// The refund that it changes.
    pub fn refund_id(&self) -> Option<&RefundId> {
        match self {
            Self::RefundStarted { refund_id, .. }
            | Self::RefundRefused { refund_id, .. }
            | Self::Refunded { refund_id, .. }
            | Self::RefundFailed { refund_id, .. } => Some(refund_id),
            _ => None,
        }
    }
}

/// A call to the provider. There is one of each kind for a payment, and one for each refund.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Authorize,
    Capture,
    Void,
    Refund(RefundId),
}

impl Call {
    /// The kind of call, as it is published and counted.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund(_) => "refund",
        }
    }
}

/// What whoever asked for something is told in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Authorized,
    Declined { reason: Reason },
    Captured { amount: Money },
    CaptureFailed { reason: Reason },
    Voided,
    Refunded { refund_id: RefundId, amount: Money },
    RefundFailed { refund_id: RefundId, reason: Reason },
}
