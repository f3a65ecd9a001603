//! The command processor: commands of one log queue in front of it; it takes all that wait, decides them in
//! memory one after another, appends everything in one call and answers everybody. So a hot stream is no
//! conflict within a process, and the log's lock is taken once for many commands.
//!
//! It never answers from memory alone: the versions behind every answer, refusals included, are checked by
//! the database in the same call, since another replica may have made legal what this one would refuse.

mod batch;
mod job;
mod worker;

pub use job::{Committed, ExecuteError};

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::command::CommandContext;
use crate::log::EventLog;
use crate::operation::Operation;
use job::{Job, TypedJob};
use worker::Worker;

/// Limits of a command processor.
#[derive(Clone, Debug)]
pub struct ProcessorOptions {
    /// Commands that may wait. One more is refused as [`ExecuteError::Overloaded`].
    pub queue: usize,
    /// Commands that are decided and appended together at most.
    pub batch: usize,
    /// Streams whose states stay in memory. 0 loads every state anew.
    pub cached_streams: usize,
    /// How often a batch is decided anew because another process was faster, before its commands are answered
    /// with [`ExecuteError::Contended`].
    pub conflicts: u32,
    /// How long a batch is submitted again while the database is away, before its commands are answered with
    /// [`ExecuteError::Unavailable`].
    pub patience: Duration,
}

impl Default for ProcessorOptions {
    fn default() -> Self {
        Self {
            queue: 8192,
            batch: 512,
            cached_streams: 20_000,
            conflicts: 50,
            patience: Duration::from_secs(5),
        }
    }
}

/// A cheap handle to a running command processor. The processor ends when the last handle is gone and its
/// queue is empty.
#[derive(Clone)]
pub struct CommandProcessor {
    log: EventLog,
    queue: mpsc::Sender<Box<dyn Job>>,
}

impl CommandProcessor {
    /// Starts the processor of a log. One per process is enough; several processes may each have one.
    pub fn start(log: EventLog, options: ProcessorOptions) -> Self {
        let (queue, waiting) = mpsc::channel(options.queue);
        let worker = Worker::new(log.clone(), options);
        tokio::spawn(worker.run(waiting));
        Self { log, queue }
    }

    /// Decides one operation and makes its events durable.
    ///
    /// A repeat with the same context gets the first answer. The command goes on when the caller stops
    /// waiting.
    pub async fn execute<O: Operation>(
        &self,
        operation: O,
        context: CommandContext,
    ) -> Result<Committed<O::Reply>, ExecuteError<O::Rejection>> {
        let (answer, answered) = oneshot::channel();
        let job = TypedJob::new(operation, context, answer);
        match self.queue.try_send(Box::new(job)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(ExecuteError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(ExecuteError::Unavailable("the command processor has stopped".into()));
            }
        }
        answered.await.unwrap_or_else(|_| {
            Err(ExecuteError::Unavailable("the command processor stopped before it answered".into()))
        })
    }

    /// The log that it appends to.
    pub fn log(&self) -> &EventLog {
        &self.log
    }
}
