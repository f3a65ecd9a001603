//! Read models made anew while they serve: nobody sees an error or a gap, and whatever goes wrong, what serves is
//! untouched.

#[path = "../support/mod.rs"]
mod support;

mod books;
mod failures;
mod switches;
