//! The worker of a queue: takes over what its own process has just scheduled, claims what else is due, runs it
//! under a lease, and settles. What is done is settled for several tasks at once; a crash before that runs a task
//! again, which it has to bear anyway.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::{Task, TaskHandler, TaskOutcome, TaskQueue};
use crate::backoff::Backoff;
use crate::fault;
use crate::trace;

/// Longest sleep of a worker that knows of nothing due: what other replicas schedule is found by then.
pub(super) const IDLE_LOOK: Duration = Duration::from_secs(1);
/// Part of a lease that is left when a task's time is up, for saying so.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// How long a task that is done waits for others to be settled with.
const SETTLE_WITHIN: Duration = Duration::from_millis(25);
/// Longest error text that is stored with a task.
const MAX_ERROR_BYTES: usize = 2000;

pub(super) struct Worker<H> {
    pool: PgPool,
    queue: TaskQueue,
    handler: H,
}

/// What a run led to.
enum Finished {
    Done(Task),
    /// It is due again at this time.
    Again(Instant),
}

/// Tasks that are done and still claimed.
#[derive(Default)]
struct Done {
    tasks: Vec<Task>,
    settle_at: Option<Instant>,
    /// When the first of those is due that are to run again.
    again_at: Option<Instant>,
}

impl Done {
    fn add(&mut self, finished: Finished) {
        match finished {
            Finished::Done(task) => {
                self.tasks.push(task);
                self.settle_at.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
            }
            Finished::Again(at) => self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at))),
        }
    }

    fn is_due(&self) -> bool {
        self.settle_at.is_some_and(|at| Instant::now() >= at)
    }
}

impl<H: TaskHandler> Worker<H> {
    pub fn new(pool: PgPool, queue: TaskQueue, handler: H) -> Self {
        Self { pool, queue, handler }
    }

    pub async fn run(self, stop: CancellationToken) {
        let concurrency = self.queue.options().concurrency;
        let mut backoff = pauses();
        let mut running = FuturesUnordered::new();
        let mut done = Done::default();
        let mut look_at = Instant::now();
        loop {
            let stopping = stop.is_cancelled();
            let free = if stopping { 0 } else { concurrency.saturating_sub(running.len()) };
            let taken = self.queue.take_over(free);
            running.extend(taken.tasks.into_iter().map(|task| self.carry_out(task)));
            if taken.look {
                look_at = Instant::now();
            }
            if let Some(again_at) = done.again_at.take() {
                look_at = look_at.min(again_at);
            }
            if done.is_due() || stopping && running.is_empty() {
                let settled = std::mem::take(&mut done.tasks);
                done.settle_at = None;
                beside(self.settle_done(settled), &mut running, &mut done).await;
            }
            let free = concurrency.saturating_sub(running.len());
            if !stopping && free > 0 && Instant::now() >= look_at {
                match beside(self.claim(free), &mut running, &mut done).await {
                    Ok((claimed, next)) => {
                        backoff = pauses();
                        look_at = Instant::now() + if claimed.len() == free { Duration::ZERO } else { next };
                        running.extend(claimed.into_iter().map(|task| self.carry_out(task)));
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(queue = self.queue.name(), %error, "tasks cannot be claimed");
                        look_at = Instant::now() + backoff.take();
                    }
                }
            }
            // What runs is brought to its end also after `stop`; a lease covers what is not.
            if stopping && running.is_empty() && done.tasks.is_empty() {
                return;
            }
            let settle_at = done.settle_at.unwrap_or_else(|| Instant::now() + IDLE_LOOK);
            tokio::select! {
                Some(finished) = running.next() => done.add(finished),
                () = self.queue.rung() => {}
                () = tokio::time::sleep_until(look_at.into()), if running.len() < concurrency => {}
                () = tokio::time::sleep_until(settle_at.into()) => {}
                () = stop.cancelled(), if !stopping => {}
            }
        }
    }

    /// Claims what is due. Says also how long it is until there may be more.
    async fn claim(&self, limit: usize) -> Result<(Vec<Task>, Duration), sqlx::Error> {
        fault::point("claim.before");
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
        .bind(self.queue.name())
        .bind(limit as i64)
        .bind(lease)
        .bind(self.queue.options().lease.as_secs_f64())
        .fetch_all(&mut *transaction)
        .await?;
        // Of those that nobody has. A lease that ends is found by the next look, which is never far.
        let next: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM eventsourcing.tasks \
              WHERE queue = $1 AND leased_until IS NULL ORDER BY due_at LIMIT 1",
        )
        .bind(self.queue.name())
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let next = Duration::try_from_secs_f64(next.unwrap_or(f64::MAX).max(0.0)).unwrap_or(IDLE_LOOK);
        let tasks: Result<Vec<_>, _> = rows.into_iter().map(|row| self.task(&row, lease)).collect();
        Ok((tasks?, next.min(IDLE_LOOK)))
    }

    fn task(&self, row: &sqlx::postgres::PgRow, lease: Uuid) -> Result<Task, sqlx::Error> {
        Ok(Task {
            queue: self.queue.name(),
            id: row.try_get(0)?,
            key: row.try_get(1)?,
            payload: row.try_get(2)?,
            metadata: row.try_get::<Json<_>, _>(3)?.0,
            due_at: row.try_get(4)?,
            attempts: row.try_get(5)?,
            lease,
        })
    }

    async fn carry_out(&self, mut task: Task) -> Finished {
        fault::point("claim.after");
        let queue = self.queue.name();
        let (id, attempt) = (task.id, task.attempts);
        let span = trace::follow(
            &mut task.metadata,
            || tracing::info_span!("task", otel.name = queue, queue, task = %id, attempt),
        );
        let started = Instant::now();
        let time = self.queue.options().lease.saturating_sub(LEASE_MARGIN);
        let outcome = tokio::time::timeout(time, self.handler.run(&task)).instrument(span).await;
        metrics::histogram!("task_run_seconds", "queue" => queue).record(started.elapsed().as_secs_f64());
        let outcome = outcome.unwrap_or_else(|_| TaskOutcome::Retry {
            after: Duration::ZERO,
            error: format!("it ran for more than {time:?} and was given up"),
        });
        let TaskOutcome::Retry { after, error } = outcome else { return Finished::Done(task) };
        if let Err(error) = self.settle_retry(&task, after, &error).await {
            // It stays claimed, and runs again when the lease is over.
            tracing::warn!(queue, task = %task.id, %error, "a task's outcome cannot be stored");
        }
        Finished::Again(Instant::now() + after)
    }

    async fn settle_retry(&self, task: &Task, after: Duration, error: &str) -> Result<(), sqlx::Error> {
        let mut transaction = crate::subscription::begin_relaxed(&self.pool).await?;
        sqlx::query(
            "UPDATE eventsourcing.tasks SET lease = NULL, leased_until = NULL, last_error = $4, \
                    due_at = clock_timestamp() + make_interval(secs => $5) \
              WHERE queue = $1 AND task_id = $2 AND lease = $3",
        )
        .bind(task.queue)
        .bind(task.id)
        .bind(task.lease)
        .bind(&error[..error.floor_char_boundary(MAX_ERROR_BYTES)])
        .bind(after.as_secs_f64())
        .execute(&mut *transaction)
        .await?;
        fault::point("settle.before");
        transaction.commit().await?;
        fault::point("settle.after");
        Ok(())
    }

    /// Forgets tasks that are done. Those that cannot be forgotten now run again when their lease is over.
    async fn settle_done(&self, tasks: Vec<Task>) {
        let forgotten = async {
            let mut transaction = crate::subscription::begin_relaxed(&self.pool).await?;
            sqlx::query(
                "DELETE FROM eventsourcing.tasks t USING unnest($2::uuid[], $3::uuid[]) AS d(id, lease) \
                  WHERE t.queue = $1 AND t.task_id = d.id AND t.lease = d.lease",
            )
            .bind(self.queue.name())
            .bind(tasks.iter().map(|task| task.id).collect::<Vec<_>>())
            .bind(tasks.iter().map(|task| task.lease).collect::<Vec<_>>())
            .execute(&mut *transaction)
            .await?;
            fault::point("settle.before");
            transaction.commit().await?;
            fault::point("settle.after");
            Ok(())
        };
        if tasks.is_empty() {
            return;
        }
        let result: Result<(), sqlx::Error> = forgotten.await;
        if let Err(error) = result {
            tracing::warn!(queue = self.queue.name(), tasks = tasks.len(), %error, "tasks cannot be settled");
        }
    }
}

fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(5))
}

/// Waits for `work` while what runs goes on: it may hold the connections that `work` waits for.
async fn beside<T>(
    work: impl Future<Output = T>,
    running: &mut FuturesUnordered<impl Future<Output = Finished>>,
    done: &mut Done,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            Some(finished) = running.next() => done.add(finished),
        }
    }
}
