//! The rules, without a database: each decider by itself, operations over both, and what any sequence of them
//! must keep true.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod golden;
mod invariants;
mod operations;
mod published;
mod reservation;
mod stock;
mod support;
