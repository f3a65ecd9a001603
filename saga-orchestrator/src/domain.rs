//! The rules of checkout and cancellation: what a saga is, the tables that say how each goes, and the one
//! machine that both are driven by. It is pure: times and ids arrive in commands, messages go out as events.
//! How events are stored, when timers fire and what the participants do is none of its business.

mod cancellation;
mod checkout;
mod commands;
pub mod definition;
mod errors;
mod events;
mod note;
mod policy;
mod react;
mod saga;
mod values;

pub use cancellation::{Cancellation, cancellation_of};
pub use checkout::Checkout;
pub use commands::{Command, Input, Reply, Start, Timer};
pub use definition::{Answer, Step};
pub use errors::Refusal;
pub use events::{Awaiting, Event, Outcome, Request};
pub use note::{MalformedNote, Note};
pub use policy::{Backoff, Policy};
pub use react::react;
pub use saga::{OpenStep, Saga, Status, Subject};
pub use values::{InvalidValue, Kind, Line, Money, OrderId};
