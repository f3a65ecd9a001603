//! One projection of a model with a partition of its feed, whatever its messages are. What it does not handle is parked under the
//! name that its checkpoint has while it is filled, and moves with it.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::RebuildError;
use crate::feed::{Feed, FeedError, Message, Place};
use crate::subscription::parking::{self, ParkedMessage};
use crate::subscription::{HandlerError, Projection};

/// A projection that fills copies.
pub(super) trait Part: Send + Sync {
    fn subscription(&self) -> &'static str;
    fn log(&self) -> &str;
    fn partition(&self) -> i32;
    fn incarnation(&self) -> i32;
    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>>;

    /// Applies what lies between a place and a position, at most so many events. Returns where it came to.
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: Place,
        up_to: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Place, RebuildError>>;

    /// Parks the first message after a place. Returns where it came to.
    fn set_aside<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: Place,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Place, RebuildError>>;

    /// Tells the projection that what it applied is committed.
    fn committed(&self);

    /// Applies a parked message.
    fn apply_parked<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        parked: &'a ParkedMessage,
    ) -> BoxFuture<'a, Result<(), RebuildError>>;
}

/// The name of a checkpoint, and of parked messages, while copies are filled.
pub(super) fn next(subscription: &str) -> String {
    format!("{subscription}@next")
}

/// A projection and the partition that its messages come from.
pub(super) struct Source<P: Projection> {
    feed: Arc<dyn Feed<Message = P::Message>>,
    partition: i32,
    projection: Arc<P>,
}

impl<P: Projection> Source<P> {
    pub fn new(feed: Arc<dyn Feed<Message = P::Message>>, partition: i32, projection: Arc<P>) -> Self {
        Self { feed, partition, projection }
    }

    fn failed(&self, after: i64) -> impl FnOnce(HandlerError) -> RebuildError {
        let subscription = self.projection.name();
        move |error| match error {
            HandlerError::Unreachable(reason) => RebuildError::Unreachable { subscription, reason },
            HandlerError::Poison(reason) => {
                RebuildError::Poison { subscription: next(subscription), after, reason }
            }
        }
    }
}

impl<P: Projection> Part for Source<P> {
    fn subscription(&self) -> &'static str {
        self.projection.name()
    }

    fn log(&self) -> &str {
        self.feed.log()
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn incarnation(&self) -> i32 {
        self.feed.incarnation()
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.feed.newest(self.partition)
    }

    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: Place,
        up_to: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Place, RebuildError>> {
        Box::pin(async move {
            let page = self.feed.read(self.partition, after, limit).await?;
            // Nothing more lies before `up_to`, which was known before the feed was asked: then all of it is passed.
            let all = page.up_to.position <= after.position;
            let end = match page.up_to.position > up_to {
                // What is left of the page is read again.
                true => Place { resume: after.resume, ..page.up_to.moved_to(up_to) },
                false if all => page.up_to.moved_to(up_to),
                false => page.up_to,
            };
            let mut messages = page.messages;
            messages.retain(|message| message.position() <= end.position);
            let (name, partition) = (next(self.subscription()), self.partition);
            let parked = parking::keys(&mut *connection, &name, partition).await?;
            if !parked.is_empty() {
                for message in messages.iter().filter(|message| parked.contains(message.key())) {
                    parking::park(&mut *connection, &name, partition, message, None, 0).await?;
                }
                messages.retain(|message| !parked.contains(message.key()));
            }
            if !messages.is_empty() {
                let applied = self.projection.apply_page(connection, &messages).await;
                applied.map_err(self.failed(after.position))?;
            }
            Ok(end)
        })
    }

    fn committed(&self) {
        self.projection.committed();
    }

    fn set_aside<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: Place,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Place, RebuildError>> {
        Box::pin(async move {
            let (name, partition) = (next(self.subscription()), self.partition);
            let page = self.feed.read(partition, after, 1).await?;
            for message in &page.messages {
                parking::park(&mut *connection, &name, partition, message, Some(reason), 1).await?;
            }
            Ok(page.up_to)
        })
    }

    fn apply_parked<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        parked: &'a ParkedMessage,
    ) -> BoxFuture<'a, Result<(), RebuildError>> {
        Box::pin(async move {
            let message = serde_json::from_value::<P::Message>(parked.message.clone())
                .map_err(|error| HandlerError::Poison(format!("the parked message cannot be read: {error}")));
            let applied = match message {
                Ok(message) => self.projection.apply(connection, &message).await,
                Err(error) => Err(error),
            };
            applied.map_err(self.failed(parked.position - 1))
        })
    }
}
