//! The way to the switch and what everybody sees of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eventsourcing::rebuild::NO_SWITCH;
use eventsourcing::*;
use sqlx::Row;
use testkit::{SOON, eventually};
use tokio::sync::Semaphore;

use crate::books::*;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_model_is_what_its_projections_make_of_all_events_and_the_former_is_kept() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 700, 7).await;
    let keeper = Keeper::start(&database, Books::times(1), Books::times(2)).await;
    keeper.caught_up().await;
    let log = &keeper.replica.log;
    assert_eq!(balances(&database, "public").await, folded(log, 1).await);
    assert_eq!(keeper.rebuilds.switches(MODEL).await.unwrap(), 0);

    let status = keeper.rebuild().await;
    assert!(status.switched_at.is_some() && status.former_kept_until > status.switched_at, "{status:?}");
    assert_eq!(keeper.rebuilds.switches(MODEL).await.unwrap(), 1);
    assert_eq!(balances(&database, "public").await, folded(log, 2).await);
    assert_eq!(balances(&database, "books@old").await, folded(log, 1).await);

    // The serving projection goes on in the new tables, from where they are.
    let before = balances(&database, "public").await;
    deposits(&writer, 7, 7).await;
    keeper.caught_up().await;
    let after = balances(&database, "public").await;
    assert!(before.iter().all(|(account, balance)| after[account] == balance + 1), "{before:?} {after:?}");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_have_the_indexes_constraints_and_rights_of_the_tables_they_replace() {
    let database = books().await;
    let keeper = Keeper::start(&database, Books::times(1), Books::times(1)).await;
    let shape = "SELECT string_agg(concat_ws('|', c.relname, c.relkind, c.relacl, c.reloptions, \
                        pg_get_indexdef(c.oid), \
                        (SELECT string_agg(pg_get_constraintdef(oid), ';' ORDER BY conname) FROM pg_constraint k \
                          WHERE k.conrelid = c.oid)), E'\\n' ORDER BY c.relname) \
                   FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ '^_sqlx' \
                    AND c.relkind IN ('r', 'i')";
    let shape = || sqlx::query_scalar::<_, String>(shape).fetch_one(keeper.replica.log.pool());
    let before = shape().await.unwrap();
    assert!(before.contains("accounts_rich") && before.contains("FOREIGN KEY") && before.contains("CHECK"));
    for _ in 0..2 {
        keeper.rebuild().await;
        assert_eq!(shape().await.unwrap(), before);
    }
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_no_error_and_nothing_missing_while_models_are_rebuilt_and_switched_under_load() {
    let database = books().await;
    let keeper = Arc::new(Keeper::start(&database, Books::times(1), Books::times(1)).await);
    let writer = processor(&database).await;
    deposits(&writer, 50, 50).await;
    keeper.caught_up().await;
    let done = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(50));
    let mut work = tokio::task::JoinSet::new();
    let (stop, count) = (Arc::clone(&done), Arc::clone(&written));
    let serving = keeper.serving.clone();
    work.spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let last = deposits(&writer, 50, 50).await;
            count.fetch_add(50, Ordering::SeqCst);
            serving.wait_for(&last, SOON).await.expect("whoever writes reads it soon");
        }
        0
    });
    for _ in 0..4 {
        work.spawn(read_all_the_time(Arc::clone(&keeper), Arc::clone(&done)));
    }
    for _ in 0..2 {
        keeper.rebuild().await;
        keeper.rebuilds.switch_back(MODEL).await.unwrap();
        keeper.until(RebuildState::Serving).await;
    }
    assert_eq!(keeper.rebuilds.switches(MODEL).await.unwrap(), 4);
    done.store(true, Ordering::Relaxed);
    let reads: usize = work.join_all().await.iter().sum();
    assert!(reads > 0);
    keeper.caught_up().await;
    assert_eq!(balances(&database, "public").await, folded(&keeper.replica.log, 1).await);
    let total: i64 = balances(&database, "public").await.values().sum();
    assert_eq!(total as usize, written.load(Ordering::SeqCst));
    Arc::into_inner(keeper).expect("the readers have ended").stop().await;
}

/// Reads until `done`: every account is there, its entries add up, and its balance never falls. Returns how many reads.
async fn read_all_the_time(keeper: Arc<Keeper>, done: Arc<AtomicBool>) -> usize {
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    let mut reads = 0;
    while !done.load(Ordering::Relaxed) {
        // A prepared statement that is used again and again, over two tables.
        let rows = sqlx::query(
            "SELECT a.account, a.balance, a.doubled, (SELECT sum(e.amount)::bigint FROM entries e \
              WHERE e.account = a.account) FROM accounts a WHERE a.balance > 0",
        )
        .fetch_all(keeper.replica.log.pool())
        .await
        .expect("readers see no error");
        assert_eq!(rows.len(), 50, "an account is missing");
        for row in rows {
            let (account, balance): (String, i64) = (row.get(0), row.get(1));
            assert_eq!((row.get::<i64, _>(2), row.get::<i64, _>(3)), (balance * 2, balance));
            let before = seen.insert(account, balance).unwrap_or(0);
            assert!(before <= balance, "a reader went back in time");
        }
        reads += 1;
    }
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn what_served_before_can_serve_again_and_has_caught_up_by_then() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 60, 3).await;
    let keeper = Keeper::start(&database, Books::times(1), Books::times(1)).await;
    keeper.caught_up().await;
    as_owner(&database, "UPDATE accounts SET note = 'the former'").await;
    assert!(matches!(keeper.rebuilds.switch_back(MODEL).await, Err(RebuildError::NoFormer(MODEL))));
    keeper.rebuild().await;
    let last = deposits(&writer, 60, 3).await;
    keeper.serving.wait_for(&last, SOON).await.unwrap();

    keeper.rebuilds.switch_back(MODEL).await.unwrap();
    let status = keeper.until(RebuildState::Serving).await;
    assert!(status.former_kept_until.is_some(), "the two have changed places");
    let log = &keeper.replica.log;
    let notes: Vec<(i64, String)> =
        sqlx::query_as("SELECT balance, note FROM accounts").fetch_all(log.pool()).await.unwrap();
    assert_eq!(notes, vec![(40, "the former".to_owned()); 3]);
    let last = deposits(&writer, 3, 3).await;
    keeper.serving.wait_for(&last, SOON).await.unwrap();
    assert_eq!(balances(&database, "public").await, folded(log, 1).await);

    // And back again.
    keeper.rebuilds.switch_back(MODEL).await.unwrap();
    keeper.until(RebuildState::Serving).await;
    assert_eq!(balances(&database, "public").await, folded(log, 1).await);
    let notes: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE note = 'the former'")
        .fetch_one(log.pool())
        .await
        .unwrap();
    assert_eq!(notes, 0);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_with_several_statements_keeps_the_switch_out_and_sees_one_version() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 20, 2).await;
    let keeper = Keeper::start(&database, Books::times(1), Books::times(3)).await;
    keeper.caught_up().await;
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
         SET LOCAL idle_in_transaction_session_timeout = 0; {NO_SWITCH}"
    );
    let mut reader = keeper.replica.log.pool().begin_with(sqlx::AssertSqlSafe(begin)).await.unwrap();
    keeper.rebuilds.begin(MODEL).await.unwrap();
    eventually("it is noted that somebody keeps it out", SOON, || async {
        keeper.status().await.problem.filter(|problem| problem.contains("keep the switch out"))
    })
    .await;
    let balance = "SELECT sum(balance)::bigint FROM accounts";
    let entries = "SELECT sum(amount)::bigint FROM entries";
    for sql in [balance, entries] {
        let sum: i64 = sqlx::query_scalar(sql).fetch_one(&mut *reader).await.unwrap();
        assert_eq!(sum, 20);
    }
    reader.commit().await.unwrap();
    let status = keeper.until(RebuildState::Serving).await;
    assert_eq!(status.problem, None);
    assert_eq!(balances(&database, "public").await, folded(&keeper.replica.log, 3).await);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_are_both_asked_fill_one_copy_and_apply_every_event_once() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 900, 9).await;
    let gate = Arc::new(Semaphore::new(0));
    let anew = Books { gate: Some(Arc::clone(&gate)), ..Books::times(1) };
    let replicas = [
        Keeper::start(&database, Books::times(1), anew.clone()).await,
        Keeper::start(&database, Books::times(1), anew.clone()).await,
    ];
    replicas[0].caught_up().await;
    replicas[0].rebuilds.begin(MODEL).await.unwrap();
    replicas[1].rebuilds.begin(MODEL).await.unwrap();
    gate.add_permits(100_000);
    for keeper in &replicas {
        keeper.until(RebuildState::Serving).await;
        assert_eq!(keeper.rebuilds.switches(MODEL).await.unwrap(), 1);
    }
    // An event that was applied twice would break the key of the entries; and the balances say it again.
    assert_eq!(balances(&database, "public").await, folded(&replicas[0].replica.log, 1).await);
    for keeper in replicas {
        keeper.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_rate_and_time_left_are_told_while_it_is_filled_and_it_can_be_abandoned() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 1_000, 10).await;
    let gate = Arc::new(Semaphore::new(0));
    let anew = Books { gate: Some(Arc::clone(&gate)), ..Books::times(1) };
    let keeper = Keeper::start(&database, Books::times(1), anew.clone()).await;
    keeper.caught_up().await;
    assert!(matches!(keeper.rebuilds.abandon(MODEL).await, Err(RebuildError::NotBegun(MODEL))));
    let begun = keeper.rebuilds.begin(MODEL).await.unwrap();
    assert_eq!((begun.state, begun.position, begun.target), (RebuildState::Filling, 0, 1_000));
    gate.add_permits(600);
    let status = eventually("it comes further", SOON, || async {
        let now = keeper.status().await;
        (now.position >= 500).then_some(now)
    })
    .await;
    assert!((500..1_000).contains(&status.position) && status.state == RebuildState::Filling, "{status:?}");
    // The page in flight holds its place until it ends.
    gate.add_permits(1_000);
    let after = keeper.until(RebuildState::Serving).await;
    assert_eq!((after.position, after.target), (0, 0));

    gate.forget_permits(1_000_000);
    keeper.rebuilds.begin(MODEL).await.unwrap();
    gate.add_permits(260);
    eventually("it is filled again", SOON, || async {
        (keeper.status().await.position >= 250).then_some(())
    })
    .await;
    let rebuilds = keeper.rebuilds.clone();
    let abandoning = tokio::spawn(async move { rebuilds.abandon(MODEL).await });
    eventually("it waits for the page in flight", SOON, || async {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                    AND query LIKE 'DELETE FROM eventsourcing.checkpoints%'";
        let waits: Option<i32> =
            sqlx::query_scalar(sql).fetch_optional(keeper.replica.log.pool()).await.unwrap();
        waits.map(drop)
    })
    .await;
    gate.add_permits(10_000);
    assert_eq!(abandoning.await.unwrap().unwrap().state, RebuildState::Serving);
    eventually("nothing is left of it", SOON, || async {
        (schemas(&database).await == ["books@old"]).then_some(())
    })
    .await;
    assert_eq!(balances(&database, "public").await, folded(&keeper.replica.log, 1).await);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_version_is_removed_when_its_time_is_over() {
    let database = books().await;
    let writer = processor(&database).await;
    deposits(&writer, 20, 2).await;
    let keeper = Keeper::start(&database, Books::times(1), Books::times(1)).await;
    keeper.rebuild().await;
    assert_eq!(schemas(&database).await, ["books@old"]);
    as_owner(&database, "UPDATE eventsourcing.rebuilds SET former_kept_until = now() - interval '1 second'")
        .await;
    eventually("it is removed", SOON, || async { schemas(&database).await.is_empty().then_some(()) }).await;
    assert!(matches!(keeper.rebuilds.switch_back(MODEL).await, Err(RebuildError::NoFormer(MODEL))));
    assert_eq!(keeper.status().await.former_kept_until, None);
    keeper.stop().await;
}
