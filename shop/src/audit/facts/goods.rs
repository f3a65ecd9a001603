//! Stock and reservations, from the inventory log. What orders hold, bought and gave back is summed by SKU along
//! the way, from the reservations' side.

use std::collections::HashMap;

use eventsourcing::{Decider, RecordedEvent};
use inventory_service::domain::reservation::{
    Reservation, ReservationEvent, ReservationState, ReservationStatus,
};
use inventory_service::domain::stock::{Stock, StockEvent, StockState};
use uuid::Uuid;

use super::Keyed;
use crate::audit::cut::Reached;

/// The projection behind `stock_levels` and `reservations`.
pub const READ_MODEL: &str = "inventory.read-model";
/// The projection that sets timers for what is held.
pub const TIMERS: &str = "inventory.reservation-timers";
/// Their queue.
pub const TIMER_QUEUE: &str = "inventory.reservation-expiry";

/// The product service's copy of what is in stock.
pub const AVAILABILITY: &str = "product.availability";

/// All stock, and all reservations.
pub struct Goods {
    indexes: HashMap<String, SkuIndex>,
    /// What the reservations say of each SKU.
    sums: Vec<Sums>,
    pub stock: Keyed<SkuIndex, StockFacts>,
    pub reservations: Keyed<Uuid, ReservationFacts>,
    /// What the product service should know at its checkpoint.
    pub availability: HashMap<String, bool>,
    announced_up_to: Reached,
}

/// Stands for a SKU, since lines of orders are many.
pub type SkuIndex = u32;

/// One SKU's stock.
#[derive(Clone, Default)]
pub struct StockFacts {
    pub state: StockState,
    pub version: u64,
    /// What was last announced: whether there is any.
    pub announced: bool,
    /// Once, something moved although a shortfall had to be opened or closed first.
    pub missed_shortfall: bool,
}

/// One order's reservation.
#[derive(Clone, Default)]
pub struct ReservationFacts {
    pub status: ReservationStatus,
    /// What is, or was, held.
    pub lines: Box<[(SkuIndex, i64)]>,
    /// Position of its newest event.
    pub last: i64,
    /// The first event that its state before did not allow.
    pub unlawful: Option<Box<str>>,
}

/// Pieces of one SKU, summed over all reservations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub reserved: i64,
    pub committed: i64,
    pub restocked: i64,
}

impl Goods {
    /// With the checkpoint of [`READ_MODEL`], and how far [`AVAILABILITY`] came.
    pub fn new(checkpoint: i64, announced_up_to: Reached) -> Self {
        Self {
            indexes: HashMap::new(),
            sums: Vec::new(),
            stock: Keyed::new(checkpoint),
            reservations: Keyed::new(checkpoint),
            availability: HashMap::new(),
            announced_up_to,
        }
    }

    /// What the product service makes of an event.
    pub fn announce(&mut self, event: &RecordedEvent, sku: &str, happened: &StockEvent) {
        if let StockEvent::AvailabilityChanged { in_stock } = happened
            && event.position <= self.announced_up_to.of(event.stream_id.as_str())
        {
            self.availability.insert(sku.to_owned(), *in_stock);
        }
    }

    pub fn see_stock(&mut self, event: &RecordedEvent, sku: &str, happened: &StockEvent) {
        let sku = self.index(sku);
        let facts = self.stock.at(sku, event.position);
        match happened {
            StockEvent::AvailabilityChanged { in_stock } => facts.announced = *in_stock,
            StockEvent::ShortfallOpened { .. } | StockEvent::ShortfallClosed {} => {}
            // A movement comes with what it means for a shortfall; the next one finds that settled.
            _ => facts.missed_shortfall |= (facts.state.available() < 0) != facts.state.shortfall_open,
        }
        facts.state = Stock::evolve(std::mem::take(&mut facts.state), happened);
        facts.version = event.version;
    }

    pub fn see_reservation(&mut self, event: &RecordedEvent, order: Uuid, happened: &ReservationEvent) {
        let lines = match happened {
            ReservationEvent::StockReserved { lines, .. } => {
                let lines = lines.as_slice().iter();
                Some(lines.map(|line| (self.index(line.sku.as_str()), line.quantity.get())).collect())
            }
            _ => None,
        };
        let facts = self.reservations.at(order, event.position);
        let before = facts.status;
        if facts.unlawful.is_none() && !is_lawful(before, happened) {
            let unlawful = format!("{} while {}", event.event_type, before.as_str());
            facts.unlawful = Some(unlawful.into());
        }
        if let Some(lines) = lines {
            facts.lines = lines;
        }
        let state = ReservationState { status: before, ..ReservationState::default() };
        facts.status = Reservation::evolve(state, happened).status;
        facts.last = event.position;
        if facts.status != before {
            for (sku, quantity) in &facts.lines {
                let sums = &mut self.sums[*sku as usize];
                sums.count(before, -quantity);
                sums.count(facts.status, *quantity);
            }
        }
    }

    /// What the reservations say of a SKU.
    pub fn sums(&self, sku: SkuIndex) -> Sums {
        self.sums[sku as usize]
    }

    /// All SKUs that stock or reservations speak of.
    pub fn skus(&self) -> impl Iterator<Item = (&str, SkuIndex)> {
        self.indexes.iter().map(|(sku, index)| (sku.as_str(), *index))
    }

    pub fn find(&self, sku: &str) -> Option<SkuIndex> {
        self.indexes.get(sku).copied()
    }

    fn index(&mut self, sku: &str) -> SkuIndex {
        if let Some(index) = self.indexes.get(sku) {
            return *index;
        }
        let index = self.sums.len() as SkuIndex;
        self.sums.push(Sums::default());
        self.indexes.insert(sku.to_owned(), index);
        index
    }
}

impl Sums {
    fn count(&mut self, status: ReservationStatus, quantity: i64) {
        match status {
            ReservationStatus::Held | ReservationStatus::Pinned => self.reserved += quantity,
            ReservationStatus::Committed => self.committed += quantity,
            ReservationStatus::Restocked => {
                self.committed += quantity;
                self.restocked += quantity;
            }
            ReservationStatus::Unknown
            | ReservationStatus::Released
            | ReservationStatus::Expired
            | ReservationStatus::Rejected => {}
        }
    }
}

/// The ways that a reservation can go. A second end is none of them.
fn is_lawful(status: ReservationStatus, happened: &ReservationEvent) -> bool {
    use ReservationStatus::*;
    match happened {
        ReservationEvent::StockReserved { .. } => status == Unknown,
        ReservationEvent::StockReservationRejected(_) => !matches!(status, Held | Pinned | Committed),
        ReservationEvent::ReservationPinned {} | ReservationEvent::ReservationExpired {} => status == Held,
        ReservationEvent::StockReleased {} => matches!(status, Unknown | Held | Pinned),
        ReservationEvent::StockCommitted {} => matches!(status, Held | Pinned),
        ReservationEvent::StockRestocked {} => status == Committed,
        ReservationEvent::ReservationPinRejected { .. } => !matches!(status, Pinned | Committed),
        ReservationEvent::RequestAnswered { .. } => true,
    }
}
