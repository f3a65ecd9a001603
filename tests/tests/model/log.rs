//! A service's log in memory: its streams and its table of answers to commands. Operations run on the real views;
//! what they append may be changed by a mutation before it is stored.

use std::collections::BTreeMap;

use eventsourcing::decider::{EncodedEvent, decode};
use eventsourcing::{
    CommandContext, Decider, Halt, InMemoryStreams, Metadata, Operation, RecordedEvent, StreamId,
};
use inventory_service::domain::reservation::Reservation;
use inventory_service::domain::stock::Stock;
use order_service::domain::Order;
use payment_service::domain::Payment;
use saga_orchestrator::domain::{Cancellation, Checkout};
use uuid::Uuid;

use crate::case::at;
use crate::rules::{CARRIED_OUT_TWICE, PARKED};
use crate::shop::Shop;

/// What an operation appended, in order.
pub type Events = Vec<(StreamId, EncodedEvent)>;
/// Changes what an operation appends; it is given the streams as they were before.
pub type Patch = fn(&InMemoryStreams, Events) -> Events;

/// Which of its deliveries a message comes with. The two of one message carry the same ticket, which stands for the
/// message's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    Only,
    /// It will come once more: the process dies before its checkpoint, or a replica does not know that it is late.
    First(u8),
    Second(u8),
}

impl Delivery {
    /// The command id that the subscription derives; `None` when the answer will not be asked for again.
    pub fn command_id(self, subscription: &str) -> Option<Uuid> {
        match self {
            Self::Only => None,
            Self::First(ticket) | Self::Second(ticket) => {
                Some(command_id(subscription, Uuid::from_u128(ticket.into()), 0))
            }
        }
    }

    /// The rule that a message breaks which is refused, or which has an effect when it comes again.
    pub fn broken_by<T, E>(self, executed: &Executed<T, E>) -> Option<&'static str> {
        match (self, &executed.answer) {
            (_, Err(_)) => Some(PARKED),
            (Self::Second(_), Ok(_)) if !executed.events.is_empty() => Some(CARRIED_OUT_TWICE),
            _ => None,
        }
    }

    /// As it is told.
    pub fn in_words(self) -> &'static str {
        if matches!(self, Self::Second(_)) { " once more" } else { "" }
    }
}

/// The id of a command that follows from a message or a task.
pub fn command_id(subscription: &str, message: Uuid, ordinal: u32) -> Uuid {
    CommandContext::derived(subscription, message, ordinal, Metadata::default()).command_id
}

#[derive(Clone, Default)]
pub struct Log {
    pub streams: InMemoryStreams,
    /// First answers by command id. Those that nobody will ask for again are left out.
    results: BTreeMap<Uuid, String>,
}

/// What came of a command.
pub struct Executed<T, E> {
    pub answer: Result<T, E>,
    /// None when the answer is an earlier one.
    pub events: Events,
}

impl Log {
    /// Runs an operation, or gives the first answer to its command id again.
    pub fn execute<O: Operation>(
        &mut self,
        operation: &O,
        command_id: Option<Uuid>,
        patch: Option<Patch>,
    ) -> Executed<O::Reply, O::Rejection> {
        if let Some(first) = command_id.and_then(|id| self.results.get(&id)) {
            return Executed { answer: serde_json::from_str(first).unwrap(), events: Vec::new() };
        }
        let before = self.streams.clone();
        let (answer, mut events) = match self.streams.run(operation) {
            Ok((reply, events)) => (Ok(reply), events),
            Err(Halt::Rejected(rejection)) => (Err(rejection), Vec::new()),
            Err(Halt::Missing | Halt::StaleVersion { .. }) => unreachable!("no version is expected here"),
        };
        if let Some(patch) = patch {
            let patched = patch(&before, events.clone());
            if patched != events {
                self.streams = patched.iter().fold(before, append);
                events = patched;
            }
        }
        if let Some(id) = command_id {
            self.results.insert(id, serde_json::to_string(&answer).unwrap());
        }
        Executed { answer, events }
    }

    /// Runs the operation that a message of a subscription asks for.
    pub fn deliver<O: Operation>(
        &mut self,
        operation: &O,
        subscription: &str,
        delivery: Delivery,
        shop: &Shop,
    ) -> Executed<O::Reply, O::Rejection> {
        let id = delivery.command_id(subscription).filter(|_| shop.message_ids);
        let executed = self.execute(operation, id, shop.patch);
        if matches!(delivery, Delivery::Second(_)) {
            self.forget(id);
        }
        executed
    }

    /// Nobody will ask for this answer again.
    pub fn forget(&mut self, command_id: Option<Uuid>) {
        if let Some(id) = command_id {
            self.results.remove(&id);
        }
    }

    /// The state of streams that matter, and the answers, as a text that is equal for equal logs.
    pub fn identity(&self, states: &[String]) -> String {
        format!("{states:?} {:?}", self.results)
    }
}

/// The state of a stream as a text.
pub fn state_of<D: Decider>(streams: &InMemoryStreams, stream: &StreamId) -> String {
    serde_json::to_string(&streams.state::<D>(stream)).unwrap()
}

/// The streams after one more event, whosever it is.
pub fn append(streams: InMemoryStreams, (stream, event): &(StreamId, EncodedEvent)) -> InMemoryStreams {
    match stream.category() {
        Reservation::CATEGORY => append_to::<Reservation>(streams, stream, event),
        Stock::CATEGORY => append_to::<Stock>(streams, stream, event),
        Payment::CATEGORY => append_to::<Payment>(streams, stream, event),
        Order::CATEGORY => append_to::<Order>(streams, stream, event),
        Checkout::CATEGORY => append_to::<Checkout>(streams, stream, event),
        Cancellation::CATEGORY => append_to::<Cancellation>(streams, stream, event),
        unknown => unreachable!("no stream is of category {unknown}"),
    }
}

fn append_to<D: Decider>(
    streams: InMemoryStreams,
    stream: &StreamId,
    event: &EncodedEvent,
) -> InMemoryStreams {
    streams.given::<D>(stream, &[event_of::<D>(event)])
}

/// An event as its decider knows it.
pub fn event_of<D: Decider>(event: &EncodedEvent) -> D::Event {
    decode(&event.event_type, event.schema_version, &event.data).unwrap()
}

/// The event as it stands in the log, for those who publish it.
pub fn recorded((stream, event): &(StreamId, EncodedEvent)) -> RecordedEvent {
    RecordedEvent {
        position: 0,
        stream_id: stream.clone(),
        version: 0,
        event_id: Uuid::nil(),
        command_id: Uuid::nil(),
        event_type: event.event_type.clone(),
        schema_version: event.schema_version,
        data: event.data.clone(),
        metadata: Metadata::default(),
        recorded_at: at(0),
    }
}
