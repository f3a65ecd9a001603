//! Orders, from the order log. Nothing personal is looked at.

use eventsourcing::{Decider, RecordedEvent};
use order_service::domain::order::{OrderEvent, OrderState};
use order_service::domain::{Money, Order};
use uuid::Uuid;

use super::Keyed;

/// The projection behind `orders`.
pub const READ_MODEL: &str = "order.orders";

/// All orders.
pub struct Orders {
    pub known: Keyed<Uuid, OrderFacts>,
}

/// One order.
#[derive(Clone, Default)]
pub struct OrderFacts {
    pub state: OrderState,
    pub total: Option<Money>,
    pub version: u64,
    /// Position of its newest event.
    pub last: i64,
}

impl Orders {
    pub fn new(checkpoint: i64) -> Self {
        Self { known: Keyed::new(checkpoint) }
    }

    pub fn see(&mut self, event: &RecordedEvent, order: Uuid, happened: &OrderEvent) {
        let facts = self.known.at(order, event.position);
        if let OrderEvent::OrderPlaced(placed) = happened {
            facts.total = Some(placed.total);
        }
        facts.state = Order::evolve(std::mem::take(&mut facts.state), happened);
        facts.version = event.version;
        facts.last = event.position;
    }
}
