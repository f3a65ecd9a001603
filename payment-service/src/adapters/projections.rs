//! What follows the payments' own log: the read model for people, and the calls that intents lead to.

pub mod provider_calls;
pub mod read_model;

pub use provider_calls::{Intents, ScheduleProviderCalls};
pub use read_model::ReadModel;

use std::sync::Arc;

use eventsourcing::{EventLog, HandlerError, RecordedEvent};

use crate::domain::OrderId;

/// The read model for people.
pub const MODEL: &str = "payment.read-model";
/// Every table of this service that its projection writes or reads. A new one goes here, too.
pub const TABLES: &[&str] = &["payments", "refunds"];

/// What can be rebuilt; the calls to the provider never are.
pub fn rebuildable(log: &EventLog) -> Vec<eventsourcing::ReadModel> {
    vec![eventsourcing::ReadModel::new(MODEL, TABLES).fed_by(Arc::new(log.clone()), ReadModel)]
}

/// The order whose payment an event belongs to.
fn order_of(event: &RecordedEvent) -> Result<OrderId, HandlerError> {
    OrderId::parse(event.stream_id.key())
        .map_err(|error| HandlerError::Poison(format!("the key of stream {} {error}", event.stream_id)))
}
