//! A feed in memory, which a test writes.

use std::sync::{Mutex, PoisonError};

use chrono::Utc;
use eventsourcing::IntegrationEvent;
use eventsourcing::feed::{Feed, FeedError, Page};
use futures::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

pub struct TestFeed {
    log: &'static str,
    events: Mutex<Vec<IntegrationEvent>>,
    head: watch::Sender<i64>,
}

impl TestFeed {
    pub fn new(log: &'static str) -> Self {
        Self { log, events: Mutex::default(), head: watch::Sender::new(0) }
    }

    /// Publishes an event about an order.
    pub fn publish(&self, order_id: Uuid, data: Vec<u8>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let position = events.len() as i64 + 1;
        events.push(IntegrationEvent {
            id: Uuid::now_v7(),
            source: format!("/shop/{}", self.log),
            event_type: format!("shop.{}.v1.Event", self.log),
            time: Utc::now(),
            subject: format!("{}-{order_id}", self.log),
            version: 1,
            position,
            correlation_id: format!("order {order_id}"),
            traceparent: None,
            data,
        });
        drop(events);
        self.head.send_replace(position);
    }

    pub fn newest_position(&self) -> i64 {
        *self.head.borrow()
    }
}

impl Feed for TestFeed {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        self.log
    }

    fn incarnation(&self) -> i32 {
        1
    }

    fn read(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let messages: Vec<_> = events.iter().skip(after as usize).take(limit).cloned().collect();
        let up_to = after + messages.len() as i64;
        Box::pin(async move { Ok(Page { messages, up_to }) })
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>> {
        let newest = self.newest_position();
        Box::pin(async move { Ok(newest) })
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }
}
