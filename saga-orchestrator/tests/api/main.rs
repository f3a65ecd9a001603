//! The service with a real database: feeds in, requests out, timers, operators, replicas. The participants are a
//! few lines that answer what they are asked (`participants.rs`); their feeds are made by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checkout;
mod operators;
mod participants;
mod read_model;
mod replicas;
mod shop;
mod timers;
