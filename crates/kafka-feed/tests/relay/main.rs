//! The relay's promises, against a real Kafka: nothing is skipped, order is kept, and whatever happens to relay, log or
//! topic is either healed or said.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod child;
mod copying;
mod crashes;
mod harness;
mod outages;
mod security;
mod topics;
