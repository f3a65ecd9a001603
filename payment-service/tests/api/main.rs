//! The service from outside, on a real database: requests of the saga in, events and RPCs out.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod checkout;
mod replicas;
mod rpcs;
mod simulator;
mod support;
