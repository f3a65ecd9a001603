//! What connects the service to the rest: [`integration_events`] is what others hear of, [`projections`] keep the
//! tables that are read.

pub mod integration_events;
pub mod projections;
