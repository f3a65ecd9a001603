//! What follows the payments' own log: the read model for people, and the calls that intents lead to.

pub mod provider_calls;
pub mod read_model;

pub use provider_calls::{Intents, ScheduleProviderCalls};
pub use read_model::ReadModel;

use eventsourcing::{HandlerError, RecordedEvent};

use crate::domain::OrderId;

/// The order whose payment an event belongs to.
fn order_of(event: &RecordedEvent) -> Result<OrderId, HandlerError> {
    OrderId::parse(event.stream_id.key())
        .map_err(|error| HandlerError::Poison(format!("the key of stream {} {error}", event.stream_id)))
}
