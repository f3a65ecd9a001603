//! Subscriptions: what reads a feed and remembers how far it came. There are two kinds. A [`Projection`]
//! stores its position in the transaction of its effect, so the effect happens once. A [`Reactor`] issues
//! commands whose ids are derived from the message, so repeating them changes nothing. Neither calls the
//! outside; that is the work of [`tasks`](crate::tasks).

mod ahead;
mod checkpoint;
mod commands;
mod effect;
mod handle;
mod lease;
mod membership;
pub(crate) mod parking;
mod progress;
mod runner;

pub use checkpoint::{GoOn, WentOn};
pub use commands::Commands;
pub use handle::{NotReached, SubscriptionHandle};
pub use parking::ParkedMessage;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::decider::DecodeError;
use crate::feed::{Feed, FeedError, Message, Place};
use crate::log::EventLog;
use crate::processor::ExecuteError;
pub(crate) use checkpoint::{advance as advance_checkpoint, begin as begin_relaxed};
pub(crate) use effect::Move;
use effect::{Project, React};
pub use lease::Leases;
use progress::Progress;
use runner::{At, Runner, Tenure};

/// Why a message could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// This message will fail again: after bounded retries it is parked.
    #[error("{0}")]
    Poison(String),
    /// Something that is needed is away. The message waits; it is never parked for this.
    #[error("{0}")]
    Unreachable(String),
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        if is_outage(&error) { Self::Unreachable(error.to_string()) } else { Self::Poison(error.to_string()) }
    }
}

impl From<DecodeError> for HandlerError {
    fn from(error: DecodeError) -> Self {
        Self::Poison(error.to_string())
    }
}

impl<R> From<ExecuteError<R>> for HandlerError {
    fn from(error: ExecuteError<R>) -> Self {
        if error.is_transient() {
            Self::Unreachable(error.to_string())
        } else {
            Self::Poison(error.to_string())
        }
    }
}

/// Whether an error says that the database is away or overloaded, rather than that the statement is wrong.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // Classes: connection, resources, operator intervention, rolled back transactions, I/O.
            let code = error.code().unwrap_or_default();
            ["08", "53", "57", "40", "58"].iter().any(|class| code.starts_with(class))
                // A lock that was not to be had in time, and a transaction that was silent for too long.
                || ["55P03", "25P03"].contains(&code.as_ref())
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Keeps tables in step with a feed.
pub trait Projection: Send + Sync + 'static {
    type Message: Message;

    /// Names its checkpoint. It never changes: another name starts from the beginning.
    fn name(&self) -> &'static str;

    /// Applies one message through `connection`, inside the transaction that also moves the checkpoint.
    fn apply(
        &self,
        connection: &mut PgConnection,
        message: &Self::Message,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Applies messages that follow each other, all in one transaction: as many as wait, up to a page.
    ///
    /// One after another, unless the projection can do better: only what the last of them leaves behind needs
    /// to be written.
    fn apply_page(
        &self,
        connection: &mut PgConnection,
        messages: &[Self::Message],
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        async move {
            for message in messages {
                self.apply(connection, message).await?;
            }
            Ok(())
        }
    }

    /// Called after that transaction is committed, to wake whoever waits for its effect.
    fn committed(&self) {}
}

/// Answers messages with commands.
pub trait Reactor: Send + Sync + 'static {
    type Message: Message;

    /// Names its checkpoint and its commands' ids. It never changes.
    fn name(&self) -> &'static str;

    /// Issues commands under contexts taken from `commands`, and returns when their answers are durable.
    /// Messages of different keys are handled at the same time.
    fn react(
        &self,
        message: &Self::Message,
        commands: &Commands,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// Limits of a subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionOptions {
    /// Events read at once.
    pub page: usize,
    /// Keys that a reactor handles at the same time.
    pub concurrency: usize,
    /// How often a message is tried before it is parked.
    pub attempts: u32,
    /// First pause after a failure; it doubles up to `longest_pause`, and is spread by up to a half.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// Parked keys above which the subscription stops: then it is not the messages that are wrong.
    pub parked_keys: usize,
    /// Shortest time between two transactions of a projection while nobody waits for it: what comes meanwhile
    /// shares one. A reactor does not linger.
    pub linger: Duration,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self {
            page: 500,
            concurrency: 128,
            attempts: 5,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            parked_keys: 100,
            linger: Duration::from_millis(25),
        }
    }
}

/// What a subscription does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Another replica handles its messages.
    StandBy,
    Running,
    /// A failure is being retried.
    Retrying(String),
    /// It does not go on by itself; a person has to act.
    Stopped(String),
}

/// A subscription as operators see it.
#[derive(Clone, Debug)]
pub struct SubscriptionStatus {
    pub name: &'static str,
    pub log: String,
    pub checkpoint: i64,
    pub head: i64,
    pub state: SubscriptionState,
}

/// The subscriptions of one service. Checkpoints and parked messages are in the service's own database.
#[derive(Clone)]
pub struct Subscriptions {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    leases: Leases,
    stop: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<BTreeMap<&'static str, SubscriptionHandle>>,
}

impl Subscriptions {
    /// For the service that owns `log`. They run until `stop`, on tasks of `tracker`.
    pub fn new(log: &EventLog, stop: CancellationToken, tracker: TaskTracker) -> Self {
        let leases = Leases::new(log.connect_options().clone());
        tracker.spawn(leases.clone().keep(stop.clone()));
        let pool = log.pool().clone();
        let inner = Inner { pool, leases, stop, tracker, running: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Starts a projection.
    pub async fn project<P: Projection>(
        &self,
        feed: Arc<dyn Feed<Message = P::Message>>,
        projection: P,
    ) -> Result<SubscriptionHandle, FeedError> {
        self.start(feed, Project(projection), SubscriptionOptions::default()).await
    }

    /// Starts a reactor.
    pub async fn react<R: Reactor>(
        &self,
        feed: Arc<dyn Feed<Message = R::Message>>,
        reactor: R,
    ) -> Result<SubscriptionHandle, FeedError> {
        self.start(feed, React(reactor), SubscriptionOptions::default()).await
    }

    /// Starts a projection with limits of its own.
    pub async fn project_with<P: Projection>(
        &self,
        feed: Arc<dyn Feed<Message = P::Message>>,
        projection: P,
        options: SubscriptionOptions,
    ) -> Result<SubscriptionHandle, FeedError> {
        self.start(feed, Project(projection), options).await
    }

    /// Starts a reactor with limits of its own.
    pub async fn react_with<R: Reactor>(
        &self,
        feed: Arc<dyn Feed<Message = R::Message>>,
        reactor: R,
        options: SubscriptionOptions,
    ) -> Result<SubscriptionHandle, FeedError> {
        self.start(feed, React(reactor), options).await
    }

    async fn start<E: effect::Effect>(
        &self,
        feed: Arc<dyn Feed<Message = E::Message>>,
        effect: E,
        options: SubscriptionOptions,
    ) -> Result<SubscriptionHandle, FeedError> {
        let inner = &self.inner;
        let (name, pool) = (effect.name(), inner.pool.clone());
        let stored = checkpoint::load(&pool, name, feed.log()).await?;
        let progress = Progress::new(name, feed.log(), feed.partitions(), feed.incarnation(), feed.head());
        progress.heard(&stored);
        let progress = Arc::new(progress);
        let handle = SubscriptionHandle { pool: pool.clone(), progress: Arc::clone(&progress) };
        let earlier = self.running().insert(name, handle.clone());
        assert!(earlier.is_none(), "two subscriptions have the name {name}");
        let assignments = feed.join(name);
        let runner = Runner {
            feed,
            partition: 0,
            effect: Arc::new(effect),
            options,
            pool,
            tenure: Tenure::Lease(inner.leases.clone()),
            progress,
            stop: inner.stop.clone(),
            at: At::default(),
        };
        match assignments {
            None => inner.tracker.spawn(runner.run()),
            Some(assignments) => inner.tracker.spawn(membership::handle(assignments, runner)),
        };
        Ok(handle)
    }

    /// Waits until each has come as far as its log is known to be now, for as long as `patience`. Returns
    /// whether all have.
    pub async fn caught_up(&self, patience: Duration) -> bool {
        let running: Vec<_> = self.running().values().cloned().collect();
        let caught_up = async {
            for subscription in running {
                let newest = subscription.progress.head();
                subscription.reach(newest).await;
            }
        };
        tokio::time::timeout(patience, caught_up).await.is_ok()
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<SubscriptionStatus> {
        self.running().values().map(SubscriptionHandle::status).collect()
    }

    /// Parked messages in the order in which they would be handled, of one subscription or of all, after a
    /// subscription and position.
    pub async fn parked(
        &self,
        subscription: Option<&str>,
        after: Option<(&str, i64)>,
        limit: usize,
    ) -> Result<Vec<ParkedMessage>, sqlx::Error> {
        parking::list(&self.inner.pool, subscription, after, limit).await
    }

    /// One parked message.
    pub async fn parked_message(
        &self,
        subscription: &str,
        position: i64,
    ) -> Result<Option<ParkedMessage>, sqlx::Error> {
        parking::get(&self.inner.pool, subscription, position).await
    }

    /// How far a subscription came in each partition, as the database has it; `None` if there is none of this name.
    pub async fn places(&self, subscription: &str) -> Result<Option<Vec<Place>>, sqlx::Error> {
        let handle = self.running().get(subscription).cloned();
        match handle {
            Some(handle) => handle.stored_places().await.map(Some),
            None => Ok(None),
        }
    }

    /// Has a subscription that has stopped go on, in whichever replicas it is.
    pub async fn go_on(&self, subscription: &str, how: GoOn) -> Result<WentOn, sqlx::Error> {
        let handle = self.running().get(subscription).cloned();
        let Some(handle) = handle else { return Ok(WentOn::Unknown) };
        let progress = &handle.progress;
        if matches!(progress.state(), SubscriptionState::Running | SubscriptionState::Retrying(_)) {
            return Ok(WentOn::NotStopped);
        }
        match checkpoint::go_on(&self.inner.pool, progress.name, &progress.log, how).await? {
            0 if how.checked.is_some() => Ok(WentOn::NotRaised),
            _ => Ok(WentOn::Done),
        }
    }

    /// What one subscription is about; `None` if there is none of this name.
    pub fn status(&self, subscription: &str) -> Option<SubscriptionStatus> {
        self.running().get(subscription).map(SubscriptionHandle::status)
    }

    /// Whether there is one of this name.
    pub fn contains(&self, subscription: &str) -> bool {
        self.running().contains_key(subscription)
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.inner.leases
    }

    /// Until when what belongs to the subscriptions works, and on which tasks.
    pub(crate) fn life(&self) -> (&CancellationToken, &TaskTracker) {
        (&self.inner.stop, &self.inner.tracker)
    }

    /// How many messages are parked, by subscription.
    pub async fn parked_counts(&self) -> Result<BTreeMap<String, i64>, sqlx::Error> {
        parking::counts(&self.inner.pool).await
    }

    /// Has the parked messages of a key handled again, in order, by whichever replica runs the subscription.
    /// Returns how many there are.
    pub async fn redrive(&self, subscription: &str, key: &str) -> Result<u64, sqlx::Error> {
        parking::redrive(&self.inner.pool, subscription, key).await
    }

    /// Gives one parked message up. Returns whether it was there.
    pub async fn discard(&self, subscription: &str, position: i64) -> Result<bool, sqlx::Error> {
        parking::discard(&self.inner.pool, subscription, position).await
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, SubscriptionHandle>> {
        self.inner.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
