//! Where the domain meets everything else: what is published of it, the tables that follow it, the requests it
//! answers, and the provider.

pub mod integration_events;
pub mod metrics;
pub mod projections;
pub mod saga_requests;
pub mod simulator;
