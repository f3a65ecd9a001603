//! Our event log, as the workloads drive it: the real command processor and real subscriptions, with the options that
//! services use.

use std::sync::Arc;

use eventsourcing::{
    CommandContext, CommandProcessor, Commands, Decide, Decider, DomainEvent, EventLog, HandlerError,
    LogOptions, Metadata, Migrations, ProcessorOptions, Projection, Reactor, RecordedEvent, Retention,
    StreamId, Subscriptions,
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::databases::{Database, Template, sql};
use crate::event::{self, Deposit, EVENTS_PER_ACCOUNT, account};
use crate::handled::Handled;
use crate::store::Store;

const LOG: &str = "bench";
/// Enough for every stream of W2, and what services have unless told otherwise.
const CACHED_STREAMS: usize = 20_000;
const MIGRATIONS: Migrations = &[(
    "balances",
    "CREATE TABLE balances (account uuid PRIMARY KEY, balance bigint NOT NULL, deposits bigint NOT NULL)",
)];

struct Account;

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Balance(i64);

#[derive(Clone, Serialize, Deserialize)]
enum AccountEvent {
    Deposited(Deposit),
}
impl DomainEvent for AccountEvent {}

#[derive(Debug, Serialize, Deserialize)]
enum Never {}

struct MakeDeposit {
    account: Uuid,
    at: u64,
}

impl Decider for Account {
    const CATEGORY: &'static str = "account";
    type State = Balance;
    type Command = MakeDeposit;
    type Event = AccountEvent;
    type Error = Never;

    fn decide(state: &Balance, command: &MakeDeposit) -> Result<Vec<AccountEvent>, Never> {
        Ok(vec![AccountEvent::Deposited(Deposit::after(state.0, command.account, command.at))])
    }

    fn evolve(state: Balance, AccountEvent::Deposited(deposit): &AccountEvent) -> Balance {
        Balance(state.0 + deposit.amount)
    }
}

/// A log with its command processor.
#[derive(Clone)]
pub struct Ours {
    log: EventLog,
    processor: CommandProcessor,
    stop: CancellationToken,
}

impl Store for Ours {
    const OF: &'static str = "";
    const EMPTY: Template = Template::Log;

    fn seeded(accounts: u64) -> Template {
        Template::LogWith(accounts * EVENTS_PER_ACCOUNT)
    }

    async fn open(database: &Database, cached: bool) -> anyhow::Result<Self> {
        let log = EventLog::open(LogOptions::new(LOG, &database.url)).await?;
        let cached_streams = if cached { CACHED_STREAMS } else { 0 };
        let options = ProcessorOptions { cached_streams, ..ProcessorOptions::default() };
        let processor = CommandProcessor::start(log.clone(), options);
        Ok(Self { log, processor, stop: CancellationToken::new() })
    }

    async fn append(&self, at: u64) -> anyhow::Result<()> {
        self.deposit(Uuid::now_v7(), at, Some(0)).await?;
        Ok(())
    }

    async fn command(&self, account: Uuid) -> anyhow::Result<()> {
        self.deposit(account, 0, None).await?;
        Ok(())
    }

    async fn follow(&self, handled: Arc<Handled>) -> anyhow::Result<()> {
        let subscriptions = self.subscriptions();
        subscriptions.react(Arc::new(self.log.clone()), Counter(handled)).await?;
        Ok(())
    }

    async fn close(self) {
        self.stop.cancel();
        self.log.pool().close().await;
    }
}

impl Ours {
    async fn deposit(&self, account: Uuid, at: u64, expected_version: Option<u64>) -> anyhow::Result<i64> {
        let command = MakeDeposit { account, at };
        let deposit =
            Decide::<Account> { stream: StreamId::of::<Account>(account), command, expected_version };
        Ok(self.processor.execute(deposit, context()).await?.position.number)
    }

    /// Appends one event to a stream of its own; returns its position.
    #[cfg(feature = "kafka")]
    pub async fn append_one(&self) -> anyhow::Result<i64> {
        self.deposit(Uuid::now_v7(), 0, Some(0)).await
    }

    #[cfg(feature = "kafka")]
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Follows the log from its beginning into the table `balances`.
    pub async fn project_balances(&self, handled: Arc<Handled>) -> anyhow::Result<()> {
        let subscriptions = self.subscriptions();
        subscriptions.project(Arc::new(self.log.clone()), Balances(handled)).await?;
        Ok(())
    }

    fn subscriptions(&self) -> Subscriptions {
        let tracker = TaskTracker::new();
        tracker.spawn(self.log.clone().follow(self.stop.clone()));
        Subscriptions::new(&self.log, self.stop.clone(), tracker)
    }
}

fn context() -> CommandContext {
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

fn deposit_of(event: &RecordedEvent) -> Result<Deposit, HandlerError> {
    match event.decode::<Account>()? {
        Some(AccountEvent::Deposited(deposit)) => Ok(deposit),
        None => Err(HandlerError::Poison(format!("{} is no account", event.stream_id))),
    }
}

/// Counts in memory; its place is kept by the subscription.
struct Counter(Arc<Handled>);

impl Reactor for Counter {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "counter"
    }

    async fn react(&self, event: &RecordedEvent, _: &Commands) -> Result<(), HandlerError> {
        self.0.on(event.position, deposit_of(event)?.at);
        Ok(())
    }
}

/// Keeps the table `balances`, a page of events at a time.
struct Balances(Arc<Handled>);

impl Projection for Balances {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "balances"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        events: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut added = std::collections::BTreeMap::<Uuid, (i64, i64)>::new();
        for event in events {
            let deposit = deposit_of(event)?;
            let (amount, deposits) = added.entry(deposit.account).or_default();
            *amount += deposit.amount;
            *deposits += 1;
            self.0.on(event.position, 0);
        }
        let accounts: Vec<Uuid> = added.keys().copied().collect();
        let (amounts, deposits): (Vec<i64>, Vec<i64>) = added.into_values().unzip();
        sqlx::query(
            "INSERT INTO balances SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) \
             ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance, \
                                                 deposits = balances.deposits + excluded.deposits",
        )
        .bind(accounts)
        .bind(amounts)
        .bind(deposits)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Makes an empty log.
pub async fn create(url: &str) -> anyhow::Result<()> {
    Ok(eventsourcing::migrate(url, LOG, None, MIGRATIONS).await?)
}

/// Fills an empty log with so many events, and the answer to the command of each. Written past the append, which only a
/// superuser can.
pub fn seed_sql(events: u64) -> [String; 2] {
    let data = sql(&Deposit::after(0, account(0), 0).json());
    let (numbered, template, command) = (event::numbered_sql(events), account(0), event::id_sql('8'));
    let events = format!(
        "INSERT INTO eventlog.events
             (stream_id, version, event_id, command_id, type, schema_version, data, metadata)
         SELECT 'account-' || account, version, {}, {command}, 'Deposited', 1,
                replace({data}, '{template}', account::text)::jsonb, {} FROM {numbered}",
        event::id_sql('7'),
        sql(event::METADATA)
    );
    let results = format!(
        "INSERT INTO eventlog.command_results (scope, command_id, request_hash, outcome, position, expires)
         SELECT 'bench', {command}, decode(repeat('01', 32), 'hex'), '{{\"ok\":1}}', n + 1, true FROM {numbered}"
    );
    [events, results]
}
