//! The loop of one subscription in one partition: become the one that runs it, read a page, apply it, remember the place.
//! It goes page by page while all is well; when a message fails it goes message by message, so that the one that
//! fails is known and can be parked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ahead::ReadAhead;
use super::checkpoint::Unfit;
use super::effect::{Applied, Effect, Move};
use super::lease::Leases;
use super::progress::Progress;
use super::{HandlerError, SubscriptionOptions, SubscriptionState, checkpoint, parking};
use crate::backoff::Backoff;
use crate::fault;
use crate::feed::{Feed, FeedError, Message, Place};

/// Longest time without a look at what operators want, or at whether the lease is held.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// A checkpoint that does not move with an effect is stored this often: that of a reactor, or one that only
/// passed events which are not published. What was handled since is handled again after a crash.
const LAZY_CHECKPOINT: Duration = Duration::from_millis(250);
/// Longest time for storing it at the end.
const LAST_STORE: Duration = Duration::from_secs(2);
/// Longest error text that is stored with a parked message.
const MAX_ERROR_BYTES: usize = 2000;

/// For how long a runner may handle its partition.
pub(super) enum Tenure {
    /// For as long as it holds the subscription's lease.
    Lease(Leases),
    /// Until the source of the feed takes the partition away, which ends the runner. The guard, if there is one, tells the
    /// source that it has ended.
    Assigned { _handled: Option<DropGuard> },
}

pub(super) struct Runner<E: Effect> {
    pub feed: Arc<dyn Feed<Message = E::Message>>,
    pub partition: i32,
    pub effect: Arc<E>,
    pub options: SubscriptionOptions,
    pub pool: PgPool,
    pub tenure: Tenure,
    pub progress: Arc<Progress>,
    pub stop: CancellationToken,
    pub at: At,
}

/// Where a runner is.
pub(super) struct At {
    /// Everything up to here was handled.
    place: Place,
    /// The place that is stored; it may be behind.
    stored: Place,
    stored_at: Instant,
    /// When the last page was handled.
    handled_at: Option<Instant>,
    /// Keys with parked messages: what comes for them is parked behind.
    parked: HashSet<String>,
}

impl Default for At {
    fn default() -> Self {
        Self {
            place: Place::default(),
            stored: Place::default(),
            stored_at: Instant::now(),
            handled_at: None,
            parked: HashSet::new(),
        }
    }
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
        match error {
            FeedError::Stop(why) => Self::Stop(why),
            error => Self::Again(error.to_string()),
        }
    }
}

impl<E: Effect> Runner<E> {
    pub async fn run(mut self) {
        self.progress.set_here(self.partition, true);
        self.run_terms().await;
        self.progress.set_here(self.partition, false);
    }

    async fn run_terms(&mut self) {
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
                    tracing::warn!(
                        subscription = self.name(),
                        partition = self.partition,
                        error = why,
                        "a subscription is retried"
                    );
                    self.set_state(SubscriptionState::Retrying(why));
                }
                Err(Interrupted::Stop(why)) => {
                    tracing::error!(
                        subscription = self.name(),
                        partition = self.partition,
                        reason = why,
                        "a subscription has stopped"
                    );
                    self.set_state(SubscriptionState::Stopped(why));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.told_to_go_on() => {}
                    }
                    tracing::info!(subscription = self.name(), partition = self.partition, "it is to go on");
                    backoff = self.backoff();
                    continue;
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

    fn set_state(&self, state: SubscriptionState) {
        self.progress.set_state(Some(self.partition), state);
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.options.first_pause, self.options.longest_pause)
    }

    /// Returns when somebody has touched the checkpoint, or had before it stopped.
    async fn told_to_go_on(&self) {
        let mut stopped_at = None;
        loop {
            tokio::time::sleep(IDLE_LOOK).await;
            let Ok(stored) = checkpoint::load(&self.pool, self.name(), self.feed.log()).await else {
                continue;
            };
            let now = stored.into_iter().find(|c| c.partition == self.partition);
            let is_moved = now.is_some_and(|now| now.place != self.at.stored);
            if is_moved || stopped_at.is_some_and(|before| before != now) {
                return;
            }
            stopped_at = Some(now);
        }
    }

    /// The term for which the partition is this runner's, or `None` when another replica has it.
    async fn begin_term(&self) -> Result<Option<u64>, sqlx::Error> {
        match &self.tenure {
            Tenure::Lease(leases) => leases.try_acquire(self.name()).await,
            Tenure::Assigned { .. } => Ok(Some(0)),
        }
    }

    fn holds(&self, term: u64) -> bool {
        match &self.tenure {
            Tenure::Lease(leases) => leases.holds(term),
            Tenure::Assigned { .. } => true,
        }
    }

    /// Runs for as long as the partition is this runner's. Returns at once when another replica has it.
    async fn term(&mut self) -> Result<(), Interrupted> {
        let Some(term) = self.begin_term().await? else {
            self.set_state(SubscriptionState::StandBy);
            self.more_than(i64::MAX).await;
            return Ok(());
        };
        self.take_place().await?;
        self.redrive().await?;
        self.set_state(SubscriptionState::Running);
        let mut looked = Instant::now();
        // Another process may have appended what is not announced here yet.
        let mut may_have_more = true;
        let (feed, size) = (self.feed.clone(), self.options.page);
        let mut ahead = ReadAhead::new(self.feed.clone(), size);
        while self.holds(term) {
            if !self.at.parked.is_empty() && looked.elapsed() >= IDLE_LOOK {
                self.redrive().await?;
                looked = Instant::now();
            }
            self.check_parked_limit()?;
            self.store_lazily().await?;
            let place = self.at.place;
            if !may_have_more {
                self.more_than(place.position).await;
            }
            let page = match ahead.next(place).await {
                Some(page) => page,
                None => {
                    self.linger().await;
                    feed.read(self.partition, place, size).await?
                }
            };
            self.progress.measure(page.up_to.position);
            if page.messages.is_empty() {
                self.come_to(page.up_to);
            } else {
                fault::point("publish.before");
                let full = match page.up_to.resume {
                    None => page.up_to.position - place.position >= size as i64,
                    Some(_) => page.messages.len() >= size,
                };
                if full {
                    ahead.begin(page.up_to);
                }
                self.handle(&page.messages, page.up_to).await?;
                fault::point("publish.after");
                self.at.handled_at = (!full).then(Instant::now);
            }
            may_have_more = page.up_to.position < *self.feed.head().borrow();
        }
        Ok(())
    }

    /// Reads the stored checkpoint and checks that it belongs to the log as it is now.
    async fn take_place(&mut self) -> Result<(), Interrupted> {
        let (log, incarnation) = (self.feed.log().to_owned(), self.feed.incarnation());
        let partitions = self.progress.partitions();
        let stored = checkpoint::create(&self.pool, self.name(), &log, partitions, incarnation).await?;
        let stored = stored.map_err(|unfit| Interrupted::Stop(explain(unfit, &log, partitions)))?;
        let Some(stored) = stored.into_iter().find(|stored| stored.partition == self.partition) else {
            return Err(Interrupted::Stop(explain(Unfit::Partitions(0), &log, partitions)));
        };
        let place = stored.place;
        self.note_stored(place);
        if incarnation != 0 && place.incarnation != incarnation {
            return Err(Interrupted::Stop(format!(
                "the log `{log}` has incarnation {incarnation}, and this subscription has seen {}: the log was \
                 restored; compare both and move the checkpoint to a position that they share",
                place.incarnation
            )));
        }
        self.feed.check(self.partition, place).await?;
        self.come_to(place);
        Ok(())
    }

    /// Everything up to a place was handled.
    fn come_to(&mut self, place: Place) {
        self.at.place = place;
        self.progress.learn_incarnation(place.incarnation);
        self.progress.reached(self.partition, place.position);
    }

    async fn handle(&mut self, messages: &[E::Message], up_to: Place) -> Result<(), Interrupted> {
        let waits_behind = messages.iter().any(|m| self.at.parked.contains(m.key()));
        if !waits_behind {
            match self.apply(messages, up_to).await {
                Ok(applied) => return self.applied(applied, up_to),
                Err(HandlerError::Unreachable(why)) => return Err(Interrupted::Again(why)),
                // Somebody in this page is poison: one by one, to find out who.
                Err(HandlerError::Poison(_)) => {}
            }
        }
        for message in messages {
            self.handle_alone(message, up_to.incarnation).await?;
        }
        self.come_to(up_to);
        Ok(())
    }

    /// In the middle of a page the source is read on where the page begins, and what was handled is passed over.
    async fn handle_alone(&mut self, message: &E::Message, incarnation: i32) -> Result<(), Interrupted> {
        let to = Place { position: message.position(), incarnation, resume: self.at.place.resume };
        if self.at.parked.contains(message.key()) {
            return self.park(message, to, None, 0).await;
        }
        let mut backoff = self.backoff();
        let mut attempts = 0;
        loop {
            match self.apply(std::slice::from_ref(message), to).await {
                Ok(applied) => return self.applied(applied, to),
                Err(HandlerError::Unreachable(why)) => return Err(Interrupted::Again(why)),
                Err(HandlerError::Poison(why)) => {
                    attempts += 1;
                    if attempts >= self.options.attempts {
                        return self.park(message, to, Some(why), attempts).await;
                    }
                    self.set_state(SubscriptionState::Retrying(why));
                    backoff.pause().await;
                    self.set_state(SubscriptionState::Running);
                }
            }
        }
    }

    fn step(&self, to: Place) -> Move<'_> {
        Move { log: self.feed.log(), partition: self.partition, from: self.at.stored, to }
    }

    async fn apply(&self, messages: &[E::Message], to: Place) -> Result<Applied, HandlerError> {
        let step = self.step(to);
        let started = Instant::now();
        let applied = self.effect.apply(&self.pool, messages, step, self.options.concurrency).await;
        metrics::histogram!("subscription_apply_seconds", "subscription" => self.name())
            .record(started.elapsed().as_secs_f64());
        applied
    }

    fn applied(&mut self, applied: Applied, to: Place) -> Result<(), Interrupted> {
        match applied {
            Applied::Done => {
                if E::MOVES_CHECKPOINT {
                    self.note_stored(to);
                }
                self.come_to(to);
                Ok(())
            }
            Applied::Moved => Err(Interrupted::Again("another replica moved the checkpoint".into())),
        }
    }

    async fn park(
        &mut self,
        message: &E::Message,
        to: Place,
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
        if !checkpoint::advance(&mut transaction, self.name(), self.step(to)).await? {
            return self.applied(Applied::Moved, to);
        }
        let (name, partition) = (self.name(), self.partition);
        parking::park(&mut transaction, name, partition, message, error.as_deref(), attempts).await?;
        transaction.commit().await?;
        self.at.parked.insert(message.key().to_owned());
        self.note_stored(to);
        self.applied(Applied::Done, to)
    }

    /// Does what operators asked for with parked messages, and sees what they discarded.
    async fn redrive(&mut self) -> Result<(), Interrupted> {
        while let Some(parked) = parking::next_to_redrive(&self.pool, self.name(), self.partition).await? {
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
        self.at.parked = parking::keys(&self.pool, self.name(), self.partition).await?;
        Ok(())
    }

    fn check_parked_limit(&self) -> Result<(), Interrupted> {
        let parked = self.progress.set_parked_keys(self.partition, self.at.parked.len());
        let limit = self.options.parked_keys;
        if parked <= i64::try_from(limit).unwrap_or(i64::MAX) {
            return Ok(());
        }
        Err(Interrupted::Stop(format!(
            "{parked} keys are parked, more than {limit}: this is not about single messages; mend the cause, \
             redrive or discard, and tell it to go on"
        )))
    }

    fn note_stored(&mut self, place: Place) {
        self.at.stored = place;
        self.at.stored_at = Instant::now();
    }

    /// Stores a place that did not move with an effect, now and then.
    async fn store_lazily(&mut self) -> Result<(), Interrupted> {
        if self.at.stored_at.elapsed() < LAZY_CHECKPOINT {
            return Ok(());
        }
        self.store().await
    }

    async fn store(&mut self) -> Result<(), Interrupted> {
        let place = self.at.place;
        if place == self.at.stored {
            return Ok(());
        }
        let mut transaction = checkpoint::begin(&self.pool).await?;
        let moved = checkpoint::advance(&mut transaction, self.name(), self.step(place)).await?;
        fault::point("checkpoint.before");
        transaction.commit().await?;
        fault::point("checkpoint.after");
        if !moved {
            return self.applied(Applied::Moved, place);
        }
        self.note_stored(place);
        Ok(())
    }

    /// Waits until the partition is known to be beyond `position`, or it is time to look around or to store.
    async fn more_than(&self, position: i64) {
        let unstored = self.at.place != self.at.stored;
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
        let Some(left) = self.at.handled_at.and_then(|at| self.options.linger.checked_sub(at.elapsed()))
        else {
            return;
        };
        let _ = tokio::time::timeout(left, self.progress.hurried(self.partition)).await;
    }
}

fn explain(unfit: Unfit, log: &str, partitions: i32) -> String {
    match unfit {
        Unfit::Partitions(stored) => format!(
            "the feed of `{log}` has {partitions} partitions, and this subscription has come to places in {stored}: keys \
             would be in other partitions than before; configure the former number"
        ),
        Unfit::Parked => format!(
            "this subscription read the log `{log}` itself until now and has parked messages, whose keys are in \
             partitions that nobody knows: redrive or discard them with the former configuration first"
        ),
    }
}
