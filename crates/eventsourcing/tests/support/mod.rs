//! A ledger to try the log with: accounts that may not be overdrawn, and transfers between two of them.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::time::Duration;

use eventsourcing::*;
use serde::{Deserialize, Serialize};
use testkit::{SOON, TestDatabase};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub const LOG: &str = "ledger";
pub const MIGRATIONS: Migrations = &[
    (
        "balances",
        "CREATE TABLE balances (account text PRIMARY KEY, balance bigint NOT NULL, events bigint NOT NULL)",
    ),
    (
        "journal",
        "CREATE TABLE journal (place bigint GENERATED ALWAYS AS IDENTITY, account text NOT NULL, \
         version bigint NOT NULL)",
    ),
];

pub struct Account;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    pub balance: i64,
    pub events: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AccountEvent {
    Deposited { amount: i64, note: String },
    Withdrawn { amount: i64 },
}
impl DomainEvent for AccountEvent {}

#[derive(Clone, Debug)]
pub enum AccountCommand {
    Deposit { amount: i64, note: String },
    Withdraw { amount: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountError {
    Overdrawn { balance: i64 },
}

impl Decider for Account {
    const CATEGORY: &'static str = "account";
    const SNAPSHOT_EVERY: Option<u64> = Some(50);
    type State = Balance;
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;

    fn decide(state: &Balance, command: &AccountCommand) -> Result<Vec<AccountEvent>, AccountError> {
        match command {
            AccountCommand::Deposit { amount, note } => {
                Ok(vec![AccountEvent::Deposited { amount: *amount, note: note.clone() }])
            }
            AccountCommand::Withdraw { amount } if *amount > state.balance => {
                Err(AccountError::Overdrawn { balance: state.balance })
            }
            AccountCommand::Withdraw { amount } => Ok(vec![AccountEvent::Withdrawn { amount: *amount }]),
        }
    }

    fn evolve(state: Balance, event: &AccountEvent) -> Balance {
        let change = match event {
            AccountEvent::Deposited { amount, .. } => *amount,
            AccountEvent::Withdrawn { amount } => -amount,
        };
        Balance { balance: state.balance + change, events: state.events + 1 }
    }
}

/// Moves money between two streams, all or nothing.
pub struct Transfer {
    pub from: StreamId,
    pub to: StreamId,
    pub amount: i64,
}

impl Operation for Transfer {
    type Reply = ();
    type Rejection = AccountError;

    fn run(&self, view: &mut View<'_>) -> Result<(), Halt<AccountError>> {
        view.load::<Account>([&self.from, &self.to])?;
        view.decide::<Account>(
            &self.to,
            &AccountCommand::Deposit { amount: self.amount, note: String::new() },
        )?;
        view.decide::<Account>(&self.from, &AccountCommand::Withdraw { amount: self.amount })?;
        Ok(())
    }
}

/// Several deposits at once.
pub struct Deposits {
    pub stream: StreamId,
    pub count: i64,
}

impl Operation for Deposits {
    type Reply = u64;
    type Rejection = AccountError;

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<AccountError>> {
        let event = |amount| AccountEvent::Deposited { amount, note: "saved".into() };
        Ok(view.append::<Account>(&self.stream, &(0..self.count).map(event).collect::<Vec<_>>())?)
    }
}

pub fn account(key: impl std::fmt::Display) -> StreamId {
    StreamId::of::<Account>(key)
}

pub fn deposit(stream: &StreamId, amount: i64) -> Decide<Account> {
    let command = AccountCommand::Deposit { amount, note: "saved".into() };
    Decide { stream: stream.clone(), command, expected_version: None }
}

pub fn withdraw(stream: &StreamId, amount: i64) -> Decide<Account> {
    Decide { stream: stream.clone(), command: AccountCommand::Withdraw { amount }, expected_version: None }
}

pub fn context() -> CommandContext {
    context_of(Uuid::now_v7())
}

pub fn context_of(command_id: Uuid) -> CommandContext {
    CommandContext {
        scope: "test".into(),
        command_id,
        request_hash: [7; 32],
        metadata: Metadata { correlation_id: "c".into(), actor: "tester".into(), ..Metadata::default() },
        retention: Retention::Client,
    }
}

pub async fn database() -> TestDatabase {
    TestDatabase::new(LOG, MIGRATIONS).await
}

pub async fn open(database: &TestDatabase) -> EventLog {
    let options =
        LogOptions { poll_interval: Duration::from_millis(10), ..LogOptions::new(LOG, database.url()) };
    EventLog::open(options).await.expect("the log opens")
}

pub async fn processor(database: &TestDatabase) -> CommandProcessor {
    CommandProcessor::start(open(database).await, ProcessorOptions::default())
}

/// The fold of a stream as it is stored.
pub async fn balance(log: &EventLog, stream: &StreamId) -> Balance {
    let events = log.read_stream(stream, 0, 1_000_000).await.expect("the stream is read");
    events
        .iter()
        .map(|e| e.decode::<Account>().expect("it decodes").expect("it is of this category"))
        .fold(Balance::default(), |state, event| Account::evolve(state, &event))
}

/// One replica of a service: what it runs stops with it.
pub struct Replica {
    pub log: EventLog,
    pub subscriptions: Subscriptions,
    pub stop: CancellationToken,
    pub tracker: TaskTracker,
}

impl Replica {
    pub async fn start(database: &TestDatabase) -> Self {
        let (log, stop, tracker) = (open(database).await, CancellationToken::new(), TaskTracker::new());
        tracker.spawn(log.clone().follow(stop.clone()));
        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        Self { log, subscriptions, stop, tracker }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("everything stops");
    }
}
