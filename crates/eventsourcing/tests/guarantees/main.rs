//! The guarantees of the event log and of what follows it. Each is a check that returns the violation it found: a plain
//! test wants none of a sound log, and `mutations` switches the guarantees off, one at a time, and wants the very same
//! check to find that. `endurance` tries all of them at once, with two processes; `kills` has one die on its way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;
#[macro_use]
mod harness;

mod append_only;
mod concurrency;
mod durability;
mod effects;
mod endurance;
mod idempotency;
mod kills;
mod leases;
mod mutations;
mod order;
mod tls;
mod writer;
