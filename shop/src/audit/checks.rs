//! The invariants, one file for each group and one function for each check. A check looks at facts and at the
//! snapshots of the cut, and gives a finding; it repairs nothing.

pub mod catalogue;
pub mod event_log;
pub mod goods;
pub mod open_work;
pub mod orders;
pub mod payments;
pub mod read_models;
pub mod subscriptions;
