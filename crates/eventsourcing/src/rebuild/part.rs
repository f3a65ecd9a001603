//! One projection of a model with its feed, whatever its messages are. What it does not handle is parked under the
//! name that its checkpoint has while it is filled, and moves with it.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::RebuildError;
use crate::feed::{Feed, FeedError, Message};
use crate::subscription::parking::{self, ParkedMessage};
use crate::subscription::{HandlerError, Projection};

/// A projection that fills copies.
pub(super) trait Part: Send + Sync {
    fn subscription(&self) -> &'static str;
    fn log(&self) -> &str;
    fn incarnation(&self) -> i32;
    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>>;

    /// Applies what lies between two positions, at most so many events. Returns where it came to.
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: i64,
        up_to: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<i64, RebuildError>>;

    /// Parks the first message after a position. Returns its position.
    fn set_aside<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: i64,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<i64, RebuildError>>;

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

/// A projection and where its messages come from.
pub(super) struct Source<P: Projection> {
    feed: Arc<dyn Feed<Message = P::Message>>,
    projection: P,
}

impl<P: Projection> Source<P> {
    pub fn new(feed: Arc<dyn Feed<Message = P::Message>>, projection: P) -> Self {
        Self { feed, projection }
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

    fn incarnation(&self) -> i32 {
        self.feed.incarnation()
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.feed.newest()
    }

    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        after: i64,
        up_to: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<i64, RebuildError>> {
        Box::pin(async move {
            let page = self.feed.read(after, limit).await?;
            // Nothing more lies before `up_to`, which was known before the feed was asked: then all of it is passed.
            let end = if page.up_to > after { page.up_to.min(up_to) } else { up_to };
            let mut messages = page.messages;
            messages.retain(|message| message.position() <= end);
            let name = next(self.subscription());
            let parked = parking::keys(&mut *connection, &name).await?;
            if !parked.is_empty() {
                for message in messages.iter().filter(|message| parked.contains(message.key())) {
                    parking::park(&mut *connection, &name, message, None, 0).await?;
                }
                messages.retain(|message| !parked.contains(message.key()));
            }
            if !messages.is_empty() {
                let applied = self.projection.apply_page(connection, &messages).await;
                applied.map_err(self.failed(after))?;
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
        after: i64,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<i64, RebuildError>> {
        Box::pin(async move {
            let page = self.feed.read(after, 1).await?;
            for message in &page.messages {
                parking::park(&mut *connection, &next(self.subscription()), message, Some(reason), 1).await?;
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
