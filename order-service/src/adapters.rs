//! What ties the order service to the others: the events that it publishes, the requests that it answers, and
//! the read models that feeds keep up to date.

pub mod integration_events;
pub mod projections;
pub mod saga_requests;
