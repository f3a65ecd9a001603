//! The loop of one subscription: become the one that runs it, read a page, apply it, remember the place. It
//! goes page by page while all is well; when a message fails it goes message by message, so that the one that
//! fails is known and can be parked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::ahead::ReadAhead;
use super::effect::{Applied, Effect, Move};
use super::lease::Leases;
use super::{HandlerError, SubscriptionOptions, SubscriptionState, checkpoint, parking};
use crate::backoff::Backoff;
use crate::fault;
use crate::feed::{Feed, FeedError, Message};

/// Longest time without a look at what operators want, or at whether the lease is held.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// A checkpoint that does not move with an effect is stored this often: that of a reactor, or one that only
/// passed events which are not published. What was handled since is handled again after a crash.
const LAZY_CHECKPOINT: Duration = Duration::from_millis(250);
/// Longest time for storing it at the end.
const LAST_STORE: Duration = Duration::from_secs(2);
/// Longest error text that is stored with a parked message.
const MAX_ERROR_BYTES: usize = 2000;

pub(super) struct Runner<E: Effect> {
    feed: Arc<dyn Feed<Message = E::Message>>,
    effect: E,
    options: SubscriptionOptions,
    pool: PgPool,
    leases: Leases,
    checkpoint: watch::Sender<i64>,
    state: watch::Sender<SubscriptionState>,
    /// Somebody waits for the effect.
    hurry: Arc<Notify>,
    stop: CancellationToken,
    /// Keys with parked messages: what comes for them is parked behind.
    parked: HashSet<String>,
    /// The position that is stored; the one in `checkpoint` may be ahead of it.
    stored: i64,
    stored_at: Instant,
    /// When the last page was handled.
    handled_at: Option<Instant>,
}

/// Why the loop left a term.
enum Interrupted {
    /// Begin again: look at the lease and the checkpoint.
    Again(String),
    /// A person has to act.
    Stop(String),
}

impl From<sqlx::Error> for Interrupted {
    fn from(error: sqlx::Error) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<FeedError> for Interrupted {
    fn from(error: FeedError) -> Self {
        Self::Again(error.to_string())
    }
}

impl<E: Effect> Runner<E> {
    #[expect(
        clippy::too_many_arguments,
        reason = "called from one place, with parts that have no other home"
    )]
    pub fn new(
        feed: Arc<dyn Feed<Message = E::Message>>,
        effect: E,
        options: SubscriptionOptions,
        pool: PgPool,
        leases: Leases,
        checkpoint: watch::Sender<i64>,
        state: watch::Sender<SubscriptionState>,
        hurry: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        let stored = *checkpoint.borrow();
        Self {
            feed,
            effect,
            options,
            pool,
            leases,
            checkpoint,
            state,
            hurry,
            stop,
            parked: HashSet::new(),
            stored,
            stored_at: Instant::now(),
            handled_at: None,
        }
    }

    pub async fn run(mut self) {
        let stop = self.stop.clone();
        let mut backoff = self.backoff();
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => None,
                ended = self.term() => Some(ended),
            };
            let Some(ended) = ended else {
                // What is not stored now is handled again, which changes nothing.
                let _ = tokio::time::timeout(LAST_STORE, self.store()).await;
                return;
            };
            match ended {
                Ok(()) => backoff = self.backoff(),
                Err(Interrupted::Again(why)) => {
                    tracing::warn!(subscription = self.name(), error = why, "a subscription is retried");
                    self.state.send_replace(SubscriptionState::Retrying(why));
                }
                Err(Interrupted::Stop(why)) => {
                    tracing::error!(subscription = self.name(), reason = why, "a subscription has stopped");
                    metrics::gauge!("subscription_stopped", "subscription" => self.name()).set(1.0);
                    self.state.send_replace(SubscriptionState::Stopped(why));
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = backoff.pause() => {}
            }
        }
    }

    fn name(&self) -> &'static str {
        self.effect.name()
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.options.first_pause, self.options.longest_pause)
    }

    /// Runs for as long as the lease is held. Returns at once when another replica holds it.
    async fn term(&mut self) -> Result<(), Interrupted> {
        let Some(term) = self.leases.try_acquire(self.name()).await? else {
            self.state.send_replace(SubscriptionState::StandBy);
            self.more_than(i64::MAX).await;
            return Ok(());
        };
        self.take_place().await?;
        self.parked = parking::keys(&self.pool, self.name()).await?;
        self.state.send_replace(SubscriptionState::Running);
        let mut looked = Instant::now();
        // Another process may have appended what is not announced here yet.
        let mut may_have_more = true;
        let (feed, size) = (self.feed.clone(), self.options.page);
        let mut ahead = ReadAhead::new(self.feed.clone(), size);
        while self.leases.holds(term) {
            if !self.parked.is_empty() && looked.elapsed() >= IDLE_LOOK {
                self.redrive().await?;
                looked = Instant::now();
            }
            self.check_parked_limit()?;
            self.store_lazily().await?;
            let position = *self.checkpoint.borrow();
            if !may_have_more {
                self.more_than(position).await;
            }
            let page = match ahead.next(position).await {
                Some(page) => page,
                None => {
                    self.linger().await;
                    feed.read(position, size).await?
                }
            };
            self.measure(page.up_to);
            if page.messages.is_empty() {
                self.checkpoint.send_replace(page.up_to);
            } else {
                fault::point("publish.before");
                let full = page.up_to - position >= size as i64;
                if full {
                    ahead.begin(page.up_to);
                }
                self.handle(&page.messages, page.up_to).await?;
                fault::point("publish.after");
                self.handled_at = (!full).then(Instant::now);
            }
            may_have_more = page.up_to < *self.feed.head().borrow();
        }
        Ok(())
    }

    /// Reads the stored checkpoint and checks that it belongs to the log as it is now.
    async fn take_place(&mut self) -> Result<(), Interrupted> {
        let (log, incarnation) = (self.feed.log().to_owned(), self.feed.incarnation());
        checkpoint::create(&self.pool, self.name(), &log, incarnation).await?;
        let Some(stored) = checkpoint::load(&self.pool, self.name(), &log).await? else {
            return Err(Interrupted::Again("the checkpoint was deleted".into()));
        };
        if stored.incarnation != incarnation {
            return Err(Interrupted::Stop(format!(
                "the log `{log}` has incarnation {incarnation}, and this subscription has seen {}: the log was \
                 restored; compare both and move the checkpoint to a position that they share",
                stored.incarnation
            )));
        }
        let newest = self.feed.newest().await?;
        if stored.position > newest {
            return Err(Interrupted::Stop(format!(
                "the log `{log}` ends at {newest}, and this subscription has seen {}: the log has lost events",
                stored.position
            )));
        }
        self.stored = stored.position;
        self.stored_at = Instant::now();
        self.checkpoint.send_replace(stored.position);
        Ok(())
    }

    async fn handle(&mut self, messages: &[E::Message], up_to: i64) -> Result<(), Interrupted> {
        let waits_behind = messages.iter().any(|m| self.parked.contains(m.key()));
        if !waits_behind {
            match self.apply(messages, up_to).await {
                Ok(applied) => return self.applied(applied, up_to),
                Err(HandlerError::Unreachable(why)) => return Err(Interrupted::Again(why)),
                // Somebody in this page is poison: one by one, to find out who.
                Err(HandlerError::Poison(_)) => {}
            }
        }
        for message in messages {
            self.handle_alone(message).await?;
        }
        self.checkpoint.send_replace(up_to);
        Ok(())
    }

    async fn handle_alone(&mut self, message: &E::Message) -> Result<(), Interrupted> {
        if self.parked.contains(message.key()) {
            return self.park(message, None, 0).await;
        }
        let mut backoff = self.backoff();
        let mut attempts = 0;
        loop {
            match self.apply(std::slice::from_ref(message), message.position()).await {
                Ok(applied) => return self.applied(applied, message.position()),
                Err(HandlerError::Unreachable(why)) => return Err(Interrupted::Again(why)),
                Err(HandlerError::Poison(why)) => {
                    attempts += 1;
                    if attempts >= self.options.attempts {
                        return self.park(message, Some(why), attempts).await;
                    }
                    self.state.send_replace(SubscriptionState::Retrying(why));
                    backoff.pause().await;
                    self.state.send_replace(SubscriptionState::Running);
                }
            }
        }
    }

    async fn apply(&self, messages: &[E::Message], to: i64) -> Result<Applied, HandlerError> {
        let step = Move { log: self.feed.log(), from: self.stored, to };
        let started = Instant::now();
        let applied = self.effect.apply(&self.pool, messages, step, self.options.concurrency).await;
        metrics::histogram!("subscription_apply_seconds", "subscription" => self.name())
            .record(started.elapsed().as_secs_f64());
        applied
    }

    fn applied(&mut self, applied: Applied, to: i64) -> Result<(), Interrupted> {
        match applied {
            Applied::Done => {
                if E::MOVES_CHECKPOINT {
                    self.note_stored(to);
                }
                self.checkpoint.send_replace(to);
                Ok(())
            }
            Applied::Moved => Err(Interrupted::Again("another replica moved the checkpoint".into())),
        }
    }

    async fn park(
        &mut self,
        message: &E::Message,
        error: Option<String>,
        attempts: u32,
    ) -> Result<(), Interrupted> {
        let error = error.map(|mut error| {
            error.truncate(error.floor_char_boundary(MAX_ERROR_BYTES));
            error
        });
        tracing::error!(
            subscription = self.name(),
            position = message.position(),
            message_id = %message.id(),
            key = message.key(),
            waits_behind_another = error.is_none(),
            "a message is parked"
        );
        let mut transaction = self.pool.begin().await?;
        let (log, to) = (self.feed.log(), message.position());
        if !checkpoint::advance(&mut transaction, self.name(), log, self.stored, to).await? {
            return self.applied(Applied::Moved, to);
        }
        parking::park(&mut transaction, self.name(), message, error.as_deref(), attempts).await?;
        transaction.commit().await?;
        self.parked.insert(message.key().to_owned());
        self.note_stored(to);
        self.applied(Applied::Done, to)
    }

    /// Does what operators asked for with parked messages, and sees what they discarded.
    async fn redrive(&mut self) -> Result<(), Interrupted> {
        while let Some(parked) = parking::next_to_redrive(&self.pool, self.name()).await? {
            let message = serde_json::from_value::<E::Message>(parked.message.clone());
            let handled = match message {
                Ok(message) => self.effect.redrive(&self.pool, &message, &parked).await,
                Err(error) => {
                    Err(HandlerError::Poison(format!("the parked message cannot be read: {error}")))
                }
            };
            match handled {
                Ok(()) => {}
                Err(HandlerError::Unreachable(why)) => return Err(Interrupted::Again(why)),
                Err(HandlerError::Poison(why)) => parking::redrive_failed(&self.pool, &parked, &why).await?,
            }
        }
        self.parked = parking::keys(&self.pool, self.name()).await?;
        Ok(())
    }

    fn check_parked_limit(&self) -> Result<(), Interrupted> {
        metrics::gauge!("subscription_parked_keys", "subscription" => self.name())
            .set(self.parked.len() as f64);
        if self.parked.len() <= self.options.parked_keys {
            return Ok(());
        }
        let (parked, limit) = (self.parked.len(), self.options.parked_keys);
        Err(Interrupted::Stop(format!(
            "{parked} keys are parked, more than {limit}: this is not about single messages; mend the cause, \
             redrive or discard, and start again"
        )))
    }

    fn note_stored(&mut self, position: i64) {
        self.stored = position;
        self.stored_at = Instant::now();
    }

    /// Stores a place that did not move with an effect, now and then.
    async fn store_lazily(&mut self) -> Result<(), Interrupted> {
        if self.stored_at.elapsed() < LAZY_CHECKPOINT {
            return Ok(());
        }
        self.store().await
    }

    async fn store(&mut self) -> Result<(), Interrupted> {
        let position = *self.checkpoint.borrow();
        if position == self.stored {
            return Ok(());
        }
        let mut transaction = checkpoint::begin(&self.pool).await?;
        let log = self.feed.log();
        let moved = checkpoint::advance(&mut transaction, self.name(), log, self.stored, position).await?;
        fault::point("checkpoint.before");
        transaction.commit().await?;
        fault::point("checkpoint.after");
        if !moved {
            return self.applied(Applied::Moved, position);
        }
        self.note_stored(position);
        Ok(())
    }

    /// Waits until the log is known to be beyond `position`, or it is time to look around or to store.
    async fn more_than(&self, position: i64) {
        let unstored = *self.checkpoint.borrow() != self.stored;
        let longest = if unstored { LAZY_CHECKPOINT } else { IDLE_LOOK };
        let mut head = self.feed.head();
        let more = head.wait_for(|head| *head > position);
        let _ = tokio::time::timeout(longest, more).await;
    }

    /// Lets more come together, unless somebody waits or nothing has happened for a while.
    async fn linger(&self) {
        if !E::MOVES_CHECKPOINT {
            return;
        }
        let Some(left) = self.handled_at.and_then(|at| self.options.linger.checked_sub(at.elapsed())) else {
            return;
        };
        let _ = tokio::time::timeout(left, self.hurry.notified()).await;
    }

    fn measure(&self, read_up_to: i64) {
        let head = (*self.feed.head().borrow()).max(read_up_to);
        let lag = (head - *self.checkpoint.borrow()).max(0);
        metrics::gauge!("subscription_lag_events", "subscription" => self.name()).set(lag as f64);
    }
}
