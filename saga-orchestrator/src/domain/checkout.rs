//! The process manager of checkout: from a placed order to a confirmed one, or back. Which steps that takes
//! stands in [`definition::CHECKOUT`](super::definition::CHECKOUT).

use eventsourcing::Decider;

use super::definition::CHECKOUT;
use super::react::react;
use super::{Command, Event, Refusal, Saga};

/// Key of its streams: the order id.
pub struct Checkout;

impl Decider for Checkout {
    const CATEGORY: &'static str = "checkout";
    type State = Saga;
    type Command = Command;
    type Event = Event;
    type Error = Refusal;

    fn decide(state: &Saga, command: &Command) -> Result<Vec<Event>, Refusal> {
        react(CHECKOUT, state, command)
    }

    fn evolve(state: Saga, event: &Event) -> Saga {
        state.evolve(event)
    }
}
