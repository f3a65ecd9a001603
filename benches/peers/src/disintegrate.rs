//! disintegrate with disintegrate-postgres: `DecisionMaker` without snapshots, `EventStore::append` with the query of the
//! one account, and its listener with the notifier on. There is no place for metadata beside the payload.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use disintegrate::serde::json::Json;
use disintegrate::{
    Decision, DecisionError, Event, EventListener, EventStore, NoSnapshot, PersistedEvent, StateMutate,
    StateQuery, StreamQuery, query,
};
use disintegrate_postgres::{
    Error, PgDecisionMaker, PgEventId, PgEventListener, PgEventListenerConfig, PgEventStore, decision_maker,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::deposit;
use crate::event::METADATA;
use crate::handled::Handled;
use crate::peer::{Outcome, Peer};

/// The package's own statements, and the column that its queries by account need.
pub const SCHEMA: &str = concat!(
    include_str!(concat!(env!("OUT_DIR"), "/disintegrate.sql")),
    "ALTER TABLE event ADD COLUMN account_id TEXT;
     CREATE INDEX idx_event_account_id ON event (account_id) WHERE account_id IS NOT NULL;"
);
/// How often its listener looks unasked.
const POLL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(AccountStream, [Deposited])]
enum AccountEvent {
    Deposited {
        #[id]
        account_id: String,
        amount: i64,
        currency: String,
        reference: String,
        note: String,
        at: u64,
        metadata: String,
    },
}

fn event(account: Uuid, seen: i64, at: u64) -> AccountEvent {
    let deposit = deposit(account, seen, at);
    AccountEvent::Deposited {
        account_id: account.to_string(),
        amount: deposit.amount,
        currency: deposit.currency,
        reference: deposit.reference,
        note: deposit.note,
        at,
        metadata: METADATA.to_owned(),
    }
}

#[derive(Clone, Debug, Default, StateQuery, Serialize, Deserialize)]
#[state_query(AccountStream)]
struct Account {
    #[id]
    account_id: String,
    seen: i64,
}

impl StateMutate for Account {
    fn mutate(&mut self, _: Self::Event) {
        self.seen += 1;
    }
}

struct MakeDeposit(Uuid);

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Decision for MakeDeposit {
    type Event = AccountEvent;
    type StateQuery = Account;
    type Error = Never;

    fn state_query(&self) -> Account {
        Account { account_id: self.0.to_string(), seen: 0 }
    }

    fn process(&self, account: &Account) -> Result<Vec<AccountEvent>, Never> {
        Ok(vec![event(self.0, account.seen, 0)])
    }
}

type Store = PgEventStore<AccountEvent, Json<AccountEvent>>;

pub struct Disintegrate {
    store: Store,
    decisions: PgDecisionMaker<AccountEvent, Json<AccountEvent>, NoSnapshot>,
}

impl Disintegrate {
    pub fn open(pool: PgPool) -> Self {
        let store = PgEventStore::new_uninitialized(pool, Json::<AccountEvent>::default());
        Self { decisions: decision_maker(store.clone(), NoSnapshot), store }
    }
}

/// Most of its conflicts come up as a bare serialization failure of the database.
fn conflict_or(error: &(dyn std::error::Error + 'static)) -> anyhow::Result<Outcome> {
    match error.downcast_ref::<Error>() {
        Some(Error::Concurrency) => Ok(Outcome::Conflict),
        Some(Error::Database(sqlx::Error::Database(database)))
            if database.code().as_deref() == Some("40001") =>
        {
            Ok(Outcome::Conflict)
        }
        _ => Err(anyhow!("{error:?}")),
    }
}

impl Peer for Disintegrate {
    const STALE: &'static str = "SELECT count(*) - count(DISTINCT convert_from(payload, 'utf8')::json->'Deposited'->>'amount') \
                                   FROM event WHERE account_id = $1";

    async fn seed(&self, account: Uuid, events: u64) -> anyhow::Result<()> {
        let events = (0..events as i64).map(|seen| event(account, seen, 0)).collect();
        self.store.append_without_validation(events).await?;
        Ok(())
    }

    async fn append(&self, at: u64) -> anyhow::Result<Outcome> {
        let account = Uuid::now_v7();
        let own = account.to_string();
        match self.store.append(vec![event(account, 0, at)], query!(AccountEvent; account_id == own), 0).await
        {
            Ok(_) => Ok(Outcome::Done),
            Err(error) => conflict_or(&error),
        }
    }

    async fn command(&self, account: Uuid) -> anyhow::Result<Outcome> {
        match self.decisions.make(MakeDeposit(account)).await {
            Ok(_) => Ok(Outcome::Done),
            Err(DecisionError::StateStore(error) | DecisionError::EventStore(error)) => {
                conflict_or(error.as_ref())
            }
            Err(error) => Err(anyhow!("{error:?}")),
        }
    }

    async fn follow(&self, handled: Arc<Handled>) -> anyhow::Result<bool> {
        let counter = Counter { query: query!(AccountEvent), handled };
        let listener = PgEventListener::builder(self.store.clone())
            .register_listener(counter, PgEventListenerConfig::poller(POLL).with_notifier());
        // When it ends, events do not come, which whoever waits for them says.
        tokio::spawn(async move { listener.start().await });
        Ok(true)
    }
}

struct Counter {
    query: StreamQuery<PgEventId, AccountEvent>,
    handled: Arc<Handled>,
}

#[async_trait]
impl EventListener<PgEventId, AccountEvent> for Counter {
    type Error = Infallible;

    fn id(&self) -> &'static str {
        "counter"
    }

    fn query(&self) -> &StreamQuery<PgEventId, AccountEvent> {
        &self.query
    }

    async fn handle(&self, event: PersistedEvent<PgEventId, AccountEvent>) -> Result<(), Infallible> {
        let position = event.id();
        let AccountEvent::Deposited { at, .. } = event.into_inner();
        self.handled.on(position, at);
        Ok(())
    }
}
