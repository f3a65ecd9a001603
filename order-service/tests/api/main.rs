//! The order service as its clients see it, on a real database, with the product feed and the saga feed in the
//! tests' hands.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod following;
mod lifecycle;
mod orders_read_model;
mod personal_data;
mod placing;
mod replicas;
mod sagas;
mod support;
