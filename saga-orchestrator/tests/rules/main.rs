//! The rules of both process managers, without a database: given/when/then for every row of the tables, an
//! exhaustive search over small worlds, and the stored form of every event.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cancellation;
mod checkout;
mod golden;
mod operators;
mod patience;
mod search;
mod support;
mod turning_back;
mod versions;
