//! Read models made anew while they serve: nobody sees an error or a gap, and whatever goes wrong, what serves is
//! untouched.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod books;
mod failures;
mod switches;
