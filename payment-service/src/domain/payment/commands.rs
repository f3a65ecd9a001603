//! What is asked of a payment. Requests come from the checkout or a person; `Record...` commands report what
//! the provider did, whoever learned it first: the worker that called, the worker that asked, or a webhook.

use crate::domain::{Money, PaymentToken, ProviderReference, Reason, RefundId, RefundReason};

use super::events::Call;

/// A command to one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentCommand {
    /// Hold this amount. Always answered by an event.
    Authorize {
        amount: Money,
        payment_token: PaymentToken,
    },
    /// Answers a request to authorize that cannot be understood.
    RefuseAuthorization {
        reason: Reason,
    },
    /// Take what is held. Always answered by an event.
    Capture,
    /// See to it that nothing is held or will be. Always answered by an event.
    Void,
    /// Pay back. A broken rule is an event, since a saga waits for the answer.
    RequestRefund(RefundOrder),
    /// Answers a request to refund that cannot be understood.
    RefuseRefund {
        refund_id: RefundId,
        reason: Reason,
    },
    /// Pay back. A broken rule is an error, since a person waits for the answer.
    Refund(RefundOrder),

    RecordAuthorized {
        provider_reference: ProviderReference,
    },
    RecordDeclined {
        reason: Reason,
    },
    RecordCaptured,
    RecordCaptureFailed {
        reason: Reason,
    },
    RecordVoided,
    RecordRefunded {
        refund_id: RefundId,
    },
    RecordRefundFailed {
        refund_id: RefundId,
        reason: Reason,
    },
    RecordOutcomeUnknown {
        call: Call,
    },
}

/// Which money is to be paid back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundOrder {
    /// A second order with the id of a first is the first.
    pub refund_id: RefundId,
    /// Everything that is left when absent.
    pub amount: Option<Money>,
    pub reason: RefundReason,
}
