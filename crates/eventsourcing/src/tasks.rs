//! Work that is due at a time: timers, and calls to the outside. Both are rows that a projection schedules in
//! the transaction of its effect, and that a worker claims under a lease and runs outside of any transaction.
//! A task may run more than once, so its effect must be a command with a derived id, or a call with an
//! idempotency key.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::command::{CommandContext, Metadata};
use crate::log::EventLog;
use crate::subscription::HandlerError;

/// Longest sleep of a worker that knows of nothing due: what other replicas schedule is found by then.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// Part of a lease that is left when a task's time is up, for saying so.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// Longest error text that is stored with a task.
const MAX_ERROR_BYTES: usize = 2000;

/// A task that is to be scheduled.
#[derive(Clone, Debug)]
pub struct NewTask {
    pub queue: &'static str,
    /// Scheduling the same id again changes nothing.
    pub id: Uuid,
    /// What it belongs to; [`cancel_key`] takes all tasks of a key back.
    pub key: String,
    /// What the handler needs to know. No personal data, no secrets.
    pub payload: serde_json::Value,
    /// What its commands should record.
    pub metadata: Metadata,
    pub due_at: DateTime<Utc>,
}

/// Schedules a task through `connection`, usually in a projection's transaction. Ring the worker's [`Bell`]
/// after the commit if it is due soon.
pub async fn schedule(connection: &mut PgConnection, task: &NewTask) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eventsourcing.tasks (queue, task_id, key, payload, metadata, due_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(task.queue)
    .bind(task.id)
    .bind(&task.key)
    .bind(&task.payload)
    .bind(Json(&task.metadata))
    .bind(task.due_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes one task back. One that runs at the moment is not interrupted.
pub async fn cancel(connection: &mut PgConnection, queue: &str, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM eventsourcing.tasks WHERE queue = $1 AND task_id = $2")
        .bind(queue)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes all tasks of a key back. Those that run at the moment are not interrupted.
pub async fn cancel_key(connection: &mut PgConnection, queue: &str, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM eventsourcing.tasks WHERE queue = $1 AND key = $2")
        .bind(queue)
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes all tasks of some keys back and schedules others in their place, in two statements however many they
/// are.
pub async fn reschedule(
    connection: &mut PgConnection,
    queue: &str,
    keys: &[String],
    tasks: &[NewTask],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM eventsourcing.tasks WHERE queue = $1 AND key = ANY ($2)")
        .bind(queue)
        .bind(keys)
        .execute(&mut *connection)
        .await?;
    if tasks.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO eventsourcing.tasks (queue, task_id, key, payload, metadata, due_at) \
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::jsonb[], $5::jsonb[], $6::timestamptz[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(tasks.iter().map(|task| task.queue).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.id).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.key.as_str()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| &task.payload).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| Json(&task.metadata)).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.due_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
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

/// Wakes a worker before its next look. Cheap to clone; rings that nobody hears are not lost.
#[derive(Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// Starts a worker for a queue in the database of `log`. Any number of replicas may have one. `bell` may be
/// made first and shared with the projection that schedules. It runs until `stop`, on a task of `tracker`.
pub fn work(
    log: &EventLog,
    queue: &'static str,
    handler: impl TaskHandler,
    options: TaskOptions,
    bell: Bell,
    stop: CancellationToken,
    tracker: &TaskTracker,
) {
    let worker = Worker { pool: log.pool().clone(), queue, handler, options, bell };
    tracker.spawn(worker.run(stop));
}

struct Worker<H> {
    pool: PgPool,
    queue: &'static str,
    handler: H,
    options: TaskOptions,
    bell: Bell,
}

impl<H: TaskHandler> Worker<H> {
    async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut running = FuturesUnordered::new();
        let mut look_at = Instant::now();
        loop {
            let free = self.options.concurrency - running.len();
            if free > 0 && Instant::now() >= look_at && !stop.is_cancelled() {
                let mut claim = std::pin::pin!(self.claim(free));
                // What runs goes on meanwhile: it may hold the connections that the claim waits for.
                let claimed = loop {
                    tokio::select! {
                        claimed = &mut claim => break claimed,
                        Some(()) = running.next() => {}
                    }
                };
                match claimed {
                    Ok((claimed, next)) => {
                        backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
                        look_at = Instant::now() + if claimed.len() == free { Duration::ZERO } else { next };
                        running.extend(claimed.into_iter().map(|task| self.carry_out(task)));
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(queue = self.queue, %error, "tasks cannot be claimed");
                        look_at = Instant::now() + backoff.take();
                    }
                }
            }
            // What runs is brought to its end also after `stop`; a lease covers what is not.
            if stop.is_cancelled() && running.is_empty() {
                return;
            }
            tokio::select! {
                Some(()) = running.next() => {}
                () = self.bell.0.notified() => look_at = Instant::now(),
                () = tokio::time::sleep_until(look_at.into()), if running.len() < self.options.concurrency => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    /// Claims what is due. Says also how long it is until there may be more.
    async fn claim(&self, limit: usize) -> Result<(Vec<Task>, Duration), sqlx::Error> {
        let mut transaction = crate::subscription::begin_relaxed(&self.pool).await?;
        let lease = Uuid::new_v4();
        let rows = sqlx::query(
            "UPDATE eventsourcing.tasks t \
                SET lease = $3, leased_until = clock_timestamp() + make_interval(secs => $4), \
                    attempts = t.attempts + 1 \
               FROM (SELECT queue, task_id FROM eventsourcing.tasks \
                      WHERE queue = $1 AND due_at <= clock_timestamp() \
                        AND (leased_until IS NULL OR leased_until < clock_timestamp()) \
                      ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) due \
              WHERE t.queue = due.queue AND t.task_id = due.task_id \
          RETURNING t.task_id, t.key, t.payload, t.metadata, t.due_at, t.attempts",
        )
        .bind(self.queue)
        .bind(limit as i64)
        .bind(lease)
        .bind(self.options.lease.as_secs_f64())
        .fetch_all(&mut *transaction)
        .await?;
        // Of those that nobody has. A lease that ends is found by the next look, which is never far.
        let next: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM eventsourcing.tasks \
              WHERE queue = $1 AND leased_until IS NULL ORDER BY due_at LIMIT 1",
        )
        .bind(self.queue)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let next = Duration::try_from_secs_f64(next.unwrap_or(f64::MAX).max(0.0)).unwrap_or(IDLE_LOOK);
        let tasks: Result<Vec<_>, _> = rows.into_iter().map(|row| self.task(&row, lease)).collect();
        Ok((tasks?, next.min(IDLE_LOOK)))
    }

    fn task(&self, row: &sqlx::postgres::PgRow, lease: Uuid) -> Result<Task, sqlx::Error> {
        Ok(Task {
            queue: self.queue,
            id: row.try_get(0)?,
            key: row.try_get(1)?,
            payload: row.try_get(2)?,
            metadata: row.try_get::<Json<Metadata>, _>(3)?.0,
            due_at: row.try_get(4)?,
            attempts: row.try_get(5)?,
            lease,
        })
    }

    async fn carry_out(&self, task: Task) {
        let started = Instant::now();
        let time = self.options.lease.saturating_sub(LEASE_MARGIN);
        let outcome = tokio::time::timeout(time, self.handler.run(&task)).await;
        metrics::histogram!("task_run_seconds", "queue" => self.queue)
            .record(started.elapsed().as_secs_f64());
        let outcome = outcome.unwrap_or_else(|_| TaskOutcome::Retry {
            after: Duration::ZERO,
            error: format!("it ran for more than {time:?} and was given up"),
        });
        if let Err(error) = self.settle(&task, &outcome).await {
            // It stays claimed, and runs again when the lease is over.
            tracing::warn!(queue = self.queue, task = %task.id, %error, "a task's outcome cannot be stored");
        }
    }

    async fn settle(&self, task: &Task, outcome: &TaskOutcome) -> Result<(), sqlx::Error> {
        let mut transaction = crate::subscription::begin_relaxed(&self.pool).await?;
        match outcome {
            TaskOutcome::Done => {
                sqlx::query(
                    "DELETE FROM eventsourcing.tasks WHERE queue = $1 AND task_id = $2 AND lease = $3",
                )
                .bind(task.queue)
                .bind(task.id)
                .bind(task.lease)
                .execute(&mut *transaction)
                .await?;
            }
            TaskOutcome::Retry { after, error } => {
                let error = &error[..error.floor_char_boundary(MAX_ERROR_BYTES)];
                sqlx::query(
                    "UPDATE eventsourcing.tasks SET lease = NULL, leased_until = NULL, last_error = $4, \
                            due_at = clock_timestamp() + make_interval(secs => $5) \
                      WHERE queue = $1 AND task_id = $2 AND lease = $3",
                )
                .bind(task.queue)
                .bind(task.id)
                .bind(task.lease)
                .bind(error)
                .bind(after.as_secs_f64())
                .execute(&mut *transaction)
                .await?;
                self.bell.ring();
            }
        }
        transaction.commit().await
    }
}

/// The usual answer to a failure: try again, at first soon and then ever more rarely.
///
/// `attempts` counts from 1; the pause doubles from `first` up to `longest`.
pub fn retry(error: &HandlerError, attempts: i32, first: Duration, longest: Duration) -> TaskOutcome {
    let doublings = attempts.clamp(1, 31) as u32 - 1;
    let after = first.saturating_mul(1 << doublings).min(longest);
    TaskOutcome::Retry { after, error: error.to_string() }
}
