//! Payments, from the payment log.

use eventsourcing::{Decider, RecordedEvent};
use payment_service::domain::payment::{Authorization, Capture, PaymentState, RefundStatus, Void};
use payment_service::domain::{Payment, PaymentEvent, RefundId};
use uuid::Uuid;

use super::Keyed;

/// The projection behind `payments` and `refunds`.
pub const READ_MODEL: &str = "payment.read-model";
/// The projection that schedules calls to the provider, and their queue.
pub const CALLS: &str = "payment.provider-calls";
/// Who asks for refunds on behalf of sagas.
const SAGA_REQUESTS: &str = "payment.saga-requests";

/// All payments.
pub struct Payments {
    pub known: Keyed<Uuid, PaymentFacts>,
}

/// One order's payment.
#[derive(Clone, Default)]
pub struct PaymentFacts {
    pub state: PaymentState,
    pub version: u64,
    /// Position of its newest event.
    pub last: i64,
    /// How often it was captured.
    pub captures: u32,
    /// What was paid back, event by event, in minor units.
    pub paid_back: i64,
    /// The refunds that a saga asked for; people asked for the others.
    asked_by_sagas: Vec<RefundId>,
}

impl Payments {
    pub fn new(checkpoint: i64) -> Self {
        Self { known: Keyed::new(checkpoint) }
    }

    pub fn see(&mut self, event: &RecordedEvent, order: Uuid, happened: &PaymentEvent) {
        let facts = self.known.at(order, event.position);
        match happened {
            PaymentEvent::Captured { .. } => facts.captures += 1,
            PaymentEvent::Refunded { amount, .. } => facts.paid_back += amount.minor_units,
            PaymentEvent::RefundStarted { refund_id, .. } if event.metadata.actor == SAGA_REQUESTS => {
                facts.asked_by_sagas.push(refund_id.clone());
            }
            _ => {}
        }
        facts.state = Payment::evolve(std::mem::take(&mut facts.state), happened);
        facts.version = event.version;
        facts.last = event.position;
    }
}

impl PaymentFacts {
    /// What was taken, in minor units.
    pub fn captured(&self) -> i64 {
        self.state.captured().map_or(0, |money| money.minor_units)
    }

    /// What was paid back for certain, in minor units.
    pub fn refunded(&self) -> i64 {
        self.state.refunded().map_or(0, |money| money.minor_units)
    }

    /// What was paid back because people wanted it, in minor units.
    pub fn refunded_by_people(&self) -> i64 {
        let refunds = self.state.refunds.iter().filter(|(id, refund)| {
            refund.status == RefundStatus::Succeeded && !self.asked_by_sagas.contains(id)
        });
        refunds.filter_map(|(_, refund)| refund.amount).map(|amount| amount.minor_units).sum()
    }

    /// Whether a call to the provider is under way.
    pub fn is_pending(&self) -> bool {
        let PaymentState { authorization, capture, void, refunds, .. } = &self.state;
        *authorization == Authorization::Pending
            || *capture == Capture::Pending
            || matches!(void, Void::Requested | Void::Pending)
            || refunds.values().any(|refund| refund.status == RefundStatus::Pending)
    }

    /// Whether the provider holds money that is neither taken nor given up.
    pub fn is_held(&self) -> bool {
        let PaymentState { authorization, capture, void, .. } = &self.state;
        matches!(authorization, Authorization::Held { .. })
            && !matches!(capture, Capture::Done { .. })
            && *void != Void::Done
    }
}
