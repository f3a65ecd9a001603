//! What checks run on: a log in a throwaway database that a mutation may have tampered with, and a way to say what is
//! wrong without panicking.

use std::time::{Duration, Instant};

use eventsourcing::{CommandProcessor, EventLog};
use futures::future::LocalBoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::{Cluster, SOON, TestDatabase};
use tokio::sync::Mutex;

use crate::support;

/// A broken guarantee, in words.
#[derive(Debug)]
pub struct Violation(pub String);

impl<E: std::error::Error> From<E> for Violation {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The outcome of a check.
pub type Verdict = Result<(), Violation>;
/// A guarantee, ready to be tried.
pub type Check = for<'a> fn(&'a Harness) -> LocalBoxFuture<'a, Verdict>;

/// Returns a violation unless the condition holds.
macro_rules! hold {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::harness::Violation(format!($($why)+)));
        }
    };
}

/// Makes a test of each check, in which it must find nothing.
macro_rules! hold_on_a_sound_log {
    ($($check:ident),+ $(,)?) => {
        mod sound {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let harness = $crate::harness::Harness::new().await;
                    super::$check(&harness).await.unwrap();
                }
            )+
        }
    };
}

/// What a test's own parts do wrong on purpose, where a mutation of the database would not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrong {
    #[default]
    Nothing,
    /// A reactor takes command ids by chance.
    RandomCommandIds,
    /// A projection writes beside the transaction that it is given.
    EffectOutsideOfTransaction,
    /// Every message has a key of its own.
    KeyPerMessage,
}

/// A log to try.
pub struct Harness {
    pub database: TestDatabase,
    /// The server, where it is the test's own.
    pub cluster: Option<Mutex<Cluster>>,
    pub wrong: Wrong,
    /// Events that a check goes through which needs many.
    pub events: usize,
    /// Longest wait for something that should come at once.
    pub patience: Duration,
}

/// Enough for every disturbance to come many times.
const EVENTS: usize = 30_000;

impl Harness {
    /// On the server that all tests share.
    pub async fn new() -> Self {
        Self::over(support::database().await, None)
    }

    /// On a server of its own.
    pub async fn with_cluster(settings: &'static [&'static str]) -> Self {
        let cluster = Cluster::start_with(settings).await;
        let database = TestDatabase::on(&cluster.url(), support::LOG, support::MIGRATIONS).await;
        Self::over(database, Some(Mutex::new(cluster)))
    }

    fn over(database: TestDatabase, cluster: Option<Mutex<Cluster>>) -> Self {
        Self { database, cluster, wrong: Wrong::Nothing, events: EVENTS, patience: SOON }
    }

    pub async fn open(&self) -> EventLog {
        support::open(&self.database).await
    }

    pub async fn processor(&self) -> CommandProcessor {
        support::processor(&self.database).await
    }

    /// A connection that may do everything.
    pub async fn owner(&self) -> PgConnection {
        PgConnection::connect(self.database.admin_url()).await.unwrap()
    }

    /// Runs statements as the owner.
    pub async fn tamper(&self, sql: &str) {
        let mut owner = self.owner().await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await.unwrap();
    }

    /// Waits until the condition gives a value.
    pub async fn within<T>(
        &self,
        what: &str,
        mut condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Violation> {
        let started = Instant::now();
        loop {
            if let Some(value) = condition().await {
                return Ok(value);
            }
            hold!(started.elapsed() < self.patience, "not within {:?}: {what}", self.patience);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Ends sessions of services in the current database.
pub const CUT_OFF: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                            WHERE datname = current_database() AND application_name = 'ledger'";
