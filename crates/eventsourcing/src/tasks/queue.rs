//! A queue of tasks as one process sees it: what its projection schedules, and what its worker may take over at
//! once. It runs nothing itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use tokio::sync::Notify;
use uuid::Uuid;

use super::worker::IDLE_LOOK;
use super::{NewTask, Task, TaskOptions};

/// A cheap handle to a queue, shared by the projection that fills it and the worker of the same process.
#[derive(Clone)]
pub struct TaskQueue {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    options: TaskOptions,
    bell: Notify,
    desk: Mutex<Desk>,
}

/// Tasks on their way from the projection to the worker, without another look at the database.
#[derive(Default)]
struct Desk {
    /// What the worker can take at the moment; nothing while there is none.
    free: usize,
    /// Claimed for it by a transaction that is not committed yet.
    staged: Vec<Task>,
    /// Claimed for it.
    handed: Vec<Task>,
    /// That transaction left tasks to claim that are due before the worker would look by itself.
    staged_look: bool,
    look: bool,
}

/// What a worker finds on the desk.
pub(super) struct TakenOver {
    pub tasks: Vec<Task>,
    /// There is more to claim.
    pub look: bool,
}

impl TaskQueue {
    /// `name` never changes: it names the rows, and the commands' ids.
    pub fn new(name: &'static str, options: TaskOptions) -> Self {
        let (bell, desk) = (Notify::new(), Mutex::default());
        Self { inner: Arc::new(Inner { name, options, bell, desk }) }
    }

    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Its limits.
    pub fn options(&self) -> TaskOptions {
        self.inner.options
    }

    /// Schedules tasks through `connection`, usually in a projection's transaction; call
    /// [`committed`](Self::committed) after it. What is due already, and for which the worker of this process
    /// has room, is claimed for it in the same statement.
    pub async fn schedule(
        &self,
        connection: &mut PgConnection,
        tasks: &[NewTask],
    ) -> Result<(), sqlx::Error> {
        // What an earlier transaction staged and did not commit is not ours.
        let room = {
            let mut desk = self.desk();
            desk.staged.clear();
            desk.staged_look = false;
            desk.free.saturating_sub(desk.handed.len())
        };
        if tasks.is_empty() {
            return Ok(());
        }
        let (now, lease) = (Utc::now(), Uuid::new_v4());
        let mut left = room;
        let claimed = tasks.iter().map(|task| {
            let claimed = task.due_at <= now && left > 0;
            left -= usize::from(claimed);
            claimed
        });
        let claimed: Vec<bool> = claimed.collect();
        let soon = now + IDLE_LOOK;
        let look = tasks.iter().zip(&claimed).any(|(task, claimed)| !claimed && task.due_at < soon);
        let rows = sqlx::query(
            "INSERT INTO eventsourcing.tasks AS t \
                    (queue, task_id, key, payload, metadata, due_at, attempts, lease, leased_until) \
             SELECT $1, n.id, n.key, n.payload, n.metadata, n.due_at, n.claimed::int, \
                    CASE WHEN n.claimed THEN $8 END, \
                    CASE WHEN n.claimed THEN clock_timestamp() + make_interval(secs => $9) END \
               FROM unnest($2::uuid[], $3::text[], $4::jsonb[], $5::jsonb[], $6::timestamptz[], $7::boolean[]) \
                    AS n(id, key, payload, metadata, due_at, claimed) \
             ON CONFLICT DO NOTHING RETURNING t.task_id, t.lease IS NOT NULL",
        )
        .bind(self.name())
        .bind(tasks.iter().map(|task| task.id).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.key.as_str()).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| &task.payload).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| Json(&task.metadata)).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.due_at).collect::<Vec<_>>())
        .bind(claimed)
        .bind(lease)
        .bind(self.options().lease.as_secs_f64())
        .fetch_all(connection)
        .await?;
        let mut staged = Vec::new();
        for row in rows {
            let (id, claimed): (Uuid, bool) = (row.try_get(0)?, row.try_get(1)?);
            let task = tasks.iter().find(|task| task.id == id).filter(|_| claimed);
            staged.extend(task.map(|task| self.claimed(task, lease)));
        }
        let mut desk = self.desk();
        (desk.staged, desk.staged_look) = (staged, look);
        Ok(())
    }

    /// Takes all tasks of some keys back and schedules others in their place, in two statements however many
    /// they are. Those that run at the moment are not interrupted.
    pub async fn replace(
        &self,
        connection: &mut PgConnection,
        keys: &[String],
        tasks: &[NewTask],
    ) -> Result<(), sqlx::Error> {
        if !keys.is_empty() {
            sqlx::query("DELETE FROM eventsourcing.tasks WHERE queue = $1 AND key = ANY ($2)")
                .bind(self.name())
                .bind(keys)
                .execute(&mut *connection)
                .await?;
        }
        // Also for no tasks: what was staged before is forgotten.
        self.schedule(connection, tasks).await
    }

    /// The transaction that scheduled is committed: the worker may begin.
    pub fn committed(&self) {
        let mut desk = self.desk();
        let staged = std::mem::take(&mut desk.staged);
        desk.handed.extend(staged);
        desk.look |= std::mem::take(&mut desk.staged_look);
        drop(desk);
        self.inner.bell.notify_one();
    }

    fn claimed(&self, task: &NewTask, lease: Uuid) -> Task {
        Task {
            queue: self.name(),
            id: task.id,
            key: task.key.clone(),
            payload: task.payload.clone(),
            metadata: task.metadata.clone(),
            due_at: task.due_at,
            attempts: 1,
            lease,
        }
    }

    /// Takes what was handed over, and says how much more there is room for.
    pub(super) fn take_over(&self, free: usize) -> TakenOver {
        let mut desk = self.desk();
        let tasks = std::mem::take(&mut desk.handed);
        desk.free = free.saturating_sub(tasks.len());
        TakenOver { tasks, look: std::mem::take(&mut desk.look) }
    }

    /// Rings when something was handed over.
    pub(super) async fn rung(&self) {
        self.inner.bell.notified().await;
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
