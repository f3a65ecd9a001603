//! A read model of the ledger with everything that a table can have, and the replicas that keep it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventsourcing::*;
use futures::StreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::{SOON, TestDatabase, eventually};
use tokio::sync::Semaphore;

use crate::support::*;

/// Commands under way at the same time.
const AT_ONCE: usize = 16;
/// A rebuild makes way for others, and the machine may be full of them.
const REBUILT: Duration = Duration::from_secs(180);

pub const MODEL: &str = "books";
pub const TABLES: &[&str] = &["accounts", "entries"];
const MIGRATIONS: Migrations = &[(
    "books",
    "CREATE TABLE accounts (
         account text COLLATE \"C\" PRIMARY KEY,
         balance bigint NOT NULL,
         doubled bigint GENERATED ALWAYS AS (balance * 2) STORED,
         note    text   NOT NULL DEFAULT 'none',
         CONSTRAINT bounded CHECK (balance < 1000000)
     ) WITH (fillfactor = 70);
     CREATE INDEX accounts_rich ON accounts (balance DESC) WHERE balance > 3;
     CREATE TABLE entries (
         place    bigint GENERATED ALWAYS AS IDENTITY,
         account  text   COLLATE \"C\" NOT NULL REFERENCES accounts,
         position bigint NOT NULL,
         amount   bigint NOT NULL,
         PRIMARY KEY (account, position)
     );
     CREATE UNIQUE INDEX entries_position ON entries (position);",
)];

/// Keeps accounts and their entries. Each amount counts `factor` times, so that versions can be told apart.
#[derive(Clone)]
pub struct Books {
    pub factor: i64,
    pub poison: Arc<Mutex<HashSet<String>>>,
    pub applied: Arc<AtomicUsize>,
    /// Only so many messages are let through.
    pub gate: Option<Arc<Semaphore>>,
}

impl Books {
    pub fn times(factor: i64) -> Self {
        Self { factor, poison: Arc::default(), applied: Arc::default(), gate: None }
    }

    pub fn poisoned_by(self, key: &str) -> Self {
        self.poison.lock().unwrap().insert(key.to_owned());
        self
    }

    pub fn mend(&self) {
        self.poison.lock().unwrap().clear();
    }

    pub fn applied(&self) -> usize {
        self.applied.load(Ordering::SeqCst)
    }
}

impl Projection for Books {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        MODEL
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("it is never closed").forget();
        }
        if self.poison.lock().unwrap().contains(event.stream_id.key()) {
            return Err(HandlerError::Poison("this cannot be".into()));
        }
        let amount = match event.decode::<Account>()? {
            Some(AccountEvent::Deposited { amount, .. }) => amount,
            Some(AccountEvent::Withdrawn { amount }) => -amount,
            None => return Ok(()),
        };
        sqlx::query(
            "INSERT INTO accounts (account, balance) VALUES ($1, $2) \
             ON CONFLICT (account) DO UPDATE SET balance = accounts.balance + excluded.balance",
        )
        .bind(event.stream_id.key())
        .bind(amount * self.factor)
        .execute(&mut *connection)
        .await?;
        sqlx::query("INSERT INTO entries (account, position, amount) VALUES ($1, $2, $3)")
            .bind(event.stream_id.key())
            .bind(event.position)
            .bind(amount * self.factor)
            .execute(connection)
            .await?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A replica that keeps the model, and can make it anew.
pub struct Keeper {
    pub replica: Replica,
    pub serving: SubscriptionHandle,
    pub rebuilds: Rebuilds,
}

pub async fn books() -> TestDatabase {
    TestDatabase::new(LOG, MIGRATIONS).await
}

impl Keeper {
    /// Serves what `serving` makes of the events, and rebuilds with `anew`.
    pub async fn start(database: &TestDatabase, serving: Books, anew: Books) -> Self {
        Self::start_with(database, serving, |log| {
            vec![ReadModel::new(MODEL, TABLES).fed_by(Arc::new(log.clone()), anew)]
        })
        .await
    }

    pub async fn start_with(
        database: &TestDatabase,
        serving: Books,
        models: impl FnOnce(&EventLog) -> Vec<ReadModel>,
    ) -> Self {
        let replica = Replica::start(database).await;
        let options = SubscriptionOptions { attempts: 1, ..SubscriptionOptions::default() };
        let feed = Arc::new(replica.log.clone());
        let serving = replica.subscriptions.project_with(feed, serving, options).await.unwrap();
        let rebuilds = Rebuilds::start(&replica.log, &replica.subscriptions, models(&replica.log));
        Self { replica, serving, rebuilds }
    }

    pub async fn status(&self) -> RebuildStatus {
        self.rebuilds.status(MODEL).await.unwrap()
    }

    pub async fn until(&self, wanted: RebuildState) -> RebuildStatus {
        let what = format!("the model comes to {wanted:?}");
        eventually(&what, REBUILT, || async { Some(self.status().await).filter(|now| now.state == wanted) })
            .await
    }

    /// Rebuilds the model to the end.
    pub async fn rebuild(&self) -> RebuildStatus {
        self.rebuilds.begin(MODEL).await.unwrap();
        self.until(RebuildState::Serving).await
    }

    pub async fn caught_up(&self) {
        let head = self.replica.log.head().await.unwrap();
        self.serving.wait_for(&self.replica.log.position(head), SOON).await.unwrap();
    }

    pub async fn stop(self) {
        self.replica.stop().await;
    }
}

/// Deposits one each, in turn, in so many accounts.
pub async fn deposits(writer: &CommandProcessor, count: usize, accounts: usize) -> Position {
    let committed = futures::stream::iter(0..count)
        .map(|i| async move { writer.execute(deposit(&account(i % accounts), 1), context()).await.unwrap() })
        .buffer_unordered(AT_ONCE);
    let positions: Vec<Position> = committed.map(|committed| committed.position).collect().await;
    positions.into_iter().max_by_key(|position| position.number).unwrap()
}

/// The balances as readers see them, or in another schema.
pub async fn balances(database: &TestDatabase, schema: &str) -> BTreeMap<String, i64> {
    let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
    let sql = format!("SELECT account, balance FROM \"{schema}\".accounts");
    let rows: Vec<(String, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.into_iter().collect()
}

/// What the events of the log come to.
pub async fn folded(log: &EventLog, factor: i64) -> BTreeMap<String, i64> {
    let mut balances = BTreeMap::new();
    for event in testkit::read_everything(log, 0).await.unwrap().messages {
        let amount = match event.decode::<Account>().unwrap().unwrap() {
            AccountEvent::Deposited { amount, .. } => amount,
            AccountEvent::Withdrawn { amount } => -amount,
        };
        *balances.entry(event.stream_id.key().to_owned()).or_insert(0) += amount * factor;
    }
    balances
}

/// Runs statements as the owner of the database.
pub async fn as_owner(database: &TestDatabase, sql: &'static str) {
    let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

/// Schemas beside those that are always there.
pub async fn schemas(database: &TestDatabase) -> Vec<String> {
    let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
    let sql = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE '%@%' ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
}
