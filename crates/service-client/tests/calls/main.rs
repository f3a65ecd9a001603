//! The client against real servers on loopback that come, go, stand still and fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balancing;
mod limits;
mod names;
mod restarts;
mod retries;
mod support;
