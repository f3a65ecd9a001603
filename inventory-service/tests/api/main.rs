//! The service against a real database: its API with all checks around it, the saga's requests, timers, and
//! two replicas at once.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod api;
mod expiry;
mod read_model;
mod replicas;
mod saga_requests;
mod support;
