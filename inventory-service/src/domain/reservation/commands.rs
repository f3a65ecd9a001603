//! What can be asked of a reservation.

use chrono::{DateTime, Utc};

use super::events::Rejection;
use crate::domain::values::OrderLines;

/// A request to one order's reservation.
#[derive(Clone, Debug)]
pub enum ReservationCommand {
    /// Hold all lines. Only put when the stock has them all.
    Reserve { lines: OrderLines, expires_at: DateTime<Utc> },
    /// Hold nothing, for this reason.
    Refuse { rejection: Rejection },
    /// Keep it until it is committed or released, unless its time is up.
    Pin { now: DateTime<Utc> },
    /// Give it back, and refuse it if it comes later.
    Release {},
    /// The goods are sold.
    Commit {},
    /// Take sold goods back.
    Restock {},
    /// Give it back if its time is up and it is not pinned.
    Expire { now: DateTime<Utc> },
}
