//! What is appended: an account with deposits of about 270 bytes, and a database of its own for each
//! measurement.

use std::str::FromStr;

use eventsourcing::{
    CommandContext, CommandProcessor, Decide, Decider, DomainEvent, EventLog, LogOptions, Metadata,
    Migrations, ProcessorOptions, Retention, StreamId,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use uuid::Uuid;

const LOG: &str = "bench";
const NO_TABLES: Migrations = &[];
const NOTE: &str =
    "Two crates of glazed tiles and one sack of grout, left at the side door with the neighbour";
/// Metadata of the size that ours has.
pub const SAMPLE_METADATA: &str =
    r#"{"correlation_id":"6f1f2b1e-8c0a-4d0e-9d0f-4d3b0a5c7e21","actor":"bench"}"#;

pub struct Account;

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Balance(i64);

#[derive(Clone, Serialize, Deserialize)]
pub enum AccountEvent {
    Deposited { account: String, amount: i64, currency: String, reference: String, note: String, at: i64 },
}
impl DomainEvent for AccountEvent {}

pub struct Deposit {
    pub account: String,
    /// Whatever the measurement wants to find again, such as a time.
    pub at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Never {}

impl Decider for Account {
    const CATEGORY: &'static str = "account";
    type State = Balance;
    type Command = Deposit;
    type Event = AccountEvent;
    type Error = Never;

    fn decide(state: &Balance, command: &Deposit) -> Result<Vec<AccountEvent>, Never> {
        Ok(vec![deposited(&command.account, state.0 % 100 + 1, command.at)])
    }

    fn evolve(state: Balance, AccountEvent::Deposited { amount, .. }: &AccountEvent) -> Balance {
        Balance(state.0 + amount)
    }
}

fn deposited(account: &str, amount: i64, at: i64) -> AccountEvent {
    AccountEvent::Deposited {
        account: account.to_owned(),
        amount,
        currency: "EUR".to_owned(),
        reference: format!("payment/{account}"),
        note: NOTE.to_owned(),
        at,
    }
}

/// The JSON of one event's data.
pub fn sample_data() -> String {
    let AccountEvent::Deposited { account, amount, currency, reference, note, at } =
        deposited(&Uuid::nil().to_string(), 1, 0);
    serde_json::json!({
        "account": account, "amount": amount, "currency": currency, "reference": reference, "note": note, "at": at,
    })
    .to_string()
}

pub fn deposit(key: &str, at: i64) -> Decide<Account> {
    let command = Deposit { account: key.to_owned(), at };
    Decide { stream: StreamId::of::<Account>(key), command, expected_version: None }
}

pub fn context() -> CommandContext {
    CommandContext {
        scope: "bench".to_owned(),
        command_id: Uuid::now_v7(),
        request_hash: [1; 32],
        metadata: Metadata {
            correlation_id: "6f1f2b1e-8c0a-4d0e-9d0f-4d3b0a5c7e21".to_owned(),
            actor: "bench".to_owned(),
            ..Metadata::default()
        },
        retention: Retention::Client,
    }
}

/// Makes an empty database, in place of one of this name. Returns its URL.
pub async fn fresh_database(server: &str, name: &str) -> anyhow::Result<String> {
    let server = PgConnectOptions::from_str(server)?;
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    connection.execute("CHECKPOINT").await?;
    // Without parameters: those that sqlx writes are not known to pgbench.
    let mut url = server.database(name).to_url_lossy();
    url.set_query(None);
    Ok(url.to_string())
}

/// An empty log in a database of its own.
pub async fn fresh_log(server: &str, name: &str) -> anyhow::Result<EventLog> {
    let url = fresh_database(server, name).await?;
    eventsourcing::migrate(&url, LOG, None, NO_TABLES).await?;
    Ok(EventLog::open(LogOptions::new(LOG, url)).await?)
}

pub fn processor(log: &EventLog, cached_streams: usize) -> CommandProcessor {
    CommandProcessor::start(log.clone(), ProcessorOptions { cached_streams, ..ProcessorOptions::default() })
}
