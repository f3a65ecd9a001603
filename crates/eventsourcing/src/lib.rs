//! Event sourcing on PostgreSQL: deciders, a command processor, an append-only log with total order and
//! idempotent commands, feeds, subscriptions, and durable tasks. The crate knows no business: what an
//! account or a parcel is, its users say.
//!
//! # The parts, in the order in which a command meets them
//!
//! 1. A [`Decider`] holds the rules of one aggregate as pure functions. An [`Operation`] is a command over one
//!    or several streams; [`Decide`] is the one that puts one command to one decider.
//! 2. The [`CommandProcessor`] takes all operations that wait, loads what they look at, decides them one after
//!    another, and appends everything in one call.
//! 3. The [`EventLog`] makes it durable: exact versions of all streams read are checked, the order of positions
//!    is the order of commits, and every answer is stored, so that a repeat gets the first one.
//! 4. A [`Feed`] reads the log, or what a service publishes of it, from any position.
//! 5. [`Subscriptions`] follow feeds: a [`Projection`] keeps tables, a [`Reactor`] issues further commands. What
//!    cannot be handled is parked with the later messages of its key.
//! 6. [`tasks`] are timers and calls to the outside.
//!
//! # Invariants
//!
//! - Acknowledged means durable: the processor answers after the commit, with `synchronous_commit` on.
//! - A reader that remembers one number never skips an event.
//! - No answer comes from memory alone: the versions behind it are checked in the append.
//! - A command id is decided once within its scope, and so is a message by a subscription.
//!
//! # A complete example
//!
//! A counter that refuses to go below zero, and a table that follows it.
//!
//! ```
//! use eventsourcing::*;
//! use serde::{Deserialize, Serialize};
//! use std::{sync::Arc, time::Duration};
//! use tokio_util::{sync::CancellationToken, task::TaskTracker};
//!
//! struct Counter;
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Count(i64);
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum CounterEvent {
//!     Added { amount: i64 },
//! }
//! impl DomainEvent for CounterEvent {}
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum CounterError {
//!     BelowZero,
//! }
//!
//! impl Decider for Counter {
//!     const CATEGORY: &'static str = "counter";
//!     type State = Count;
//!     type Command = i64;
//!     type Event = CounterEvent;
//!     type Error = CounterError;
//!
//!     fn decide(state: &Count, amount: &i64) -> Result<Vec<CounterEvent>, CounterError> {
//!         if state.0 + amount < 0 {
//!             return Err(CounterError::BelowZero);
//!         }
//!         Ok(vec![CounterEvent::Added { amount: *amount }])
//!     }
//!
//!     fn evolve(state: Count, CounterEvent::Added { amount }: &CounterEvent) -> Count {
//!         Count(state.0 + amount)
//!     }
//! }
//!
//! /// Keeps the table `totals` in step.
//! struct Totals;
//!
//! impl Projection for Totals {
//!     type Message = RecordedEvent;
//!
//!     fn name(&self) -> &'static str {
//!         "totals"
//!     }
//!
//!     async fn apply(
//!         &self,
//!         connection: &mut sqlx::PgConnection,
//!         event: &RecordedEvent,
//!     ) -> Result<(), HandlerError> {
//!         if let Some(CounterEvent::Added { amount }) = event.decode::<Counter>()? {
//!             sqlx::query(
//!                 "INSERT INTO totals VALUES ($1, $2) \
//!                  ON CONFLICT (counter) DO UPDATE SET total = totals.total + excluded.total",
//!             )
//!             .bind(event.stream_id.key())
//!             .bind(amount)
//!             .execute(connection)
//!             .await?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! const MIGRATIONS: Migrations =
//!     &[("totals", "CREATE TABLE totals (counter text PRIMARY KEY, total bigint NOT NULL)")];
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database = testkit::TestDatabase::new("counters", MIGRATIONS).await;
//! # let (owner_url, url, role) = (database.admin_url(), database.url(), testkit::APP_ROLE);
//! // Migrations need the owner's rights; the service works as a role that may append and no more.
//! migrate(owner_url, "counters", Some(role), MIGRATIONS).await?;
//! let log = EventLog::open(LogOptions::new("counters", url)).await?;
//! let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());
//! let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
//! let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
//! let totals = subscriptions.project(Arc::new(log.clone()), Totals).await?;
//!
//! let add = |amount| Decide::<Counter> {
//!     stream: StreamId::of::<Counter>("visitors"),
//!     command: amount,
//!     expected_version: None,
//! };
//! let context = |id| CommandContext {
//!     scope: "example".into(),
//!     command_id: uuid::Uuid::from_u128(id),
//!     request_hash: [0; 32],
//!     metadata: Metadata::default(),
//!     retention: Retention::Client,
//! };
//! let committed = processor.execute(add(5), context(1)).await?;
//! assert_eq!(committed.reply, 1, "the version of the stream");
//!
//! // The same command id gets the first answer, and nothing is counted twice.
//! assert!(processor.execute(add(5), context(1)).await?.replayed);
//!
//! // A broken rule is an answer too.
//! let refused = processor.execute(add(-6), context(2)).await;
//! assert!(matches!(refused, Err(ExecuteError::Rejected { rejection: CounterError::BelowZero, .. })));
//!
//! // Whoever carries the position reads their own write.
//! totals.wait_for(&committed.position, Duration::from_secs(10)).await?;
//! let total: i64 =
//!     sqlx::query_scalar("SELECT total FROM totals WHERE counter = 'visitors'").fetch_one(log.pool()).await?;
//! assert_eq!(total, 5);
//!
//! stop.cancel();
//! tracker.close();
//! tracker.wait().await;
//! # Ok(())
//! # }
//! ```

pub mod backoff;
pub mod command;
pub mod decider;
pub mod fault;
pub mod feed;
pub mod log;
pub mod operation;
pub mod processor;
pub mod rebuild;
pub mod relay;
mod snapshot;
pub mod stream;
pub mod subscription;
pub mod tasks;
pub mod trace;

pub use command::{CommandContext, Metadata, Retention};
pub use decider::{Decider, DecodeError, DomainEvent, EncodedEvent};
pub use feed::{
    Assignment, Assignments, Feed, FeedError, IntegrationEvent, IntegrationFeed, LogFeed, Message, Page,
    Place, Publish, Published,
};
pub use log::{
    EventLog, IncarnationError, LogOptions, MigrateError, Migrations, OpenError, RecordedEvent, migrate,
    raise_incarnation, require_migrated,
};
pub use operation::{Decide, Halt, InMemoryStreams, Missing, Operation, View};
pub use processor::{CommandProcessor, Committed, ExecuteError, ProcessorOptions};
pub use rebuild::{ReadModel, RebuildError, RebuildState, RebuildStatus, Rebuilds};
pub use relay::{RelayPlace, RelayStatus, RelayStore, Relays, Wanted};
pub use stream::{MalformedPosition, Position, StreamId};
pub use subscription::{
    Commands, GoOn, HandlerError, Leases, NotReached, ParkedMessage, Projection, Reactor, SubscriptionHandle,
    SubscriptionOptions, SubscriptionState, SubscriptionStatus, Subscriptions, WentOn,
};
