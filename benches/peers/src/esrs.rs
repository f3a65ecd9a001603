//! esrs: `AggregateManager::load` and `handle_command`, `persist` for a bare append, `stream_events` for the replay. It has
//! no subscription over PostgreSQL, and no place for metadata beside the payload.

use std::sync::Arc;

use anyhow::anyhow;
use esrs::manager::AggregateManager;
use esrs::store::EventStore;
use esrs::store::postgres::{PgStore, PgStoreBuilder, PgStoreError};
use esrs::{Aggregate, AggregateState};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::deposit;
use crate::event::{Deposit, METADATA};
use crate::handled::Handled;
use crate::peer::{Outcome, Peer};

#[derive(Clone, Serialize, Deserialize)]
struct Deposited {
    deposit: Deposit,
    metadata: String,
}

fn event(account: Uuid, seen: i64, at: u64) -> Deposited {
    Deposited { deposit: deposit(account, seen, at), metadata: METADATA.to_owned() }
}

#[derive(Default)]
struct State {
    seen: i64,
}

struct Account;

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type State = State;
    type Command = Uuid;
    type Event = Deposited;
    type Error = Never;

    fn handle_command(state: &State, account: Uuid) -> Result<Vec<Deposited>, Never> {
        Ok(vec![event(account, state.seen, 0)])
    }

    fn apply_event(state: State, _: Deposited) -> State {
        State { seen: state.seen + 1 }
    }
}

pub struct Esrs {
    pool: PgPool,
    store: PgStore<Account>,
    manager: AggregateManager<PgStore<Account>>,
}

impl Esrs {
    pub async fn open(pool: PgPool) -> anyhow::Result<Self> {
        let store: PgStore<Account> = PgStoreBuilder::new(pool.clone()).try_build().await?;
        Ok(Self { pool, manager: AggregateManager::new(store.clone()), store })
    }
}

/// It has no word for a conflict: the violated uniqueness comes up.
fn outcome<T>(result: Result<T, PgStoreError>) -> anyhow::Result<Outcome> {
    match result {
        Ok(_) => Ok(Outcome::Done),
        Err(PgStoreError::Sqlx(sqlx::Error::Database(error))) if error.code().as_deref() == Some("23505") => {
            Ok(Outcome::Conflict)
        }
        Err(error) => Err(anyhow!("{error:?}")),
    }
}

impl Peer for Esrs {
    const STALE: &'static str = "SELECT count(*) - count(DISTINCT payload->'deposit'->>'amount') FROM account_events \
                                  WHERE aggregate_id = $1::uuid";

    async fn seed(&self, account: Uuid, events: u64) -> anyhow::Result<()> {
        let events = (0..events as i64).map(|seen| event(account, seen, 0)).collect();
        outcome(self.store.persist(&mut AggregateState::with_id(account), events).await).map(drop)
    }

    async fn append(&self, at: u64) -> anyhow::Result<Outcome> {
        let account = Uuid::now_v7();
        outcome(self.store.persist(&mut AggregateState::with_id(account), vec![event(account, 0, at)]).await)
    }

    async fn command(&self, account: Uuid) -> anyhow::Result<Outcome> {
        let loaded = self.manager.load(account).await.map_err(|error| anyhow!("{error:?}"))?;
        let state = loaded.unwrap_or_else(|| AggregateState::with_id(account));
        outcome(self.manager.handle_command(state, account).await)
    }

    async fn follow(&self, handled: Arc<Handled>) -> anyhow::Result<bool> {
        let mut events = self.store.stream_events(&self.pool);
        let mut number = 0;
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| anyhow!("{error:?}"))?;
            number += 1;
            // There is no global position.
            handled.on(number, event.payload.deposit.at);
        }
        Ok(false)
    }
}
