//! One order with everything that the services know of it, and whether all of it has come to rest: only then the
//! rules between services can be judged.

use order_service::domain::order::{Phase, Status};
use saga_orchestrator::domain::Kind;
use uuid::Uuid;

use super::cut::{Cut, Log};
use super::facts::Facts;
use super::facts::goods::ReservationFacts;
use super::facts::orders::OrderFacts;
use super::facts::payments::PaymentFacts;
use super::facts::sagas::SagaFacts;

/// The saga orchestrator's subscriptions, by what they follow.
const HEARS_ORDERS: &str = "saga.order-events";
const HEARS_INVENTORY: &str = "saga.inventory-events";
const HEARS_PAYMENTS: &str = "saga.payment-events";

/// What is known of one order.
pub struct Case<'a> {
    pub id: Uuid,
    pub order: Option<&'a OrderFacts>,
    pub reservation: Option<&'a ReservationFacts>,
    pub payment: Option<&'a PaymentFacts>,
    pub checkout: Option<&'a SagaFacts>,
    pub cancellation: Option<&'a SagaFacts>,
    /// The orchestrator has handled all that the order service said of it.
    pub order_heard: bool,
    /// It has handled all that inventory and payment said of it, too.
    pub all_heard: bool,
}

impl<'a> Case<'a> {
    /// Every order that stood still while the cut was taken.
    pub fn all(cut: &'a Cut, facts: &'a Facts) -> impl Iterator<Item = Self> {
        let still = |id: &&Uuid| !facts.in_motion.contains(id);
        facts.orders.known.iter().map(|(id, _)| id).filter(still).map(|id| Self::of(cut, facts, *id))
    }

    pub fn of(cut: &Cut, facts: &'a Facts, id: Uuid) -> Self {
        let order = facts.orders.known.get(&id);
        let reservation = facts.goods.reservations.get(&id);
        let payment = facts.payments.known.get(&id);
        let sagas = &cut.snapshots[Log::Saga];
        let heard = |subscription: &str, category: &str, last: Option<i64>| {
            last.is_none_or(|last| sagas.has_handled(subscription, &format!("{category}-{id}"), last))
        };
        let order_heard = heard(HEARS_ORDERS, "order", order.map(|order| order.last));
        let all_heard = order_heard
            && heard(HEARS_INVENTORY, "reservation", reservation.map(|reservation| reservation.last))
            && heard(HEARS_PAYMENTS, "payment", payment.map(|payment| payment.last));
        Self {
            id,
            order,
            reservation,
            payment,
            checkout: facts.sagas.get(Kind::Checkout, id),
            cancellation: facts.sagas.get(Kind::Cancellation, id),
            order_heard,
            all_heard,
        }
    }

    /// Its sagas are at their end, nothing that was said is unheard, no call to the provider is under way, and
    /// no person did a step by hand, which leaves no trace in the participants' logs.
    pub fn is_at_rest(&self) -> bool {
        self.all_heard
            && self.checkout.is_some_and(SagaFacts::is_ended)
            && self.cancellation.is_none_or(SagaFacts::is_ended)
            && !self.payment.is_some_and(PaymentFacts::is_pending)
            && !self.was_helped()
    }

    /// Whether a person did a step of its sagas by hand.
    pub fn was_helped(&self) -> bool {
        [self.checkout, self.cancellation].into_iter().flatten().any(|saga| !saga.skipped.is_empty())
    }

    pub fn phase_name(&self) -> &'static str {
        let phase = self.order.map_or(&Phase::Unplaced, |order| &order.state.phase);
        Status::of(phase).map_or("not placed", Status::name)
    }
}
