//! cqrs-es with postgres-es: `execute_with_metadata` without snapshots, `persist` for a bare append, `QueryReplay`. It has
//! no subscription: queries are called in the process after a commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::anyhow;
use async_trait::async_trait;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, QueryReplay, SerializedEvent};
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventEnvelope, Query};
use postgres_es::{PostgresCqrs, PostgresEventRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::deposit;
use crate::event::{Deposit, METADATA};
use crate::handled::Handled;
use crate::peer::{Outcome, Peer};

/// From the package itself.
pub const SCHEMA: &str = include_str!(concat!(env!("OUT_DIR"), "/postgres_es.sql"));
const VERSION: &str = "1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Deposited(Deposit),
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        "Deposited".to_owned()
    }

    fn event_version(&self) -> String {
        VERSION.to_owned()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    seen: i64,
}

/// So many deposits to an account.
struct MakeDeposits(Uuid, u64);

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = MakeDeposits;
    type Event = AccountEvent;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, command: MakeDeposits, _: &(), sink: &EventSink<Self>) -> Result<(), Never> {
        for _ in 0..command.1 {
            sink.write(AccountEvent::Deposited(deposit(command.0, self.seen, 0)), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, _: AccountEvent) {
        self.seen += 1;
    }
}

pub struct PostgresEs {
    pool: PgPool,
    repository: PostgresEventRepository,
    framework: PostgresCqrs<Account>,
}

impl PostgresEs {
    pub fn open(pool: PgPool) -> Self {
        let repository = PostgresEventRepository::new(pool.clone());
        let framework = postgres_cqrs(pool.clone(), Vec::new(), ());
        Self { pool, repository, framework }
    }

    async fn execute(&self, command: MakeDeposits) -> anyhow::Result<Outcome> {
        let (id, metadata) = (command.0.to_string(), metadata()?);
        match self.framework.execute_with_metadata(&id, command, metadata).await {
            Ok(()) => Ok(Outcome::Done),
            Err(AggregateError::AggregateConflict) => Ok(Outcome::Conflict),
            Err(error) => Err(anyhow!("{error}")),
        }
    }
}

fn metadata() -> anyhow::Result<HashMap<String, String>> {
    Ok(serde_json::from_str(METADATA)?)
}

impl Peer for PostgresEs {
    const STALE: &'static str = "SELECT count(*) - count(DISTINCT payload->'Deposited'->>'amount') FROM events \
                                  WHERE aggregate_id = $1";

    async fn seed(&self, account: Uuid, events: u64) -> anyhow::Result<()> {
        self.execute(MakeDeposits(account, events)).await.map(drop)
    }

    async fn append(&self, at: u64) -> anyhow::Result<Outcome> {
        let account = Uuid::now_v7();
        let event = SerializedEvent::new(
            account.to_string(),
            1,
            Account::TYPE.to_owned(),
            "Deposited".to_owned(),
            VERSION.to_owned(),
            serde_json::to_value(AccountEvent::Deposited(deposit(account, 0, at)))?,
            serde_json::to_value(metadata()?)?,
        );
        match self.repository.persist::<Account>(&[event], None).await {
            Ok(()) => Ok(Outcome::Done),
            Err(PersistenceError::OptimisticLockError) => Ok(Outcome::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    async fn command(&self, account: Uuid) -> anyhow::Result<Outcome> {
        self.execute(MakeDeposits(account, 1)).await
    }

    async fn follow(&self, handled: Arc<Handled>) -> anyhow::Result<bool> {
        let counter = Counter(handled, AtomicI64::new(0));
        QueryReplay::new(PostgresEventRepository::new(self.pool.clone()), counter).replay_all().await?;
        Ok(false)
    }
}

struct Counter(Arc<Handled>, AtomicI64);

#[async_trait]
impl Query<Account> for Counter {
    async fn dispatch(&self, _: &str, events: &[EventEnvelope<Account>]) {
        for event in events {
            let AccountEvent::Deposited(deposit) = &event.payload;
            // There is no global position.
            self.0.on(self.1.fetch_add(1, Ordering::Relaxed), deposit.at);
        }
    }
}
