//! The four guarantees of the event log, each with a test that fails when it is broken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eventsourcing::*;
use sqlx::{Connection, Executor, PgConnection};
use support::*;
use testkit::SOON;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

// Guarantee 1: optimistic concurrency.

#[tokio::test]
async fn of_many_commands_that_expect_the_same_version_one_wins() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let stream = account("contested");
    for round in 0..20 {
        let attempts = (0..10).map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let operation = Decide { expected_version: Some(round), ..deposit(&stream, 1) };
            tokio::spawn(async move { processor.execute(operation, context()).await })
        });
        let mut won = 0;
        for attempt in attempts.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(_) => won += 1,
                Err(ExecuteError::StaleVersion { expected, .. }) => assert_eq!(expected, round),
                Err(other) => panic!("neither won nor stale: {other}"),
            }
        }
        assert_eq!(won, 1, "in round {round}");
    }
}

#[tokio::test]
async fn two_processors_on_one_database_never_overdraw_an_account() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let stream = account("shared");
    one.execute(deposit(&stream, 100), context()).await.unwrap();
    let withdrawals: Vec<_> = (0..300)
        .map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let operation = withdraw(&stream, 1);
            tokio::spawn(async move { processor.execute(operation, context()).await })
        })
        .collect();
    let mut paid = 0;
    for withdrawal in withdrawals {
        match withdrawal.await.unwrap() {
            Ok(_) => paid += 1,
            Err(ExecuteError::Rejected { rejection: AccountError::Overdrawn { balance }, .. }) => {
                assert_eq!(balance, 0, "refused although there was money");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(paid, 100);
    assert_eq!(balance(one.log(), &stream).await.balance, 0);
}

#[tokio::test]
async fn a_refusal_from_memory_is_checked_against_what_another_replica_made_legal() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let stream = account("refilled");
    one.execute(deposit(&stream, 1), context()).await.unwrap();
    // `one` remembers a balance of 1; `other` raises it.
    other.execute(deposit(&stream, 10), context()).await.unwrap();
    one.execute(withdraw(&stream, 11), context()).await.expect("the balance is 11");
}

#[tokio::test]
async fn an_operation_over_two_streams_happens_to_both_or_to_none() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let accounts: Vec<_> = (0..5).map(account).collect();
    for stream in &accounts {
        one.execute(deposit(stream, 20), context()).await.unwrap();
    }
    let transfers: Vec<_> = (0..400)
        .map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let (from, to) = (accounts[i % 5].clone(), accounts[(i / 5 + i + 1) % 5].clone());
            let amount = i as i64 % 13 + 1;
            tokio::spawn(async move {
                if from == to {
                    return;
                }
                match processor.execute(Transfer { from, to, amount }, context()).await {
                    Ok(_) | Err(ExecuteError::Rejected { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            })
        })
        .collect();
    for transfer in transfers {
        transfer.await.unwrap();
    }
    let mut total = 0;
    for stream in &accounts {
        let balance = balance(one.log(), stream).await.balance;
        assert!(balance >= 0, "{stream} is overdrawn");
        total += balance;
    }
    assert_eq!(total, 100, "money appeared or vanished");
}

#[tokio::test]
async fn a_rejected_operation_leaves_nothing_in_any_of_its_streams() {
    let database = database().await;
    let processor = processor(&database).await;
    let (poor, rich) = (account("poor"), account("rich"));
    let refused = processor
        .execute(Transfer { from: poor.clone(), to: rich.clone(), amount: 1 }, context())
        .await
        .unwrap_err();
    assert!(matches!(refused, ExecuteError::Rejected { .. }));
    // The next command on the same cached stream must not see the refused deposit either.
    assert_eq!(processor.execute(deposit(&rich, 5), context()).await.unwrap().reply, 1);
    assert_eq!(balance(processor.log(), &rich).await.balance, 5);
}

#[tokio::test]
async fn change_and_removal_are_refused_even_to_the_owner_and_appending_by_hand_to_the_service() {
    let database = database().await;
    let processor = processor(&database).await;
    processor.execute(deposit(&account("kept"), 1), context()).await.unwrap();
    let mut owner = PgConnection::connect(database.admin_url()).await.unwrap();
    for sql in [
        "UPDATE eventlog.events SET data = '{}'",
        "DELETE FROM eventlog.events",
        "TRUNCATE eventlog.events",
        "UPDATE eventlog.command_results SET outcome = '{}'",
        "TRUNCATE eventlog.command_results",
    ] {
        let error = owner.execute(sql).await.expect_err(sql).to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    let mut service = PgConnection::connect(database.url()).await.unwrap();
    for sql in [
        "UPDATE eventlog.events SET data = '{}'",
        "DELETE FROM eventlog.events",
        "DELETE FROM eventlog.command_results",
        "INSERT INTO eventlog.events (stream_id, version, event_id, command_id, type, schema_version, data, metadata) \
         VALUES ('account-x', 1, gen_random_uuid(), gen_random_uuid(), 'Deposited', 1, '{}', '{}')",
        "ALTER TABLE eventlog.events DISABLE TRIGGER append_only",
        "UPDATE eventlog.identity SET incarnation = 9",
    ] {
        service.execute(sql).await.expect_err(sql);
    }
    assert_eq!(processor.log().read_after(0, 10).await.unwrap().len(), 1);
}

// Guarantee 2: total order.

/// Writers that commit late, roll back, run long and are cut off, beside a reader that tails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tailing_reader_sees_every_event_once_and_in_stream_order_whatever_writers_do() {
    const EVENTS: usize = 100_000;
    let database = database().await;
    let log = open(&database).await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let done = Arc::new(AtomicBool::new(false));

    // A transaction that stays open over the whole run and sees an old snapshot of everything.
    let mut long = PgConnection::connect(database.admin_url()).await.unwrap();
    long.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM eventlog.events")
        .await
        .unwrap();

    let reader = {
        let (log, done) = (log.clone(), done.clone());
        tokio::spawn(async move {
            let (mut position, mut seen) = (0, std::collections::HashMap::<String, u64>::new());
            let mut count = 0_usize;
            loop {
                let finished = done.load(Ordering::SeqCst);
                let events = log.read_after(position, 777).await.unwrap();
                if events.is_empty() && finished {
                    return count;
                }
                for event in events {
                    assert!(event.position > position, "a position came back");
                    position = event.position;
                    let version = seen.entry(event.stream_id.to_string()).or_default();
                    assert_eq!(event.version, *version + 1, "skipped or doubled in {}", event.stream_id);
                    *version = event.version;
                    count += 1;
                }
            }
        })
    };
    let calm = Arc::new(AtomicBool::new(false));
    let disturber = tokio::spawn(disturb(database.admin_url().to_owned(), calm.clone()));

    let appended = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let writers: Vec<_> = (0..64)
        .map(|writer: usize| {
            let processor = if writer.is_multiple_of(2) { one.clone() } else { other.clone() };
            let appended = appended.clone();
            tokio::spawn(async move {
                let mut i = 0;
                while appended.load(Ordering::Relaxed) < EVENTS {
                    // A few streams are shared by both processors, most belong to one writer.
                    let stream =
                        if i % 50 == 0 { account(format!("hot-{}", i % 3)) } else { account(writer) };
                    let (events, operation) = (10, Deposits { stream, count: 10 });
                    match processor.execute(operation, context()).await {
                        Ok(_) => drop(appended.fetch_add(events, Ordering::Relaxed)),
                        Err(error) if error.is_transient() => {}
                        Err(error) => panic!("{error}"),
                    }
                    i += 1;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    calm.store(true, Ordering::SeqCst);
    let (rolled_back, cut_off) = disturber.await.unwrap();
    done.store(true, Ordering::SeqCst);
    let seen = reader.await.unwrap();
    long.execute("COMMIT").await.unwrap();
    let mut owner = PgConnection::connect(database.admin_url()).await.unwrap();
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM eventlog.events").fetch_one(&mut owner).await.unwrap();
    assert!(seen >= EVENTS);
    assert_eq!(seen as i64, stored, "the reader missed events");
    assert!(rolled_back > 0 && cut_off > 0, "the writers were not disturbed");
    let last: i64 =
        sqlx::query_scalar("SELECT max(position) FROM eventlog.events").fetch_one(&mut owner).await.unwrap();
    assert!(last > stored, "rollbacks left no holes, so nothing was tried");
}

/// Appends that hold their transaction open before they commit or roll back, and processors that lose their
/// connection. Returns how many of each.
async fn disturb(url: String, done: Arc<AtomicBool>) -> (u32, u32) {
    let mut slow = PgConnection::connect(&url).await.unwrap();
    let mut executioner = PgConnection::connect(&url).await.unwrap();
    let (mut rolled_back, mut cut_off) = (0, 0);
    for round in 0_u32.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let append = format!(
            "SELECT last_position FROM eventlog.append(ARRAY['disturber'], ARRAY['{}'::uuid], ARRAY['\\x00'::bytea], \
             ARRAY['{{}}'], ARRAY[true], ARRAY['account-slow-{round}'], ARRAY[0::bigint], \
             ARRAY['account-slow-{round}'], ARRAY[1::bigint], ARRAY['{}'::uuid], ARRAY['{}'::uuid], \
             ARRAY['Deposited'], ARRAY[1::smallint], ARRAY['{{\"amount\":1,\"note\":\"\"}}'], ARRAY['{{\"correlation_id\":\"\",\"actor\":\"\"}}'])",
            Uuid::new_v4(),
            Uuid::new_v4(),
            Uuid::new_v4(),
        );
        slow.execute("BEGIN").await.unwrap();
        slow.execute(sqlx::AssertSqlSafe(append)).await.unwrap();
        // The transaction that drew the lower positions ends late.
        slow.execute("SELECT pg_sleep(0.02)").await.unwrap();
        if round % 2 == 0 {
            slow.execute("ROLLBACK").await.unwrap();
            rolled_back += 1;
        } else {
            slow.execute("COMMIT").await.unwrap();
        }
        if round % 5 == 0 {
            let cut: i64 = sqlx::query_scalar(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND application_name = 'ledger' \
                    AND query LIKE '%eventlog.append%'",
            )
            .fetch_one(&mut executioner)
            .await
            .unwrap();
            cut_off += cut as u32;
        }
    }
    (rolled_back, cut_off)
}

#[tokio::test]
async fn what_another_process_appends_becomes_known_without_being_told() {
    let database = database().await;
    let (log, elsewhere) = (open(&database).await, processor(&database).await);
    let stop = CancellationToken::new();
    tokio::spawn(log.clone().follow(stop.clone()));
    let mut head = log.watch_head();
    let committed = elsewhere.execute(deposit(&account("a"), 1), context()).await.unwrap();
    tokio::time::timeout(SOON, head.wait_for(|head| *head >= committed.position.number))
        .await
        .unwrap()
        .unwrap();
    stop.cancel();
}

// Guarantee 3: idempotency.

#[tokio::test]
async fn the_same_command_a_hundred_times_at_once_happens_once_and_all_get_the_same_answer() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let (stream, id) = (account("clicked"), Uuid::now_v7());
    let clicks: Vec<_> = (0..100)
        .map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let operation = deposit(&stream, 5);
            tokio::spawn(async move { processor.execute(operation, context_of(id)).await })
        })
        .collect();
    let mut first = 0;
    for click in clicks {
        let answer = click.await.unwrap().unwrap();
        assert_eq!(answer.reply, 1);
        first += usize::from(!answer.replayed);
    }
    assert_eq!(first, 1);
    assert_eq!(balance(one.log(), &stream).await.balance, 5);
}

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer_from_a_new_process_too_also_when_that_was_a_refusal() {
    let database = database().await;
    let (stream, id) = (account("poor"), Uuid::now_v7());
    let first = processor(&database).await.execute(withdraw(&stream, 5), context_of(id)).await.unwrap_err();
    assert!(matches!(first, ExecuteError::Rejected { replayed: false, .. }));

    let restarted = processor(&database).await;
    restarted.execute(deposit(&stream, 100), context()).await.unwrap();
    let repeated = restarted.execute(withdraw(&stream, 5), context_of(id)).await.unwrap_err();
    let ExecuteError::Rejected { rejection, replayed, .. } = repeated else { panic!("{repeated}") };
    assert!(replayed);
    assert_eq!(rejection, AccountError::Overdrawn { balance: 0 }, "the answer of then and not of now");
}

#[tokio::test]
async fn a_used_command_id_with_another_request_is_an_error_and_in_another_scope_another_command() {
    let database = database().await;
    let processor = processor(&database).await;
    let (stream, id) = (account("a"), Uuid::now_v7());
    processor.execute(deposit(&stream, 5), context_of(id)).await.unwrap();

    let other_request = CommandContext { request_hash: [8; 32], ..context_of(id) };
    let refused = processor.execute(deposit(&stream, 6), other_request).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::RequestIdReused));

    let other_scope = CommandContext { scope: "somebody else".into(), ..context_of(id) };
    assert!(!processor.execute(deposit(&stream, 5), other_scope).await.unwrap().replayed);
    assert_eq!(balance(processor.log(), &stream).await.balance, 10);
}

#[tokio::test]
async fn an_outdated_expectation_is_not_stored_but_a_success_before_it_is_replayed() {
    let database = database().await;
    let processor = processor(&database).await;
    let (stream, id) = (account("a"), Uuid::now_v7());
    let expecting = |version| Decide { expected_version: Some(version), ..deposit(&stream, 1) };

    let stale = processor.execute(expecting(3), context_of(id)).await.unwrap_err();
    assert!(matches!(stale, ExecuteError::StaleVersion { expected: 3, actual: 0 }));
    processor.execute(expecting(0), context_of(id)).await.expect("the refusal before was not stored");
    let repeated = processor.execute(expecting(0), context_of(id)).await.unwrap();
    assert!(repeated.replayed, "the version has moved on, but this command was carried out");
}

#[tokio::test]
async fn answers_to_clients_are_forgotten_after_their_time_and_derived_ones_never() {
    let database = database().await;
    let processor = processor(&database).await;
    let stream = account("a");
    processor.execute(deposit(&stream, 1), context()).await.unwrap();
    let derived = CommandContext::derived("tests", Uuid::now_v7(), 0, Metadata::default());
    processor.execute(deposit(&stream, 1), derived.clone()).await.unwrap();

    let log = processor.log();
    assert!(log.forget_command_results(Duration::from_secs(6 * 86_400)).await.is_err(), "too soon");
    // The clock is the database's; the rows are made old behind the log's back.
    let mut owner = PgConnection::connect(database.admin_url()).await.unwrap();
    owner
        .execute(
            "ALTER TABLE eventlog.command_results DISABLE TRIGGER append_only; \
             UPDATE eventlog.command_results SET recorded_at = now() - interval '8 days'; \
             ALTER TABLE eventlog.command_results ENABLE TRIGGER append_only",
        )
        .await
        .unwrap();
    assert_eq!(log.forget_command_results(Duration::from_secs(7 * 86_400)).await.unwrap(), 1);
    assert!(processor.execute(deposit(&stream, 1), derived).await.unwrap().replayed);
}

#[tokio::test]
async fn commands_survive_the_loss_of_the_connection_in_the_middle_and_happen_once() {
    let database = database().await;
    let processor = processor(&database).await;
    let stream = account("shaken");
    let mut executioner = PgConnection::connect(database.admin_url()).await.unwrap();
    let ids: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
    let commands: Vec<_> = ids
        .iter()
        .map(|id| {
            let (processor, operation, context) = (processor.clone(), deposit(&stream, 1), context_of(*id));
            tokio::spawn(async move { processor.execute(operation, context).await })
        })
        .collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(300) {
        executioner
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND application_name = 'ledger'",
            )
            .await
            .unwrap();
    }
    for command in commands {
        command.await.unwrap().expect("it is submitted again until it is answered");
    }
    assert_eq!(balance(&open(&database).await, &stream).await.balance, 200);
}

// Guarantee 4: durability.

#[tokio::test]
async fn an_append_that_would_not_be_durable_is_refused() {
    let database = database().await;
    let mut careless = PgConnection::connect(database.url()).await.unwrap();
    careless.execute("SET synchronous_commit = off").await.unwrap();
    let append = "SELECT last_position FROM eventlog.append('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', \
                  '{}', '{}', '{}', '{}', '{}', '{}')";
    let refused = careless.execute(append).await.unwrap_err().to_string();
    assert!(refused.contains("durable"), "{refused}");
    careless.execute("SET synchronous_commit = on").await.unwrap();
    careless.execute(append).await.unwrap();
}
