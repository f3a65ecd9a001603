//! The service's edges: what it publishes, the requests it follows, the tables and timers that it keeps in step
//! with its log.

pub mod expiry;
mod integration_events;
pub mod metrics;
pub mod projections;
pub mod saga_requests;

pub use integration_events::{SOURCE, publish};
