//! Two batches with the database at once: the second is decided on the states of the first before that is durable.
//! Whatever becomes of the first, no command may be lost, done twice or decided on what never happened.

mod support;

use std::time::Duration;

use eventsourcing::*;
use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use support::*;

/// So many at once are appended in two halves, whatever comes in between.
const CROWD: i64 = 600;

/// Deposits of 1, all at once; each has to succeed.
async fn deposit_all(commands: &CommandProcessor, stream: &StreamId, count: i64) -> Vec<u64> {
    let all = (0..count).map(|_| commands.execute(deposit(stream, 1), context()));
    let mut versions: Vec<u64> =
        join_all(all).await.into_iter().map(|answer| answer.expect("a deposit succeeds").reply).collect();
    versions.sort_unstable();
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_stand_on_a_batch_in_flight_see_its_events() {
    let database = database().await;
    let commands = processor(&database).await;
    let stream = account("hot");
    let versions = deposit_all(&commands, &stream, CROWD).await;
    assert_eq!(versions, (1..=CROWD as u64).collect::<Vec<_>>());
    assert_eq!(balance(commands.log(), &stream).await, Balance { balance: CROWD, events: CROWD });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_on_a_batch_that_another_process_made_stale_is_decided_anew() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let stream = account("contested");
    let (mut versions, others) =
        tokio::join!(deposit_all(&one, &stream, CROWD), deposit_all(&other, &stream, CROWD));
    versions.extend(others);
    versions.sort_unstable();
    assert_eq!(versions, (1..=2 * CROWD as u64).collect::<Vec<_>>(), "every version is answered once");
    let folded = balance(&open(&database).await, &stream).await;
    assert_eq!(folded, Balance { balance: 2 * CROWD, events: 2 * CROWD });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_cannot_be_stored_is_refused_alone_and_takes_no_batch_with_it() {
    let database = database().await;
    let commands = processor(&database).await;
    let stream = account("shared");
    let endless = account("x".repeat(300));
    let all = (0..CROWD).map(|n| {
        let stream = if n == CROWD / 4 { &endless } else { &stream };
        commands.execute(deposit(stream, 1), context())
    });
    let answers = join_all(all).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(ExecuteError::Refused(_)))).count();
    let succeeded = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((refused, succeeded as i64), (1, CROWD - 1));
    assert_eq!(balance(commands.log(), &stream).await.balance, CROWD - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_with_two_batches_in_flight_lose_and_double_nothing() {
    let database = database().await;
    let commands = processor(&database).await;
    let stream = account("cut");
    deposit_all(&commands, &stream, 1).await;
    let mut admin = PgConnection::connect(database.admin_url()).await.expect("an administrator connects");
    let cut = async {
        let mut cuts = 0;
        while cuts < 5 {
            let killed: Vec<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND query LIKE '%eventlog.append%' \
                    AND pid <> pg_backend_pid() AND state = 'active'",
            )
            .fetch_all(&mut admin)
            .await
            .expect("connections are cut");
            cuts += usize::from(!killed.is_empty());
            tokio::task::yield_now().await;
        }
    };
    let work = async {
        let mut done = 0;
        loop {
            deposit_all(&commands, &stream, CROWD).await;
            done += CROWD;
            if balance(commands.log(), &stream).await.balance != done + 1 {
                return Err(done);
            }
            if done >= 5 * CROWD {
                return Ok(done);
            }
        }
    };
    // The work goes on while connections are cut, and is complete whenever the cutting ends.
    let (done, _) = tokio::join!(work, tokio::time::timeout(Duration::from_secs(5), cut));
    assert_eq!(done, Ok(5 * CROWD), "every deposit is there once");
}

/// A deposit to an account that the caller believes to be new.
struct First(StreamId);

impl Operation for First {
    type Reply = u64;
    type Rejection = AccountError;

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<AccountError>> {
        view.presume_new::<Account>(&self.0);
        view.decide::<Account>(&self.0, &AccountCommand::Deposit { amount: 1, note: String::new() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_presumed_new_and_is_not_is_decided_on_as_it_is() {
    let database = database().await;
    let (one, other) = (processor(&database).await, processor(&database).await);
    let version = async |commands: &CommandProcessor, key: &str| {
        commands.execute(First(account(key)), context()).await.expect("a deposit succeeds").reply
    };
    assert_eq!(version(&one, "old").await, 1, "it is new indeed");
    assert_eq!(version(&other, "old").await, 2, "another process made it");
    assert_eq!(version(&other, "old").await, 3, "it is in memory by now");
    // Some are new and some are not, all at once.
    let answers = join_all((0..CROWD).map(|n| other.execute(First(account(n % 100)), context()))).await;
    assert!(answers.iter().all(Result::is_ok));
    let others = join_all((0..CROWD).map(|n| one.execute(First(account(n % 200)), context()))).await;
    assert!(others.iter().all(Result::is_ok));
    let log = open(&database).await;
    for key in 0..200 {
        let expected = if key < 100 { CROWD / 100 + CROWD / 200 } else { CROWD / 200 };
        assert_eq!(balance(&log, &account(key)).await.events, expected, "account {key}");
    }
}
