//! The edges: what participants' events mean to a saga, what a saga's events mean to participants, its timers, and
//! the table that follows it.

pub mod integration_events;
pub mod metrics;
pub mod participants;
pub mod read_model;
pub mod timers;
