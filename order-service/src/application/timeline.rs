//! One order's history, read from its stream: the log is the history, so there is no second copy that could
//! lag behind it. Streams of orders have a handful of events.

use chrono::{DateTime, Utc};
use eventsourcing::{Decider, EventLog, RecordedEvent, StreamId};

use super::StoreError;
use super::personal_data::{Field, PersonalData};
use crate::domain::order::{OrderEvent, OrderPlaced, OrderState, Status};
use crate::domain::{KeySubject, Order, OrderId, SealedText};

/// Events read at a time.
const PAGE: usize = 200;

/// One thing that happened to an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Version of the stream with this event.
    pub version: u64,
    /// The event's name.
    pub event: String,
    pub at: DateTime<Utc>,
    /// Who set it off, as it was recorded.
    pub actor: String,
    /// The status afterwards.
    pub status: Status,
    /// Why: a code, or what somebody wrote.
    pub reason: String,
}

/// An order's state together with the history that led there, as far as it was read.
pub struct Timeline {
    order_id: OrderId,
    stream: StreamId,
    pub version: u64,
    pub state: OrderState,
    subject: Option<KeySubject>,
}

impl Timeline {
    /// Before the first event.
    pub fn of(order_id: OrderId) -> Self {
        let stream = StreamId::of::<Order>(order_id);
        Self { order_id, stream, version: 0, state: OrderState::default(), subject: None }
    }

    /// Reads on to the end of the stream and returns what is new. Events that tell nothing new to a reader are
    /// left out.
    pub async fn read_on(
        &mut self,
        log: &EventLog,
        personal_data: &PersonalData,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        loop {
            let events = log.read_stream_as_heard(&self.stream, self.version, PAGE).await?;
            let count = events.len();
            for recorded in events {
                entries.extend(self.take(&recorded, personal_data).await?);
            }
            if count < PAGE {
                return Ok(entries);
            }
        }
    }

    async fn take(
        &mut self,
        recorded: &RecordedEvent,
        personal_data: &PersonalData,
    ) -> Result<Option<Entry>, StoreError> {
        let Some(event) = recorded.decode::<Order>()? else { return Ok(None) };
        self.state = Order::evolve(std::mem::take(&mut self.state), &event);
        self.version = recorded.version;
        let reason = match &event {
            OrderEvent::OrderOutcomeReaffirmed { .. } => return Ok(None),
            OrderEvent::OrderPlaced(placed) => {
                self.subject = Some(placed.key_subject());
                String::new()
            }
            OrderEvent::OrderCancellationRequested { reason, note, .. } => {
                let note = self.open_note(note.as_ref(), personal_data).await?;
                note.unwrap_or_else(|| reason.to_string())
            }
            OrderEvent::OrderRejected { reason } | OrderEvent::OrderCancelled { reason } => {
                reason.to_string()
            }
            OrderEvent::OrderConfirmed {} | OrderEvent::OrderShipped {} | OrderEvent::OrderDelivered {} => {
                String::new()
            }
        };
        let status = Status::of(&self.state.phase).ok_or_else(|| {
            StoreError::Fault(format!("stream {} does not begin with OrderPlaced", self.stream))
        })?;
        Ok(Some(Entry {
            version: recorded.version,
            event: recorded.event_type.clone(),
            at: recorded.recorded_at,
            actor: recorded.metadata.actor.clone(),
            status,
            reason,
        }))
    }

    /// What the person wrote, as long as the person is not forgotten.
    async fn open_note(
        &self,
        note: Option<&SealedText>,
        personal_data: &PersonalData,
    ) -> Result<Option<String>, StoreError> {
        let (Some(note), Some(subject)) = (note, &self.subject) else { return Ok(None) };
        let Some(key) = personal_data.find(subject).await? else { return Ok(None) };
        let plaintext = key.open(self.order_id, Field::CancellationNote, note)?;
        Ok(plaintext.and_then(|plaintext| String::from_utf8(plaintext).ok()))
    }
}

/// How an order was placed; `None` when there is no such order.
pub async fn placed(log: &EventLog, order_id: OrderId) -> Result<Option<OrderPlaced>, StoreError> {
    let events = log.read_stream_as_heard(&StreamId::of::<Order>(order_id), 0, 1).await?;
    let Some(first) = events.first() else { return Ok(None) };
    match first.decode::<Order>()? {
        Some(OrderEvent::OrderPlaced(placed)) => Ok(Some(placed)),
        _ => Err(StoreError::Fault(format!("stream {} does not begin with OrderPlaced", first.stream_id))),
    }
}
