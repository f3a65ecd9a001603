//! What is known of a payment, folded from its events. Authorization, capture and void each have a course of
//! their own, because a void may be wanted while it is not known what another call did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::events::{Call, PaymentEvent};
use crate::domain::{Money, ProviderReference, Reason, RefundId, RefundReason};

/// The payment of one order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentState {
    /// What was asked to be authorized.
    pub amount: Option<Money>,
    pub authorization: Authorization,
    pub capture: Capture,
    pub void: Void,
    pub refunds: BTreeMap<RefundId, Refund>,
    /// Calls that ended without an answer, as long as it is missing.
    pub unknown: BTreeSet<Call>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    #[default]
    NotAsked,
    Pending,
    Held {
        provider_reference: ProviderReference,
    },
    Declined {
        reason: Reason,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    #[default]
    NotAsked,
    Pending,
    Done {
        amount: Money,
    },
    /// Refused or failed. It stays so: whoever asked was told that nothing is taken.
    Failed {
        reason: Reason,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Void {
    #[default]
    NotAsked,
    /// Waits until it is known what a running call did.
    Requested,
    Pending,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Unknown for one that was refused.
    pub amount: Option<Money>,
    pub reason: RefundReason,
    pub status: RefundStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    Succeeded,
    Failed { reason: Reason },
}

/// A payment in one word, for people and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Authorizing,
    Authorized,
    Declined,
    Capturing,
    Captured,
    CaptureFailed,
    Voiding,
    Voided,
    Unknown,
}

impl Status {
    const NAMES: [(Status, &'static str); 9] = [
        (Self::Authorizing, "authorizing"),
        (Self::Authorized, "authorized"),
        (Self::Declined, "declined"),
        (Self::Capturing, "capturing"),
        (Self::Captured, "captured"),
        (Self::CaptureFailed, "capture_failed"),
        (Self::Voiding, "voiding"),
        (Self::Voided, "voided"),
        (Self::Unknown, "unknown"),
    ];

    /// Its name, as it is stored.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(status, _)| *status == self);
        found.map_or("unknown", |(_, name)| name)
    }

    /// The status of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(status, _)| *status)
    }
}

impl PaymentState {
    /// The payment in one word; `None` when there is none, as for an order that costs nothing.
    pub fn status(&self) -> Option<Status> {
        if !self.unknown.is_empty() {
            return Some(Status::Unknown);
        }
        let status = match (&self.authorization, &self.capture, self.void) {
            (Authorization::Declined { .. }, ..) => Status::Declined,
            (_, Capture::Done { .. }, _) => Status::Captured,
            (.., Void::Done) => Status::Voided,
            (.., Void::Pending) => Status::Voiding,
            (_, Capture::Pending, _) => Status::Capturing,
            (Authorization::Pending, ..) => Status::Authorizing,
            (_, Capture::Failed { .. }, _) => Status::CaptureFailed,
            (Authorization::Held { .. }, ..) => Status::Authorized,
            (Authorization::NotAsked, Capture::NotAsked, Void::NotAsked | Void::Requested) => return None,
        };
        Some(status)
    }

    /// Why it was declined or failed.
    pub fn reason(&self) -> Option<&Reason> {
        match (&self.authorization, &self.capture) {
            (Authorization::Declined { reason }, _) | (_, Capture::Failed { reason }) => Some(reason),
            _ => None,
        }
    }

    /// The provider's id of the payment, once it holds something.
    pub fn provider_reference(&self) -> Option<&ProviderReference> {
        match &self.authorization {
            Authorization::Held { provider_reference } => Some(provider_reference),
            _ => None,
        }
    }

    /// What is captured; `None` when nothing is.
    pub fn captured(&self) -> Option<Money> {
        match self.capture {
            Capture::Done { amount } => Some(amount),
            _ => None,
        }
    }

    /// What is paid back for certain; `None` when nothing was captured.
    pub fn refunded(&self) -> Option<Money> {
        self.sum_of_refunds(|status| *status == RefundStatus::Succeeded)
    }

    /// What may still be paid back: refunds that are running count as paid. `None` when nothing was captured.
    pub fn left(&self) -> Option<Money> {
        let bound = self.sum_of_refunds(|status| !matches!(status, RefundStatus::Failed { .. }))?;
        self.captured()?.checked_sub(bound)
    }

    fn sum_of_refunds(&self, counted: impl Fn(&RefundStatus) -> bool) -> Option<Money> {
        let counted = self.refunds.values().filter(|refund| counted(&refund.status));
        let mut amounts = counted.filter_map(|refund| refund.amount);
        amounts.try_fold(self.captured()?.zero(), Money::checked_add)
    }

    /// Whether the provider has been called and has not answered yet.
    pub(super) fn is_pending(&self, call: &Call) -> bool {
        match call {
            Call::Authorize => self.authorization == Authorization::Pending,
            Call::Capture => self.capture == Capture::Pending,
            Call::Void => self.void == Void::Pending,
            Call::Refund(id) => self.refunds.get(id).is_some_and(|r| r.status == RefundStatus::Pending),
        }
    }

    /// The state after one more event.
    pub(super) fn after(mut self, event: &PaymentEvent) -> Self {
        match event.clone() {
            PaymentEvent::AuthorizationStarted { amount, .. } => {
                self.amount = Some(amount);
                self.authorization = Authorization::Pending;
            }
            PaymentEvent::AuthorizationRefused { reason } | PaymentEvent::Declined { reason } => {
                self.unknown.remove(&Call::Authorize);
                self.authorization = Authorization::Declined { reason };
            }
            PaymentEvent::Authorized { provider_reference } => {
                self.unknown.remove(&Call::Authorize);
                self.authorization = Authorization::Held { provider_reference };
            }
            PaymentEvent::CaptureStarted { .. } => self.capture = Capture::Pending,
            PaymentEvent::CaptureRefused { reason } | PaymentEvent::CaptureFailed { reason } => {
                self.unknown.remove(&Call::Capture);
                self.capture = Capture::Failed { reason };
            }
            PaymentEvent::Captured { amount } => {
                // A void that was wanted or running came too late, and is answered by this.
                self.unknown.remove(&Call::Capture);
                self.unknown.remove(&Call::Void);
                self.capture = Capture::Done { amount };
                self.void = Void::NotAsked;
            }
            PaymentEvent::VoidRequested {} => self.void = Void::Requested,
            PaymentEvent::VoidStarted { .. } => self.void = Void::Pending,
            PaymentEvent::Voided {} => {
                self.unknown.remove(&Call::Void);
                self.void = Void::Done;
            }
            PaymentEvent::RefundStarted { refund_id, amount, reason, .. } => {
                let refund = Refund { amount: Some(amount), reason, status: RefundStatus::Pending };
                self.refunds.insert(refund_id, refund);
            }
            PaymentEvent::RefundRefused { refund_id, reason } => {
                let status = RefundStatus::Failed { reason };
                self.refunds
                    .insert(refund_id, Refund { amount: None, reason: RefundReason::default(), status });
            }
            PaymentEvent::Refunded { refund_id, .. } => self.end_refund(refund_id, RefundStatus::Succeeded),
            PaymentEvent::RefundFailed { refund_id, reason } => {
                self.end_refund(refund_id, RefundStatus::Failed { reason });
            }
            PaymentEvent::OutcomeUnknown { call } => {
                self.unknown.insert(call);
            }
            PaymentEvent::AnswerRepeated { .. } => {}
        }
        self
    }

    fn end_refund(&mut self, refund_id: RefundId, status: RefundStatus) {
        if let Some(refund) = self.refunds.get_mut(&refund_id) {
            refund.status = status;
        }
        self.unknown.remove(&Call::Refund(refund_id));
    }
}
