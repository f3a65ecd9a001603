//! The two kinds of effect behind one interface, so that one runner serves both: a page at once when all is
//! well, one message at a time when something is not.

use std::collections::HashMap;
use std::future::Future;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::PgPool;

use super::parking::{self, ParkedMessage};
use super::{Commands, HandlerError, Projection, Reactor, checkpoint};
use crate::fault;
use crate::feed::{Message, Place};

/// The move of the checkpoint that goes with an effect.
#[derive(Clone, Copy)]
pub(crate) struct Move<'a> {
    pub log: &'a str,
    pub partition: i32,
    pub from: Place,
    pub to: Place,
}

/// What became of an effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    Done,
    /// Another runner has moved the checkpoint: nothing was done here.
    Moved,
}

pub(super) trait Effect: Send + Sync + 'static {
    type Message: Message;

    /// Whether the checkpoint moves in the transaction of the effect. Otherwise it follows by and by, since a
    /// second delivery changes nothing.
    const MOVES_CHECKPOINT: bool;

    fn name(&self) -> &'static str;

    /// Handles messages, and moves the checkpoint if that is part of the effect.
    fn apply(
        &self,
        pool: &PgPool,
        messages: &[Self::Message],
        step: Move<'_>,
        concurrency: usize,
    ) -> impl Future<Output = Result<Applied, HandlerError>> + Send;

    /// Handles a parked message and takes it off the list.
    fn redrive(
        &self,
        pool: &PgPool,
        message: &Self::Message,
        parked: &ParkedMessage,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

pub(super) struct Project<P>(pub P);

impl<P: Projection> Effect for Project<P> {
    type Message = P::Message;
    const MOVES_CHECKPOINT: bool = true;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn apply(
        &self,
        pool: &PgPool,
        messages: &[P::Message],
        step: Move<'_>,
        _concurrency: usize,
    ) -> Result<Applied, HandlerError> {
        let mut transaction = checkpoint::begin(pool).await?;
        // First, so that a second runner waits here and then finds that it comes too late.
        if !checkpoint::advance(&mut transaction, self.name(), step).await? {
            return Ok(Applied::Moved);
        }
        self.0.apply_page(&mut transaction, messages).await?;
        fault::point("checkpoint.before");
        transaction.commit().await?;
        fault::point("checkpoint.after");
        self.0.committed();
        Ok(Applied::Done)
    }

    async fn redrive(
        &self,
        pool: &PgPool,
        message: &P::Message,
        parked: &ParkedMessage,
    ) -> Result<(), HandlerError> {
        let mut transaction = pool.begin().await?;
        // First: if it is gone, a version of the read model that has its effect began to serve meanwhile.
        if !parking::handled(&mut transaction, parked).await? {
            return Ok(());
        }
        self.0.apply(&mut transaction, message).await?;
        transaction.commit().await?;
        self.0.committed();
        Ok(())
    }
}

pub(super) struct React<R>(pub R);

impl<R: Reactor> React<R> {
    /// The messages of one key, in order, up to the first that fails.
    async fn in_order(&self, messages: Vec<&R::Message>) -> Result<(), HandlerError> {
        for message in messages {
            self.0.react(message, &Commands::for_message(self.0.name(), message)).await?;
        }
        Ok(())
    }

    async fn react_to_all(&self, messages: &[R::Message], concurrency: usize) -> Result<(), HandlerError> {
        let mut keys: Vec<Vec<&R::Message>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for message in messages {
            let place = *places.entry(message.key()).or_insert(keys.len());
            if place == keys.len() {
                keys.push(Vec::new());
            }
            keys[place].push(message);
        }
        let mut waiting = keys.into_iter();
        let mut running: FuturesUnordered<_> =
            waiting.by_ref().take(concurrency).map(|messages| self.in_order(messages)).collect();
        let mut result = Ok(());
        while let Some(done) = running.next().await {
            result = result.and(done);
            // After a failure what runs is brought to its end, and nothing new begins.
            if result.is_ok()
                && let Some(messages) = waiting.next()
            {
                running.push(self.in_order(messages));
            }
        }
        result
    }
}

impl<R: Reactor> Effect for React<R> {
    type Message = R::Message;
    const MOVES_CHECKPOINT: bool = false;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn apply(
        &self,
        _pool: &PgPool,
        messages: &[R::Message],
        _step: Move<'_>,
        concurrency: usize,
    ) -> Result<Applied, HandlerError> {
        self.react_to_all(messages, concurrency).await?;
        Ok(Applied::Done)
    }

    async fn redrive(
        &self,
        pool: &PgPool,
        message: &R::Message,
        parked: &ParkedMessage,
    ) -> Result<(), HandlerError> {
        self.in_order(vec![message]).await?;
        let mut connection = pool.acquire().await?;
        parking::handled(&mut connection, parked).await?;
        Ok(())
    }
}
