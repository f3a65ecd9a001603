//! Work that is due at a time: timers, and calls to the outside. Both are rows that a projection schedules in
//! the transaction of its effect, and that a worker claims under a lease and runs outside of any transaction.
//! A task may run more than once, so its effect must be a command with a derived id, or a call with an
//! idempotency key.

mod queue;
pub mod timers;
mod worker;

pub use queue::TaskQueue;

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::command::{CommandContext, Metadata};
use crate::log::EventLog;
use crate::subscription::HandlerError;

/// A task that is to be scheduled.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Scheduling the same id again changes nothing.
    pub id: Uuid,
    /// What it belongs to; [`TaskQueue::replace`] takes all tasks of a key back.
    pub key: String,
    /// What the handler needs to know. No personal data, no secrets.
    pub payload: serde_json::Value,
    /// What its commands should record.
    pub metadata: Metadata,
    pub due_at: DateTime<Utc>,
}

/// A task that this worker has claimed.
#[derive(Clone, Debug)]
pub struct Task {
    pub queue: &'static str,
    pub id: Uuid,
    pub key: String,
    pub payload: serde_json::Value,
    pub metadata: Metadata,
    pub due_at: DateTime<Utc>,
    /// How often it was claimed, this time included. A claim whose worker died counts.
    pub attempts: i32,
    lease: Uuid,
}

impl Task {
    /// The context of the command number `ordinal` that this task issues: the same in every run.
    pub fn context(&self, ordinal: u32) -> CommandContext {
        let metadata = Metadata { actor: self.queue.to_owned(), ..self.metadata.clone() };
        CommandContext::derived(self.queue, self.id, ordinal, metadata)
    }
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It is finished and forgotten.
    Done,
    /// It is due again later.
    Retry { after: Duration, error: String },
}

/// Runs the tasks of one queue.
pub trait TaskHandler: Send + Sync + 'static {
    /// Does the work and reports it with a command. It is given up when its lease ends, and runs again then.
    fn run(&self, task: &Task) -> impl Future<Output = TaskOutcome> + Send;
}

/// Limits of a worker.
#[derive(Clone, Copy, Debug)]
pub struct TaskOptions {
    /// Tasks that run at the same time.
    pub concurrency: usize,
    /// How long a claimed task is nobody else's. It must be longer than the longest run, plus two seconds.
    pub lease: Duration,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self { concurrency: 64, lease: Duration::from_secs(15) }
    }
}

/// Starts the worker of a queue in the database of `log`. Any number of replicas may have one. It runs until
/// `stop`, on a task of `tracker`.
pub fn work(
    log: &EventLog,
    queue: TaskQueue,
    handler: impl TaskHandler,
    stop: CancellationToken,
    tracker: &TaskTracker,
) {
    tracker.spawn(worker::Worker::new(log.pool().clone(), queue, handler).run(stop));
}

/// The usual answer to a failure: try again, at first soon and then ever more rarely.
///
/// `attempts` counts from 1; the pause doubles from `first` up to `longest`.
pub fn retry(error: &HandlerError, attempts: i32, first: Duration, longest: Duration) -> TaskOutcome {
    let doublings = attempts.clamp(1, 31) as u32 - 1;
    let after = first.saturating_mul(1 << doublings).min(longest);
    TaskOutcome::Retry { after, error: error.to_string() }
}
