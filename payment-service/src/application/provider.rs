//! The port to the payment provider: what it can be asked, and what it may answer. It deliberately knows no
//! provider. Two adapters are foreseen, the simulator and a real one.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::payment::{Call, PaymentCommand};
use crate::domain::{Money, OrderId, PaymentToken, ProviderReference, Reason, RefundId};

/// A payment provider, which is somewhere else: every call may fail, hang, or succeed without saying so.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Carries a call out. The same key is the same call: what was done once is not done again, for as long as
    /// the provider remembers keys.
    fn perform(
        &self,
        call: &ProviderCall,
        idempotency_key: Uuid,
    ) -> impl Future<Output = Result<Outcome, CallError>> + Send;

    /// Asks what became of a call: by the provider's own id where one is known, else by the order that the call
    /// carried as metadata. It works long after the idempotency key is forgotten.
    fn ask(&self, call: &ProviderCall) -> impl Future<Output = Result<Found, CallError>> + Send;
}

/// Everything that a call needs, written down with its intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderCall {
    pub order_id: OrderId,
    pub action: Action,
    /// When the intent was recorded.
    pub started_at: DateTime<Utc>,
}

/// What the provider is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Authorize { amount: Money, payment_token: PaymentToken },
    Capture { amount: Money, provider_reference: ProviderReference },
    Void { provider_reference: ProviderReference },
    Refund { refund_id: RefundId, amount: Money, provider_reference: ProviderReference },
}

impl Action {
    /// The call as the domain names it.
    pub fn call(&self) -> Call {
        match self {
            Self::Authorize { .. } => Call::Authorize,
            Self::Capture { .. } => Call::Capture,
            Self::Void { .. } => Call::Void,
            Self::Refund { refund_id, .. } => Call::Refund(refund_id.clone()),
        }
    }
}

/// What the provider did, for certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Authorized {
        provider_reference: ProviderReference,
    },
    Declined {
        reason: Reason,
    },
    /// Also the answer to a void that came too late.
    Captured,
    CaptureFailed {
        reason: Reason,
    },
    Voided,
    Refunded {
        refund_id: RefundId,
    },
    RefundFailed {
        refund_id: RefundId,
        reason: Reason,
    },
}

impl Outcome {
    /// The command that records it.
    pub fn record(self) -> PaymentCommand {
        match self {
            Self::Authorized { provider_reference } => {
                PaymentCommand::RecordAuthorized { provider_reference }
            }
            Self::Declined { reason } => PaymentCommand::RecordDeclined { reason },
            Self::Captured => PaymentCommand::RecordCaptured,
            Self::CaptureFailed { reason } => PaymentCommand::RecordCaptureFailed { reason },
            Self::Voided => PaymentCommand::RecordVoided,
            Self::Refunded { refund_id } => PaymentCommand::RecordRefunded { refund_id },
            Self::RefundFailed { refund_id, reason } => {
                PaymentCommand::RecordRefundFailed { refund_id, reason }
            }
        }
    }
}

/// Why a call ended without an outcome. The texts hold no token and nothing personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider did nothing and says so.
    #[error("the provider did nothing: {0}")]
    NotDone(String),
    /// It was sent, and nobody knows what became of it.
    #[error("the provider did not answer: {0}")]
    Unknown(String),
}

/// What asking about a call brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Definite(Outcome),
    /// The provider has it and does not know itself yet.
    Pending,
    /// The provider knows nothing of it: it never arrived, or has not arrived yet.
    Nothing,
}

/// What the provider tells by itself, some time after it happened. It may come twice, late, in another order, or
/// never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The same for every delivery.
    pub id: Uuid,
    pub order_id: OrderId,
    pub outcome: Outcome,
}
