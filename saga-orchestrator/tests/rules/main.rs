//! The rules of both process managers, without a database: given/when/then for every row of the tables, and the
//! stored form of every event. What they do together with the participants' rules is searched in `tests/tests/model`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cancellation;
mod checkout;
mod golden;
mod operators;
mod patience;
mod support;
mod turning_back;
mod versions;
