//! What crosses a service's boundary: integration events, read from a feed with a resumable position. A feed
//! neither remembers readers nor pushes to them; that is a subscription's work.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::command::Metadata;
use crate::decider::DecodeError;
use crate::log::{EventLog, RecordedEvent};

/// An ordered sequence of messages that can be read again from any position.
pub trait Feed: Send + Sync + 'static {
    type Message: Message;

    /// The log that it comes from.
    fn log(&self) -> &str;

    /// The incarnation of that log; a reader that has seen another one cannot simply go on.
    fn incarnation(&self) -> i32;

    /// Messages after a position, in order. There may be more than these even when they are fewer than `limit`;
    /// there was nothing more when `up_to` is still the position.
    fn read(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<Page<Self::Message>, FeedError>>;

    /// The position of the newest event, read from the source.
    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>>;

    /// The highest position known here, for waiting until there is more.
    fn head(&self) -> watch::Receiver<i64>;
}

/// A piece of a feed.
#[derive(Clone, Debug)]
pub struct Page<M> {
    pub messages: Vec<M>,
    /// Where to read on. It may lie behind the last message: events that are not published count too.
    pub up_to: i64,
}

/// Something that a subscription handles.
pub trait Message: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The same however often it is delivered.
    fn id(&self) -> Uuid;
    /// Messages of one key are handled in order.
    fn key(&self) -> &str;
    fn position(&self) -> i64;
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

    fn read(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<Page<RecordedEvent>, FeedError>> {
        Box::pin(async move {
            let events = self.read_after(after, limit).await?;
            let messages: Vec<_> = events.into_iter().map(Arc::unwrap_or_clone).collect();
            let up_to = messages.last().map_or(after, |m| m.position);
            Ok(Page { messages, up_to })
        })
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>> {
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

    fn read(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        Box::pin(async move {
            let events = self.log.read_after(after, limit).await?;
            let up_to = events.last().map_or(after, |e| e.position);
            let messages: Result<Vec<_>, _> =
                events.iter().filter_map(|event| self.integration_event(event).transpose()).collect();
            Ok(Page { messages: messages?, up_to })
        })
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.log.newest()
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
