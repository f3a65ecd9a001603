//! What is kept from the database to be fast, and must not show: the newest events in memory, places that are
//! stored by and by, projections that wait for more.

mod support;

use std::sync::Arc;

use eventsourcing::*;
use sqlx::PgConnection;
use support::*;
use testkit::{SOON, eventually};

/// Everything of an event but the spelling of its JSON.
fn told(event: &RecordedEvent) -> (i64, String, serde_json::Value, serde_json::Value) {
    let data: serde_json::Value = serde_json::from_str(&event.data).expect("data is JSON");
    let rest = RecordedEvent { data: String::new(), ..event.clone() };
    (event.position, event.stream_id.to_string(), data, serde_json::to_value(rest).expect("it is plain data"))
}

#[tokio::test]
async fn events_read_from_memory_are_those_of_the_log_whoever_else_appends() {
    let database = database().await;
    let writers = [processor(&database).await, processor(&database).await];
    for round in 0..40 {
        let deposits = (0..5).map(|i| {
            let stream = account(i);
            let writer = &writers[(round / 7) % 2];
            async move { writer.execute(deposit(&stream, 1), context()).await }
        });
        futures::future::try_join_all(deposits).await.unwrap();
    }
    let elsewhere = open(&database).await;
    let stored = elsewhere.read_after(0, 1000).await.unwrap();
    assert_eq!(stored.len(), 200);
    for log in [writers[0].log(), writers[1].log()] {
        for after in 0..200 {
            let read = log.read_after(after, 1000).await.unwrap();
            // A page may end where memory does; what it holds has no hole.
            assert!(!read.is_empty());
            let expected = stored[after as usize..].iter().take(read.len());
            assert!(read.iter().map(|e| told(e)).eq(expected.map(|e| told(e))), "after {after}");
        }
    }
    // Once this process knows how far the log has come, a stream is never cut short.
    let stop = tokio_util::sync::CancellationToken::new();
    for log in [writers[0].log(), writers[1].log()] {
        let following = tokio::spawn(log.clone().follow(stop.clone()));
        log.watch_head().wait_for(|head| *head == 200).await.unwrap();
        for version in 0..40 {
            let read = log.read_stream_as_heard(&account(3), version, 1000).await.unwrap();
            let expected = elsewhere.read_stream(&account(3), version, 1000).await.unwrap();
            assert!(read.iter().map(|e| told(e)).eq(expected.iter().map(|e| told(e))), "after {version}");
        }
        drop(following);
    }
    stop.cancel();
}

/// Counts events by account.
struct Journal;

impl Projection for Journal {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "journal"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO journal (account, version) VALUES ($1, $2)")
            .bind(event.stream_id.key())
            .bind(event.version as i64)
            .execute(connection)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_projection_that_lingers_applies_at_once_what_somebody_waits_for() {
    let database = database().await;
    let replica = Replica::start(&database).await;
    let writer = CommandProcessor::start(replica.log.clone(), ProcessorOptions::default());
    let patient = SubscriptionOptions { linger: 20 * SOON, ..SubscriptionOptions::default() };
    let journal =
        replica.subscriptions.project_with(Arc::new(replica.log.clone()), Journal, patient).await.unwrap();
    for _ in 0..5 {
        let committed = writer.execute(deposit(&account("a"), 1), context()).await.unwrap();
        journal.wait_for(&committed.position, SOON).await.expect("who waits is not kept waiting");
    }
    replica.stop().await;
}

/// Answers each deposit of an account with one to its mirror.
struct Mirror(CommandProcessor);

impl Reactor for Mirror {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "mirror"
    }

    async fn react(&self, event: &RecordedEvent, commands: &Commands) -> Result<(), HandlerError> {
        if !event.stream_id.key().starts_with("mirror") {
            let mirror = account(format!("mirror-{}", event.stream_id.key()));
            self.0.execute(deposit(&mirror, 1), commands.context(0)).await?;
        }
        Ok(())
    }
}

async fn stored_place(log: &EventLog) -> i64 {
    sqlx::query_scalar("SELECT position FROM eventsourcing.checkpoints WHERE subscription = 'mirror'")
        .fetch_one(log.pool())
        .await
        .expect("the checkpoint is read")
}

#[tokio::test]
async fn a_reactors_place_is_stored_by_and_by_and_at_its_end() {
    let database = database().await;
    let replica = Replica::start(&database).await;
    let log = replica.log.clone();
    let writer = CommandProcessor::start(log.clone(), ProcessorOptions::default());
    let mirror = Mirror(writer.clone());
    let running = replica.subscriptions.react(Arc::new(log.clone()), mirror).await.unwrap();
    let here = || async {
        let at = *running.checkpoint().borrow();
        (at == *log.watch_head().borrow()).then_some(at)
    };
    writer.execute(deposit(&account("a"), 1), context()).await.unwrap();
    let reached = eventually("both deposits are handled", SOON, here).await;
    assert_eq!(reached, 2);
    eventually("the place is stored", SOON, || async { (stored_place(&log).await == 2).then_some(()) }).await;
    for _ in 0..3 {
        writer.execute(deposit(&account("a"), 1), context()).await.unwrap();
    }
    let reached = eventually("all deposits are handled", SOON, here).await;
    assert_eq!(reached, 8);
    replica.stop().await;
    assert_eq!(stored_place(&log).await, 8);
}

#[tokio::test]
async fn a_stream_read_from_the_log_has_what_this_process_has_not_heard_of_yet() {
    let database = database().await;
    let [here, elsewhere] = [processor(&database).await, processor(&database).await];
    here.execute(deposit(&account(1), 1), context()).await.unwrap();
    elsewhere.execute(deposit(&account(1), 1), context()).await.unwrap();
    // Nobody follows the log here, so that only the first is heard of.
    assert_eq!(here.log().read_stream_as_heard(&account(1), 0, 10).await.unwrap().len(), 1);
    assert_eq!(here.log().read_stream(&account(1), 0, 10).await.unwrap().len(), 2);
}
