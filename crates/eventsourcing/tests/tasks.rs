//! Durable tasks: each has its effect once, and not before it is due, whatever happens to workers.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use eventsourcing::tasks::{self, NewTask, Task, TaskHandler, TaskOptions, TaskOutcome, TaskQueue};
use eventsourcing::*;
use support::*;
use testkit::{SOON, eventually};
use uuid::Uuid;

/// Deposits once per task, however often the task runs.
struct Payout {
    processor: CommandProcessor,
    runs: Arc<AtomicUsize>,
    fail_first: usize,
    hang_first: usize,
}

impl TaskHandler for Payout {
    async fn run(&self, task: &Task) -> TaskOutcome {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let stream = account(&task.key);
        let paid = self.processor.execute(deposit(&stream, 1), task.context(0)).await;
        if run < self.fail_first {
            return TaskOutcome::Retry { after: Duration::from_millis(10), error: "not yet".into() };
        }
        if run < self.hang_first {
            std::future::pending::<()>().await;
        }
        match paid {
            Ok(_) => TaskOutcome::Done,
            Err(error) => tasks::retry(&error.into(), task.attempts, Duration::from_millis(10), SOON),
        }
    }
}

fn task(key: &str, due_in_ms: i64) -> NewTask {
    NewTask {
        id: Uuid::now_v7(),
        key: key.into(),
        payload: serde_json::json!({}),
        metadata: Metadata::default(),
        due_at: Utc::now() + chrono::Duration::milliseconds(due_in_ms),
    }
}

async fn tasks_left(log: &EventLog) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM eventsourcing.tasks");
    count.fetch_one(log.pool()).await.expect("tasks are counted")
}

async fn all_done(log: &EventLog) {
    eventually("all tasks are done", SOON, || async { (tasks_left(log).await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn tasks_claimed_by_several_workers_have_their_effect_once_and_not_before_they_are_due() {
    let database = database().await;
    let processor = processor(&database).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let replicas = [Replica::start(&database).await, Replica::start(&database).await];
    let queue = TaskQueue::new("payouts", TaskOptions { concurrency: 4, ..TaskOptions::default() });
    for replica in &replicas {
        let handler =
            Payout { processor: processor.clone(), runs: runs.clone(), fail_first: 5, hang_first: 0 };
        // A queue of its own, as another process has.
        let queue = TaskQueue::new("payouts", queue.options());
        tasks::work(&replica.log, queue, handler, replica.stop.clone(), &replica.tracker);
    }
    let log = replicas[0].log.clone();
    let mut connection = log.pool().acquire().await.unwrap();
    let repeated = task("twice", 0);
    for _ in 0..3 {
        queue.schedule(&mut connection, std::slice::from_ref(&repeated)).await.unwrap();
    }
    for i in 0..50 {
        queue.schedule(&mut connection, &[task(&format!("k{}", i % 5), i % 40)]).await.unwrap();
    }
    queue.schedule(&mut connection, &[task("cancelled", 60_000), task("cancelled", 60_000)]).await.unwrap();
    queue.replace(&mut connection, &["cancelled".to_owned()], &[]).await.unwrap();
    drop(connection);
    all_done(&log).await;
    for i in 0..5 {
        assert_eq!(balance(&log, &account(format!("k{i}"))).await.balance, 10);
    }
    assert_eq!(balance(&log, &account("twice")).await.balance, 1);
    assert_eq!(balance(&log, &account("cancelled")).await.balance, 0);
    assert!(runs.load(Ordering::SeqCst) >= 56, "the failures were retried");
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_task_whose_worker_dies_or_hangs_runs_again_when_its_lease_ends() {
    let database = database().await;
    let processor = processor(&database).await;
    let replica = Replica::start(&database).await;
    let (log, runs) = (replica.log.clone(), Arc::new(AtomicUsize::new(0)));
    let mut connection = log.pool().acquire().await.unwrap();
    let claimed_by_a_dead_worker = task("a", -10);
    // The last two seconds are no time to run in; six are enough for one deposit.
    let options = TaskOptions { lease: Duration::from_secs(8), ..TaskOptions::default() };
    let queue = TaskQueue::new("payouts", options);
    queue.schedule(&mut connection, &[claimed_by_a_dead_worker]).await.unwrap();
    sqlx::query(
        "UPDATE eventsourcing.tasks SET lease = $1, leased_until = now() + interval '300 ms', attempts = 1",
    )
    .bind(Uuid::new_v4())
    .execute(&mut *connection)
    .await
    .unwrap();
    drop(connection);
    let handler = Payout { processor, runs: runs.clone(), fail_first: 0, hang_first: 1 };
    tasks::work(&log, queue, handler, replica.stop.clone(), &replica.tracker);
    all_done(&log).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2, "once it hung, once it was done");
    assert_eq!(balance(&log, &account("a")).await.balance, 1);
    replica.stop().await;
}

#[tokio::test]
async fn more_tasks_than_connections_do_not_hold_each_other_up() {
    let database = database().await;
    let processor = processor(&database).await;
    let replica = Replica::start(&database).await;
    let narrow = LogOptions { max_connections: 1, ..LogOptions::new(LOG, database.url()) };
    let narrow = EventLog::open(narrow).await.unwrap();
    let mut connection = replica.log.pool().acquire().await.unwrap();
    let queue = TaskQueue::new("payouts", TaskOptions { concurrency: 8, ..TaskOptions::default() });
    for i in 0..40 {
        queue.schedule(&mut connection, &[task(&format!("k{}", i % 4), 0)]).await.unwrap();
    }
    drop(connection);
    let runs = Arc::new(AtomicUsize::new(0));
    let handler = Payout { processor, runs: runs.clone(), fail_first: 10, hang_first: 0 };
    let (mut seen, mut last, mut longest) = (0, Instant::now(), Duration::ZERO);
    tasks::work(&narrow, queue, handler, replica.stop.clone(), &replica.tracker);
    eventually("all tasks are done", SOON, || {
        let now = runs.load(Ordering::SeqCst);
        if now > seen {
            longest = longest.max(last.elapsed());
            (seen, last) = (now, Instant::now());
        }
        let log = &replica.log;
        async move { (tasks_left(log).await == 0).then_some(()) }
    })
    .await;
    // A worker that waits for a connection while its own tasks hold them all waits for the pool's time-out, 10 seconds in
    // which nothing runs.
    assert!(longest < Duration::from_secs(9), "nothing ran for {longest:?}");
    replica.stop().await;
}
