//! The process manager of cancellation: money back, goods back, order cancelled. It begins only after its
//! checkout has completed, so the two never act on one order at the same time. Its steps stand in
//! [`definition::CANCELLATION`](super::definition::CANCELLATION).

use eventsourcing::Decider;

use super::definition::CANCELLATION;
use super::react::react;
use super::{Command, Event, Refusal, Saga, Start, Status};

/// Key of its streams: the order id.
pub struct Cancellation;

impl Decider for Cancellation {
    const CATEGORY: &'static str = "cancellation";
    type State = Saga;
    type Command = Command;
    type Event = Event;
    type Error = Refusal;

    fn decide(state: &Saga, command: &Command) -> Result<Vec<Event>, Refusal> {
        react(CANCELLATION, state, command)
    }

    fn evolve(state: Saga, event: &Event) -> Saga {
        state.evolve(event)
    }
}

/// The cancellation that a checkout calls for: it has completed, and somebody wants the order cancelled.
///
/// Whether the wish came before or after the order was confirmed makes no difference. It is asked after every
/// input to a checkout, in the same transaction; starting a cancellation twice starts it once.
pub fn cancellation_of(checkout: &Saga) -> Option<Start> {
    let reason = checkout.cancellation.clone()?;
    let subject = checkout.subject.as_ref()?;
    let completed = checkout.status() == Some(Status::Completed);
    completed.then(|| Start::Cancellation {
        order_id: subject.order_id,
        total: subject.total.clone(),
        reason,
    })
}
