//! A feed that a test writes by hand, in the place of another service's. What it sends counts as published at once.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use eventsourcing::{Feed, FeedError, IntegrationEvent, Page, Place, Position};
use futures::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

/// Messages that are read at once.
const PAGE: usize = 1000;

/// Everything that a feed of one partition has after a position. One page is never taken for all: a replica may have its own newest
/// events at hand and give those, while the log holds more behind them that another replica appended.
///
/// # Errors
/// When the feed cannot be read.
pub async fn read_everything<F: Feed + ?Sized>(feed: &F, after: i64) -> Result<Page<F::Message>, FeedError> {
    let mut all = Page { messages: Vec::new(), up_to: Place::at(after) };
    loop {
        let page = feed.read(0, all.up_to, PAGE).await?;
        if page.up_to == all.up_to {
            return Ok(all);
        }
        all.messages.extend(page.messages);
        all.up_to = page.up_to;
    }
}

/// The incarnation of every hand-made log.
const INCARNATION: i32 = 1;

/// An ordered sequence of integration events in memory. Clones are the same feed.
#[derive(Clone)]
pub struct HandMadeFeed {
    log: &'static str,
    events: Arc<Mutex<Vec<IntegrationEvent>>>,
    head: watch::Sender<i64>,
}

impl HandMadeFeed {
    /// An empty feed of the log `log`.
    pub fn new(log: &'static str) -> Self {
        Self { log, events: Arc::default(), head: watch::Sender::new(0) }
    }

    /// Appends a message under a key, which is the name of a stream: `category-id`. Its flow is called like the
    /// stream's id. Returns the position as clients carry it.
    pub fn send(&self, key: impl Into<String>, data: Vec<u8>) -> String {
        let key = key.into();
        let flow = key.split_once('-').map_or(key.as_str(), |(_, id)| id).to_owned();
        self.append(|position, _| IntegrationEvent {
            id: Uuid::now_v7(),
            source: format!("/shop/{}", self.log),
            event_type: format!("shop.{}.v1.HandMade", self.log),
            time: Utc::now(),
            subject: key,
            version: position.unsigned_abs(),
            position,
            correlation_id: flow,
            traceparent: None,
            data,
        })
    }

    /// Delivers the newest message once more, as a feed may.
    ///
    /// # Panics
    /// When nothing was sent yet.
    pub fn redeliver(&self) {
        self.append(|position, before| {
            let newest = before.last().expect("something was sent").clone();
            IntegrationEvent { position, ..newest }
        });
    }

    /// A position of this feed as clients carry it, reached or not.
    pub fn position(&self, number: i64) -> String {
        Position { log: self.log.to_owned(), incarnation: INCARNATION, number }.to_string()
    }

    fn append(&self, event: impl FnOnce(i64, &[IntegrationEvent]) -> IntegrationEvent) -> String {
        // A test that panicked while it wrote has failed already; the others need not.
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let position = events.len() as i64 + 1;
        let event = event(position, &events);
        events.push(event);
        self.head.send_replace(position);
        self.position(position)
    }
}

impl Feed for HandMadeFeed {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        self.log
    }

    fn incarnation(&self) -> i32 {
        INCARNATION
    }

    fn read(
        &self,
        _partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let messages: Vec<_> = events.iter().skip(after.position as usize).take(limit).cloned().collect();
        let up_to = messages.last().map_or(after, |message| after.moved_to(message.position));
        Box::pin(async move { Ok(Page { messages, up_to }) })
    }

    fn newest(&self, _partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        let newest = *self.head.borrow();
        Box::pin(async move { Ok(newest) })
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }
}
