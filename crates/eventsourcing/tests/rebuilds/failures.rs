//! What goes wrong on the way, and that what serves is untouched by it.

use std::sync::Arc;

use eventsourcing::*;
use futures::future::BoxFuture;
use testkit::{SOON, eventually};
use tokio::sync::{Semaphore, watch};

use crate::books::*;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_killed_goes_on_where_it_was_in_whichever_process_comes_next() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 1_000, 10).await;
    let keeper = Keeper::start_with(&database, Books::times(1), |_| Vec::new()).await;
    keeper.caught_up().await;
    keeper.stop().await;
    let gate = Arc::new(Semaphore::new(600));
    let first = Books { gate: Some(gate), ..Books::times(2) };
    // A runtime of its own, which ends with everything on it: nothing there gets to its end.
    let url = database.url().to_owned();
    let doomed = std::thread::spawn({
        move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let log = EventLog::open(LogOptions::new(LOG, url)).await.unwrap();
                let subscriptions = Subscriptions::new(&log, Default::default(), Default::default());
                let model = ReadModel::new(MODEL, TABLES).fed_by(Arc::new(log.clone()), first);
                let rebuilds = Rebuilds::start(&log, &subscriptions, vec![model]);
                rebuilds.begin(MODEL).await.unwrap();
                eventually("two pages are there and it is in the third", SOON, || async {
                    (rebuilds.status(MODEL).await.unwrap().position == 500).then_some(())
                })
                .await;
            });
            runtime.shutdown_background();
        }
    });
    tokio::task::spawn_blocking(move || doomed.join().unwrap()).await.unwrap();

    let second = Books::times(2);
    let keeper = Keeper::start(&database, Books::times(1), second.clone()).await;
    // Nobody has to ask again.
    eventually("it is switched to", SOON, || async {
        (keeper.rebuilds.switches(MODEL).await.unwrap() == 1).then_some(())
    })
    .await;
    assert_eq!(balances(&database, "public").await, folded(&keeper.replica.log, 2).await);
    assert_eq!(second.applied(), 500, "what was done before the kill was not done again");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_fails_leaves_what_serves_untouched_and_goes_on_once_it_is_mended() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 400, 4).await;
    let anew = Books::times(2).poisoned_by("3");
    let keeper = Keeper::start(&database, Books::times(1), anew.clone()).await;
    keeper.caught_up().await;
    keeper.rebuilds.begin(MODEL).await.unwrap();
    let failed = keeper.until(RebuildState::Failed).await;
    let problem = failed.problem.unwrap();
    assert!(problem.contains("books@next") && problem.contains("this cannot be"), "{problem}");
    assert_eq!(balances(&database, "public").await, folded(&keeper.replica.log, 1).await);
    let parked = keeper.replica.subscriptions.parked(None, None, 10).await.unwrap();
    assert_eq!(parked.len(), 1, "the first that fails");
    assert_eq!((parked[0].subscription.as_str(), parked[0].key.as_str()), ("books@next", "account-3"));

    // Asked again it fails again, and mended it goes on.
    keeper.rebuilds.begin(MODEL).await.unwrap();
    keeper.until(RebuildState::Failed).await;
    anew.mend();
    keeper.rebuild().await;
    assert_eq!(balances(&database, "public").await, folded(&keeper.replica.log, 2).await);
    assert!(keeper.replica.subscriptions.parked_counts().await.unwrap().is_empty());
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_serving_model_has_parked_is_parked_in_the_new_one_and_can_be_redriven_there() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 40, 4).await;
    let (serving, anew) = (Books::times(1).poisoned_by("2"), Books::times(1).poisoned_by("2"));
    let keeper = Keeper::start(&database, serving.clone(), anew).await;
    keeper.caught_up().await;
    keeper.rebuild().await;
    let counts = keeper.replica.subscriptions.parked_counts().await.unwrap();
    assert_eq!(counts.get(MODEL), Some(&10), "{counts:?}");
    assert_eq!(counts.get("books@old"), Some(&10), "{counts:?}");
    assert_eq!(counts.get("books@next"), None, "{counts:?}");
    serving.mend();
    keeper.replica.subscriptions.redrive(MODEL, "account-2").await.unwrap();
    let expected = folded(&keeper.replica.log, 1).await;
    eventually("all of it is handled", SOON, || async {
        (balances(&database, "public").await == expected).then_some(())
    })
    .await;

    // The former version lacks it still; what cannot be handled there is discarded, and it serves again.
    keeper.rebuilds.switch_back(MODEL).await.unwrap();
    keeper.until(RebuildState::Failed).await;
    let parked = keeper.replica.subscriptions.parked(Some("books@next"), None, 100).await.unwrap();
    assert_eq!(parked.len(), 10);
    for message in parked {
        assert!(keeper.replica.subscriptions.discard("books@next", message.position).await.unwrap());
    }
    keeper.rebuilds.switch_back(MODEL).await.unwrap();
    keeper.until(RebuildState::Serving).await;
    assert_eq!(balances(&database, "public").await.len(), 3);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_migrated_meanwhile_are_filled_anew() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 400, 4).await;
    let anew = Books::times(2).poisoned_by("3");
    let keeper = Keeper::start(&database, Books::times(1), anew.clone()).await;
    keeper.caught_up().await;
    keeper.rebuilds.begin(MODEL).await.unwrap();
    keeper.until(RebuildState::Failed).await;
    as_owner(&database, "ALTER TABLE accounts ADD COLUMN colour text NOT NULL DEFAULT 'red'").await;
    anew.mend();
    keeper.rebuild().await;
    let log = &keeper.replica.log;
    let red: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE colour = 'red'")
        .fetch_one(log.pool())
        .await
        .unwrap();
    assert_eq!(red, 4);
    assert_eq!(balances(&database, "public").await, folded(log, 2).await);

    // What served before has that column, too; the next migration leaves it behind.
    as_owner(&database, "ALTER TABLE accounts ADD COLUMN size text").await;
    keeper.rebuilds.switch_back(MODEL).await.unwrap();
    let failed = keeper.until(RebuildState::Failed).await;
    assert!(failed.problem.unwrap().contains("have changed"));
    keeper.rebuilds.abandon(MODEL).await.unwrap();
    keeper.rebuild().await;
    assert_eq!(balances(&database, "public").await, folded(log, 2).await);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_model_does_not_name_is_never_written_to() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 20, 2).await;
    let keeper = Keeper::start_with(&database, Books::times(1), |log| {
        let forgetful = ReadModel::new(MODEL, &["accounts"]).fed_by(Arc::new(log.clone()), Books::times(2));
        vec![forgetful]
    })
    .await;
    keeper.caught_up().await;
    keeper.rebuilds.begin(MODEL).await.unwrap();
    let failed = keeper.until(RebuildState::Failed).await;
    assert!(failed.problem.unwrap().contains("entries"));
    let entries: i64 = sqlx::query_scalar("SELECT count(*) FROM entries")
        .fetch_one(keeper.replica.log.pool())
        .await
        .unwrap();
    assert_eq!(entries, 20);
    keeper.stop().await;
}

#[tokio::test]
async fn what_issues_commands_or_schedules_work_is_never_rebuilt() {
    let database = books().await;
    let keeper = Keeper::start_with(&database, Books::times(1), |_| Vec::new()).await;
    assert!(matches!(keeper.rebuilds.begin(MODEL).await, Err(RebuildError::NotAModel(_))));
    assert!(matches!(keeper.rebuilds.begin("nonsense").await, Err(RebuildError::Unknown(_))));
    keeper.stop().await;
}

/// A feed on which the last events before a place are passed over, as a switch would that forgets them.
struct Forgetful {
    log: EventLog,
    from: i64,
}

impl Feed for Forgetful {
    type Message = RecordedEvent;

    fn log(&self) -> &str {
        Feed::log(&self.log)
    }

    fn incarnation(&self) -> i32 {
        Feed::incarnation(&self.log)
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<RecordedEvent>, FeedError>> {
        Box::pin(async move {
            let mut page = Feed::read(&self.log, partition, after, limit).await?;
            page.messages.retain(|message| message.position <= self.from);
            Ok(page)
        })
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.log.newest(partition)
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.log.watch_head()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_forgot_the_last_events_would_be_seen() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 100, 2).await;
    let keeper = Keeper::start_with(&database, Books::times(1), |log| {
        let feed = Arc::new(Forgetful { log: log.clone(), from: 99 });
        vec![ReadModel::new(MODEL, TABLES).fed_by(feed, Books::times(1))]
    })
    .await;
    keeper.caught_up().await;
    keeper.rebuild().await;
    assert_ne!(balances(&database, "public").await, folded(&keeper.replica.log, 1).await);
    keeper.stop().await;
}
