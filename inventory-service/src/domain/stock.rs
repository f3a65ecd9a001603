//! The stock of one SKU: five counters that only grow or, for what is reserved, shrink again. Which order holds
//! which pieces is the reservation's knowledge, not this one's: a hot SKU is copied for every command, so its
//! state stays a handful of numbers.
//!
//! `available = received + restocked + adjusted - reserved - committed`. It is below zero only while a shortfall
//! is open: when a correction shows that fewer pieces are there than orders hold. Nothing more is reserved then;
//! what is held stays held, and pieces that arrive, are found or given back cover the shortfall first.
//!
//! A sale ("commit") is never refused for a shortfall, since it is paid for. It leaves `available` as it is, so
//! it neither opens nor closes one; `on_hand` may fall below zero, which then counts sold pieces that are owed.

mod commands;
mod errors;
mod events;

pub use commands::StockCommand;
pub use errors::StockError;
pub use events::StockEvent;

use eventsourcing::Decider;
use serde::{Deserialize, Serialize};

use super::values::Quantity;

/// Largest size of a counter that people feed. It leaves room for all sums in 64 bits, and for programs that
/// read numbers as floats.
pub const MAX_COUNTER: i64 = 1_000_000_000_000_000;

/// The decider of a SKU's stock.
pub struct Stock;

/// The counters of a SKU, in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockState {
    pub received: i64,
    /// Sold and taken back.
    pub restocked: i64,
    /// Sum of all corrections; negative when more was lost than found.
    pub adjusted: i64,
    /// Held for orders that are neither sold nor given up.
    pub reserved: i64,
    /// Sold.
    pub committed: i64,
    pub shortfall_open: bool,
}

impl StockState {
    /// Pieces that an order may still reserve.
    pub fn available(&self) -> i64 {
        self.on_hand() - self.reserved
    }

    /// Pieces that are there, reserved ones included.
    pub fn on_hand(&self) -> i64 {
        self.received + self.restocked + self.adjusted - self.committed
    }

    /// Pieces that are promised and not there; above zero exactly while a shortfall is open.
    pub fn missing(&self) -> i64 {
        (-self.available()).max(0)
    }

    /// Whether pieces ever arrived. A SKU that none did of is unknown here.
    pub fn is_known(&self) -> bool {
        self.received > 0
    }
}

impl Decider for Stock {
    const CATEGORY: &'static str = "stock";
    const SNAPSHOT_EVERY: Option<u64> = Some(500);

    type State = StockState;
    type Command = StockCommand;
    type Event = StockEvent;
    type Error = StockError;

    fn decide(state: &StockState, command: &StockCommand) -> Result<Vec<StockEvent>, StockError> {
        let movement = decide_movement(state, command)?;
        Ok(with_consequences(state, movement))
    }

    fn evolve(mut state: StockState, event: &StockEvent) -> StockState {
        match event {
            StockEvent::StockReceived { quantity, .. } => state.received += quantity.get(),
            StockEvent::StockAdjusted { delta, .. } => state.adjusted += delta.get(),
            StockEvent::PiecesReserved { quantity, .. } => state.reserved += quantity.get(),
            StockEvent::PiecesReleased { quantity, .. } => state.reserved -= quantity.get(),
            StockEvent::PiecesCommitted { quantity, .. } => {
                state.reserved -= quantity.get();
                state.committed += quantity.get();
            }
            StockEvent::PiecesRestocked { quantity, .. } => state.restocked += quantity.get(),
            StockEvent::ShortfallOpened { .. } => state.shortfall_open = true,
            StockEvent::ShortfallClosed {} => state.shortfall_open = false,
            StockEvent::AvailabilityChanged { .. } => {}
        }
        state
    }
}

/// The one movement that a command leads to, if the rules allow it.
fn decide_movement(state: &StockState, command: &StockCommand) -> Result<StockEvent, StockError> {
    match command {
        StockCommand::Receive { quantity, reference } => {
            within_limit(state.received + quantity.get())?;
            Ok(StockEvent::StockReceived { quantity: *quantity, reference: reference.clone() })
        }
        StockCommand::Adjust { delta, reason } => {
            if !state.is_known() {
                return Err(StockError::UnknownSku);
            }
            within_limit(state.adjusted + delta.get())?;
            if delta.get() < 0 && state.on_hand() + delta.get() < 0 {
                return Err(StockError::MoreThanOnHand { on_hand: state.on_hand() });
            }
            Ok(StockEvent::StockAdjusted { delta: *delta, reason: reason.clone() })
        }
        StockCommand::Reserve { order_id, quantity } => {
            if !state.is_known() {
                return Err(StockError::UnknownSku);
            }
            if quantity.get() > state.available() {
                return Err(StockError::InsufficientStock { available: state.available().max(0) });
            }
            Ok(StockEvent::PiecesReserved { order_id: *order_id, quantity: *quantity })
        }
        StockCommand::Release { order_id, quantity } => {
            held(state, *quantity)?;
            Ok(StockEvent::PiecesReleased { order_id: *order_id, quantity: *quantity })
        }
        StockCommand::Commit { order_id, quantity } => {
            held(state, *quantity)?;
            Ok(StockEvent::PiecesCommitted { order_id: *order_id, quantity: *quantity })
        }
        StockCommand::Restock { order_id, quantity } => {
            let sold = state.committed - state.restocked;
            if quantity.get() > sold {
                return Err(StockError::NotCommitted { committed: sold });
            }
            Ok(StockEvent::PiecesRestocked { order_id: *order_id, quantity: *quantity })
        }
    }
}

fn within_limit(counter: i64) -> Result<(), StockError> {
    if counter.abs() > MAX_COUNTER { Err(StockError::StockLimitReached) } else { Ok(()) }
}

/// Reservations see to this themselves; the check keeps a fault there from making pieces here.
fn held(state: &StockState, quantity: Quantity) -> Result<(), StockError> {
    if quantity.get() > state.reserved {
        return Err(StockError::NotReserved { reserved: state.reserved });
    }
    Ok(())
}

/// A movement, and what it means for those who watch the stock.
fn with_consequences(before: &StockState, movement: StockEvent) -> Vec<StockEvent> {
    let after = Stock::evolve(before.clone(), &movement);
    let mut events = vec![movement];
    if after.available() < 0 && !after.shortfall_open {
        events.push(StockEvent::ShortfallOpened { missing: after.missing() });
    }
    if after.available() >= 0 && after.shortfall_open {
        events.push(StockEvent::ShortfallClosed {});
    }
    let in_stock = after.available() > 0;
    if in_stock != (before.available() > 0) {
        events.push(StockEvent::AvailabilityChanged { in_stock });
    }
    events
}
