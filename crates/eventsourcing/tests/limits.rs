//! Limits of the event log, and what happens to commands and databases that it cannot take.

mod support;

use eventsourcing::*;
use sqlx::{Connection, Executor, PgConnection};
use support::*;
use testkit::{SOON, eventually};

#[tokio::test]
async fn a_command_that_cannot_be_stored_is_refused_alone() {
    let database = database().await;
    let processor = processor(&database).await;
    let stream = account("a");
    let too_long = account("x".repeat(300));
    let poison = AccountCommand::Deposit { amount: 1, note: "a \0 is no text in PostgreSQL".into() };
    let poison = Decide::<Account> { stream: account("b"), command: poison, expected_version: None };
    let answers = futures_join(vec![
        Box::pin(processor.execute(deposit(&stream, 1), context())),
        Box::pin(processor.execute(poison, context())),
        Box::pin(processor.execute(deposit(&too_long, 1), context())),
        Box::pin(processor.execute(deposit(&stream, 1), context())),
    ])
    .await;
    assert!(answers[0].is_ok() && answers[3].is_ok());
    for refused in [&answers[1], &answers[2]] {
        assert!(matches!(refused, Err(ExecuteError::Refused(_))), "{refused:?}");
    }
}

type Answer<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<Committed<u64>, ExecuteError<AccountError>>> + 'a>>;

async fn futures_join(futures: Vec<Answer<'_>>) -> Vec<Result<Committed<u64>, ExecuteError<AccountError>>> {
    futures::future::join_all(futures).await
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_stops_its_own_commands_only() {
    let database = database().await;
    let mut owner = PgConnection::connect(database.admin_url()).await.unwrap();
    owner
        .execute(
            "INSERT INTO eventlog.events (stream_id, version, event_id, command_id, type, schema_version, data, \
             metadata) VALUES ('account-broken', 1, gen_random_uuid(), gen_random_uuid(), 'Deposited', 9, '{}', \
             '{\"correlation_id\":\"\",\"actor\":\"\"}')",
        )
        .await
        .unwrap();
    let processor = processor(&database).await;
    let (broken, sound) = (account("broken"), account("sound"));
    let (refused, accepted) = tokio::join!(
        processor.execute(deposit(&broken, 1), context()),
        processor.execute(deposit(&sound, 1), context()),
    );
    assert!(matches!(refused, Err(ExecuteError::Corrupt(_))), "{refused:?}");
    accepted.unwrap();
}

#[tokio::test]
async fn a_full_queue_says_so_instead_of_growing() {
    let database = database().await;
    let options = ProcessorOptions { queue: 2, ..ProcessorOptions::default() };
    let processor = CommandProcessor::start(open(&database).await, options);
    let stream = account("a");
    let flood = (0..50).map(|_| processor.execute(deposit(&stream, 1), context()));
    let answers = futures::future::join_all(flood).await;
    assert!(answers.iter().any(|a| matches!(a, Err(ExecuteError::Overloaded))));
    assert!(answers.iter().any(Result::is_ok));
}

#[tokio::test]
async fn long_streams_are_loaded_from_a_snapshot_and_give_the_same_state() {
    let database = database().await;
    let stream = account("long");
    let writer = processor(&database).await;
    for _ in 0..12 {
        writer.execute(Deposits { stream: stream.clone(), count: 10 }, context()).await.unwrap();
    }
    let log = writer.log().clone();
    let version: i64 = eventually("a snapshot is taken", SOON, || async {
        sqlx::query_scalar("SELECT version FROM eventsourcing.snapshots WHERE version >= 100")
            .fetch_optional(log.pool())
            .await
            .unwrap()
    })
    .await;
    assert!((100..=120).contains(&version));
    let cold = processor(&database).await;
    let balance = balance(&log, &stream).await.balance;
    cold.execute(withdraw(&stream, balance), context()).await.expect("all of it is there");
    let refused = cold.execute(withdraw(&stream, 1), context()).await;
    assert!(matches!(
        refused,
        Err(ExecuteError::Rejected { rejection: AccountError::Overdrawn { balance: 0 }, .. })
    ));
}

#[tokio::test]
async fn a_database_of_another_log_or_without_one_is_refused_with_the_reason() {
    let database = database().await;
    let wrong = EventLog::open(LogOptions::new("payroll", database.url())).await.err().unwrap();
    assert!(matches!(wrong, OpenError::AnotherLog { .. }), "{wrong}");
    let mut owner = PgConnection::connect(database.admin_url()).await.unwrap();
    owner.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1700, 'later', true, '\\x00', 0)").await.unwrap();
    let newer = migrate(database.admin_url(), LOG, None, MIGRATIONS).await.unwrap_err();
    assert!(matches!(newer, MigrateError::Newer { version: 1700, .. }), "{newer}");
    assert!(newer.to_string().contains("newer version"));
}
