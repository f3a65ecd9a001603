//! The edges: what participants' events mean to a saga, what a saga's events mean to participants, its timers, and
//! the table that follows it.

pub mod integration_events;
pub mod metrics;
pub mod participants;
pub mod read_model;
pub mod timers;

use eventsourcing::{DecodeError, RecordedEvent};

use crate::domain::{Cancellation, Checkout, Event};

/// The saga's event in the log; `None` for what is no saga's.
fn event_of(recorded: &RecordedEvent) -> Result<Option<Event>, DecodeError> {
    match recorded.decode::<Checkout>()? {
        Some(event) => Ok(Some(event)),
        None => recorded.decode::<Cancellation>(),
    }
}
