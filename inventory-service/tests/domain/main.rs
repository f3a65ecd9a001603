//! The rules, without a database: each decider by itself, operations over both, and what any sequence of them
//! must keep true.

mod golden;
mod invariants;
mod operations;
mod published;
mod reservation;
mod stock;
mod support;
