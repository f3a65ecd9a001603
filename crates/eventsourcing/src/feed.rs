//! What crosses a service's boundary: integration events, read from a feed with a resumable position. A feed
//! neither remembers readers nor pushes to them; that is a subscription's work. It may be divided into partitions, and
//! then its source may say which process handles which.

mod partition;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::command::Metadata;
use crate::decider::DecodeError;
use crate::log::{EventLog, RecordedEvent};
pub use partition::partition_of;

/// The messages of one log, in one or more partitions. Each partition is an ordered sequence that can be read again from
/// any place. All messages of a key are in one partition.
pub trait Feed: Send + Sync + 'static {
    type Message: Message;

    /// The log that it comes from.
    fn log(&self) -> &str;

    /// The incarnation of that log; a reader that has seen another one cannot simply go on. 0 when each message tells
    /// for itself.
    fn incarnation(&self) -> i32;

    /// How many partitions there are, numbered from 0. A log is one.
    fn partitions(&self) -> i32 {
        1
    }

    /// Messages of a partition after a place, in order. There may be more than these even when they are fewer than
    /// `limit`; there was nothing more when `up_to` is still the place.
    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<Self::Message>, FeedError>>;

    /// The position that a partition has come to, read from the source.
    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>>;

    /// The highest position known here, for waiting until there is more.
    fn head(&self) -> watch::Receiver<i64>;

    /// Checks that a place which somebody remembers is still one of this feed.
    fn check(&self, partition: i32, place: Place) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(async move {
            let newest = self.newest(partition).await?;
            if place.position <= newest {
                return Ok(());
            }
            Err(FeedError::Stop(format!(
                "the log `{}` ends at {newest}, and this subscription has seen {}: the log has lost events",
                self.log(),
                place.position
            )))
        })
    }

    /// Partitions as they are given to this process, where the source divides them among the replicas that handle them
    /// for `subscription`. Dropping the receiver gives them back. `None`: they are not divided, and whoever holds the
    /// subscription's lease handles all of them.
    fn join(&self, _subscription: &str) -> Option<Assignments<Self::Message>> {
        None
    }
}

/// Partitions, or why there are none at the moment.
pub type Assignments<M> = mpsc::Receiver<Result<Assignment<M>, FeedError>>;

/// A partition that this process may handle.
pub struct Assignment<M> {
    pub partition: i32,
    /// Reads it.
    pub feed: Arc<dyn Feed<Message = M>>,
    /// Ends when it is taken away.
    pub taken: CancellationToken,
    /// Kept for as long as it is being handled, so that whoever takes it away can wait for that.
    pub handled: Option<DropGuard>,
}

/// A place in a partition of a feed: everything up to it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub position: i64,
    /// Incarnation of the log that the position is of; 0 before the first message where only messages tell.
    pub incarnation: i32,
    /// Where the source has what comes next, when that is not the position itself. `None` is its beginning.
    pub resume: Option<i64>,
}

impl Place {
    /// A place in a log.
    pub fn at(position: i64) -> Self {
        Self { position, ..Self::default() }
    }

    /// The same but for the position: what comes next is not before where it was.
    #[must_use]
    pub fn moved_to(self, position: i64) -> Self {
        Self { position, ..self }
    }
}

/// A piece of a partition.
#[derive(Clone, Debug)]
pub struct Page<M> {
    pub messages: Vec<M>,
    /// Where to read on. It may lie behind the last message: events that are not published count too.
    pub up_to: Place,
}

/// Something that a subscription handles.
pub trait Message: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The same however often it is delivered.
    fn id(&self) -> Uuid;
    /// Messages of one key are handled in order.
    fn key(&self) -> &str;
    fn position(&self) -> i64;
    /// What happened: the name of its type.
    fn event_type(&self) -> &str;
    /// What commands that follow from it should record.
    fn metadata(&self) -> Metadata;
}

/// Why a feed could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the log cannot be read: {0}")]
    Unreachable(#[from] sqlx::Error),
    #[error("event at position {position}: {source}")]
    Corrupt { position: i64, source: DecodeError },
    #[error("the source of the feed cannot be reached: {0}")]
    Away(String),
    /// It does not go on before a person has acted.
    #[error("{0}")]
    Stop(String),
}

/// An event as other services see it, with the attributes of CloudEvents 1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationEvent {
    /// CloudEvents `id`: the domain event's id.
    pub id: Uuid,
    /// CloudEvents `source`, such as `/shop/ledger`.
    pub source: String,
    /// CloudEvents `type`: the full name of the protobuf message.
    pub event_type: String,
    /// CloudEvents `time`.
    pub time: DateTime<Utc>,
    /// CloudEvents `subject`: the stream id, which is the key too.
    pub subject: String,
    /// Version of the stream with this event.
    pub version: u64,
    pub position: i64,
    pub correlation_id: String,
    pub traceparent: Option<String>,
    /// The protobuf message.
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
}

impl Message for IntegrationEvent {
    fn id(&self) -> Uuid {
        self.id
    }

    fn key(&self) -> &str {
        &self.subject
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            correlation_id: self.correlation_id.clone(),
            causation_id: Some(self.id),
            actor: self.source.clone(),
            traceparent: self.traceparent.clone(),
        }
    }
}

impl Message for RecordedEvent {
    fn id(&self) -> Uuid {
        self.event_id
    }

    fn key(&self) -> &str {
        self.stream_id.as_str()
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn metadata(&self) -> Metadata {
        Metadata { causation_id: Some(self.event_id), ..self.metadata.clone() }
    }
}

/// A service's own log is a feed of all of its events, private ones included.
impl Feed for EventLog {
    type Message = RecordedEvent;

    fn log(&self) -> &str {
        self.name()
    }

    fn incarnation(&self) -> i32 {
        EventLog::incarnation(self)
    }

    fn read(
        &self,
        _partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<RecordedEvent>, FeedError>> {
        Box::pin(async move {
            let events = self.read_after(after.position, limit).await?;
            let messages: Vec<_> = events.into_iter().map(Arc::unwrap_or_clone).collect();
            let up_to = messages.last().map_or(after, |m| after.moved_to(m.position));
            Ok(Page { messages, up_to })
        })
    }

    fn newest(&self, _partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        Box::pin(async move { Ok(EventLog::head(self).await?) })
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.watch_head()
    }
}

/// Integration events from wherever the configuration says they come.
pub type IntegrationFeed = Arc<dyn Feed<Message = IntegrationEvent>>;

/// What a service makes public of a domain event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Full name of the protobuf message that happened, such as `shop.ledger.v1.AccountOpened`.
    pub event_type: &'static str,
    /// The protobuf message.
    pub data: Vec<u8>,
}

/// Maps a domain event to what is published of it; `None` keeps it private.
pub type Publish = fn(&RecordedEvent) -> Result<Option<Published>, DecodeError>;

/// The feed that reads a service's own log, in the process that may.
#[derive(Clone)]
pub struct LogFeed {
    log: EventLog,
    source: &'static str,
    publish: Publish,
}

impl LogFeed {
    /// `source` is the CloudEvents source of the service, such as `/shop/ledger`.
    pub fn new(log: EventLog, source: &'static str, publish: Publish) -> Self {
        Self { log, source, publish }
    }

    fn integration_event(&self, event: &RecordedEvent) -> Result<Option<IntegrationEvent>, FeedError> {
        let position = event.position;
        let published = (self.publish)(event).map_err(|source| FeedError::Corrupt { position, source })?;
        Ok(published.map(|published| IntegrationEvent {
            id: event.event_id,
            source: self.source.to_owned(),
            event_type: published.event_type.to_owned(),
            time: event.recorded_at,
            subject: event.stream_id.as_str().to_owned(),
            version: event.version,
            position,
            correlation_id: event.metadata.correlation_id.clone(),
            traceparent: event.metadata.traceparent.clone(),
            data: published.data,
        }))
    }
}

impl Feed for LogFeed {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        self.log.name()
    }

    fn incarnation(&self) -> i32 {
        Feed::incarnation(&self.log)
    }

    fn read(
        &self,
        _partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        Box::pin(async move {
            let events = self.log.read_after(after.position, limit).await?;
            let up_to = events.last().map_or(after, |e| after.moved_to(e.position));
            let messages: Result<Vec<_>, _> =
                events.iter().filter_map(|event| self.integration_event(event).transpose()).collect();
            Ok(Page { messages: messages?, up_to })
        })
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.log.newest(partition)
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.log.watch_head()
    }
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
