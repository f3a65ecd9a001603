//! The gateway's own program before services that come and go. The services here are real servers of the shop's protos
//! whose handlers answer without a database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod rest;
mod support;
