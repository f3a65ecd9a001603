//! Tasks: nobody else's while they are leased, and somebody's again when the lease is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use eventsourcing::tasks::{self, NewTask, Task, TaskHandler, TaskOptions, TaskOutcome, TaskQueue};
use eventsourcing::{EventLog, LogOptions, Metadata};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::{Harness, Verdict};
use crate::support::*;

hold_on_a_sound_log!(
    a_task_is_run_by_one_worker_at_a_time_while_it_is_leased,
    a_task_whose_worker_died_is_run_by_another_when_its_lease_ends,
);

const TASKS: usize = 5;
/// How long a run lasts: long enough for another worker to look for tasks meanwhile.
const RUN: Duration = Duration::from_millis(200);

/// Counts who runs each task at the moment.
#[derive(Clone, Default)]
struct Chores {
    running: Arc<Mutex<HashMap<Uuid, u32>>>,
    most: Arc<Mutex<u32>>,
}

impl TaskHandler for Chores {
    async fn run(&self, task: &Task) -> TaskOutcome {
        let now = {
            let mut running = self.running.lock().unwrap();
            let now = running.entry(task.id).or_default();
            *now += 1;
            *now
        };
        let most = {
            let mut most = self.most.lock().unwrap();
            *most = (*most).max(now);
            *most
        };
        // Once it has gone wrong nothing more is to be found out.
        if most == 1 {
            tokio::time::sleep(RUN).await;
        }
        *self.running.lock().unwrap().entry(task.id).or_default() -= 1;
        TaskOutcome::Done
    }
}

/// A queue as another process sees it.
fn queue(options: TaskOptions) -> TaskQueue {
    TaskQueue::new("chores", options)
}

async fn schedule(log: &EventLog) {
    let task = NewTask {
        id: Uuid::now_v7(),
        key: "k".into(),
        payload: serde_json::json!({}),
        metadata: Metadata::default(),
        due_at: Utc::now(),
    };
    let mut connection = log.pool().acquire().await.unwrap();
    queue(TaskOptions::default()).schedule(&mut connection, &[task]).await.unwrap();
}

async fn tasks_left(log: &EventLog) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM eventsourcing.tasks");
    count.fetch_one(log.pool()).await.unwrap()
}

pub async fn a_task_is_run_by_one_worker_at_a_time_while_it_is_leased(harness: &Harness) -> Verdict {
    let chores = Chores::default();
    let replicas = [Replica::start(&harness.database).await, Replica::start(&harness.database).await];
    for _ in 0..TASKS {
        schedule(&replicas[0].log).await;
    }
    for replica in &replicas {
        let (queue, stop) = (queue(TaskOptions::default()), replica.stop.clone());
        tasks::work(&replica.log, queue, chores.clone(), stop, &replica.tracker);
    }
    let most = || *chores.most.lock().unwrap();
    let done = harness
        .within("all tasks are done", async || {
            (most() > 1 || tasks_left(&replicas[0].log).await == 0).then_some(())
        })
        .await;
    for replica in replicas {
        replica.stop().await;
    }
    done?;
    let most = most();
    hold!(most == 1, "a task was run by {most} at a time");
    Ok(())
}

pub async fn a_task_whose_worker_died_is_run_by_another_when_its_lease_ends(harness: &Harness) -> Verdict {
    /// Never comes back, as if its process had died.
    struct Dies;
    impl TaskHandler for Dies {
        async fn run(&self, _: &Task) -> TaskOutcome {
            std::future::pending().await
        }
    }
    // Two seconds longer than the run may take.
    let options = TaskOptions { lease: Duration::from_secs(3), ..TaskOptions::default() };
    schedule(&harness.open().await).await;
    // A runtime of its own, whose end is the worker's death.
    let url = harness.database.url().to_owned();
    let worker = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let log = EventLog::open(LogOptions::new(LOG, url)).await.unwrap();
            let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
            tasks::work(&log, queue(options), Dies, stop, &tracker);
            let claimed = "SELECT count(*) FROM eventsourcing.tasks WHERE attempts > 0";
            while sqlx::query_scalar::<_, i64>(claimed).fetch_one(log.pool()).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        });
    });
    worker.await?;
    let second = Replica::start(&harness.database).await;
    tasks::work(&second.log, queue(options), Chores::default(), second.stop.clone(), &second.tracker);
    let done =
        harness.within("the task is done", async || (tasks_left(&second.log).await == 0).then_some(())).await;
    second.stop().await;
    done
}
