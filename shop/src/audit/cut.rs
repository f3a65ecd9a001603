//! Where an audit cuts the running shop; see [the module above](super) for why the cut is sound. Nothing is
//! judged here.

use std::collections::{HashMap, HashSet};
use std::ops::{Index, IndexMut};

use chrono::{DateTime, Utc};
use eventsourcing::feed::partition_of;
use eventsourcing::rebuild::NO_SWITCH;
use eventsourcing::{EventLog, LogOptions};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::AuditError;
use crate::config::SERVICES;

/// Connections to a log's database: its snapshot, and the reader of its events.
const CONNECTIONS: u32 = 2;

/// The logs of the shop, in the order of [`SERVICES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Log {
    Product,
    Inventory,
    Order,
    Payment,
    Saga,
}

impl Log {
    pub const ALL: [Self; SERVICES.len()] =
        [Self::Product, Self::Inventory, Self::Order, Self::Payment, Self::Saga];

    pub fn name(self) -> &'static str {
        SERVICES[self as usize]
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|log| log.name() == name)
    }
}

/// One thing for each log.
#[derive(Debug)]
pub struct PerLog<T>(pub [T; SERVICES.len()]);

impl<T> Index<Log> for PerLog<T> {
    type Output = T;

    fn index(&self, log: Log) -> &T {
        &self.0[log as usize]
    }
}

impl<T> IndexMut<Log> for PerLog<T> {
    fn index_mut(&mut self, log: Log) -> &mut T {
        &mut self.0[log as usize]
    }
}

/// The shop as an audit sees it.
pub struct Cut {
    pub logs: PerLog<EventLog>,
    pub snapshots: PerLog<Snapshot>,
    /// Heads of the logs after all snapshots: what was in a snapshot has its causes up to here.
    pub ends: PerLog<i64>,
    /// When it was taken.
    pub at: DateTime<Utc>,
}

/// One service's database at one moment.
pub struct Snapshot {
    log: Log,
    transaction: Transaction<'static, Postgres>,
    /// Head of the log before the first snapshot was taken. Between the two, something is in motion.
    pub settled: i64,
    /// Head of the log in the snapshot.
    pub head: i64,
    pub incarnation: i32,
    pub checkpoints: Vec<Checkpoint>,
    /// Keys with parked messages, by subscription.
    parked: HashMap<String, HashSet<String>>,
    /// Keys with scheduled tasks, by queue.
    tasks: HashMap<String, HashSet<String>>,
    /// Whether somebody runs this service's subscriptions.
    pub running: bool,
}

/// How far a subscription came in the feed that it follows.
#[derive(Clone, Debug, Default)]
pub struct Reached(Vec<i64>);

impl Reached {
    /// In the partition of a key; 0 if it never began.
    pub fn of(&self, key: &str) -> i64 {
        match self.0.len() {
            0 => 0,
            partitions => self.0.get(partition_of(key.as_bytes(), partitions)).copied().unwrap_or(0),
        }
    }
}

/// How far a subscription came in one partition.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub subscription: String,
    pub log: String,
    pub incarnation: i32,
    pub position: i64,
}

impl Cut {
    /// Opens the logs at these URLs and takes the cut.
    pub async fn take(urls: &PerLog<String>) -> Result<Self, AuditError> {
        let mut logs = Vec::new();
        for log in Log::ALL {
            let options = LogOptions {
                max_connections: CONNECTIONS,
                ..LogOptions::new(log.name(), urls[log].as_str())
            };
            logs.push(EventLog::open(options).await?);
        }
        // Each loop ends before the next begins: that is what makes the cut sound.
        let settled = heads(&logs).await?;
        let mut snapshots = Vec::new();
        for log in Log::ALL {
            let settled = settled[log];
            let snapshot = Snapshot::take(log, &logs[log as usize], settled).await;
            snapshots.push(snapshot.map_err(|source| AuditError::Database { log, source })?);
        }
        let ends = heads(&logs).await?;
        Ok(Self { logs: per_log(logs), snapshots: per_log(snapshots), ends, at: Utc::now() })
    }
}

async fn heads(logs: &[EventLog]) -> Result<PerLog<i64>, AuditError> {
    let mut heads = PerLog([0; SERVICES.len()]);
    for log in Log::ALL {
        let head = logs[log as usize].head().await;
        heads[log] = head.map_err(|source| AuditError::Database { log, source })?;
    }
    Ok(heads)
}

fn per_log<T>(items: Vec<T>) -> PerLog<T> {
    let Ok(items) = items.try_into() else { unreachable!("one was pushed for each log") };
    PerLog(items)
}

impl Snapshot {
    async fn take(log: Log, events: &EventLog, settled: i64) -> Result<Self, sqlx::Error> {
        // It waits while other logs are read, longer than some servers like.
        // Its tables are those of one version of each read model, from the first look to the last.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0; {NO_SWITCH}"
        );
        let mut transaction = events.pool().begin_with(AssertSqlSafe(begin)).await?;
        let head = "SELECT coalesce(max(position), 0) FROM eventlog.events";
        let head = sqlx::query_scalar(head).fetch_one(&mut *transaction).await?;
        let incarnation = "SELECT incarnation FROM eventlog.identity";
        let incarnation = sqlx::query_scalar(incarnation).fetch_one(&mut *transaction).await?;
        let checkpoints = "SELECT subscription, log, incarnation, position FROM eventsourcing.checkpoints \
                            ORDER BY subscription, log, partition";
        let checkpoints: Vec<(String, String, i32, i64)> =
            sqlx::query_as(checkpoints).fetch_all(&mut *transaction).await?;
        let checkpoints = checkpoints.into_iter().map(|(subscription, log, incarnation, position)| {
            Checkpoint { subscription, log, incarnation, position }
        });
        let checkpoints = checkpoints.collect();
        let parked = "SELECT DISTINCT subscription, key FROM eventsourcing.parked_messages";
        let parked = grouped(&mut transaction, parked).await?;
        let tasks = "SELECT DISTINCT queue, key FROM eventsourcing.tasks";
        let tasks = grouped(&mut transaction, tasks).await?;
        // Who runs a subscription holds an advisory lock for it.
        let running = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                        WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database())";
        let running = sqlx::query_scalar(running).fetch_one(&mut *transaction).await?;
        Ok(Self { log, transaction, settled, head, incarnation, checkpoints, parked, tasks, running })
    }

    /// Queries the snapshot. All of them see the same moment.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// An error of such a query.
    pub fn error(&self, source: sqlx::Error) -> AuditError {
        AuditError::Database { log: self.log, source }
    }

    /// How far a subscription came, by the keys of what it follows. Its checkpoints stand in the order of partitions.
    pub fn reached(&self, subscription: &str) -> Reached {
        let checkpoints = self.checkpoints.iter().filter(|c| c.subscription == subscription);
        Reached(checkpoints.map(|c| c.position).collect())
    }

    /// How far a subscription came, in the partition that is the furthest behind; 0 if it never began.
    pub fn checkpoint(&self, subscription: &str) -> i64 {
        let checkpoints = self.checkpoints.iter().filter(|c| c.subscription == subscription);
        checkpoints.map(|c| c.position).min().unwrap_or(0)
    }

    /// Whether messages of a key are parked.
    pub fn is_parked(&self, subscription: &str, key: &str) -> bool {
        self.parked.get(subscription).is_some_and(|keys| keys.contains(key))
    }

    /// Keys whose messages are parked.
    pub fn parked_keys(&self, subscription: &str) -> impl Iterator<Item = &str> {
        self.parked.get(subscription).into_iter().flatten().map(String::as_str)
    }

    /// Whether a subscription has handled a key's messages up to a position.
    pub fn has_handled(&self, subscription: &str, key: &str, position: i64) -> bool {
        self.reached(subscription).of(key) >= position && !self.is_parked(subscription, key)
    }

    /// Whether something is scheduled for a key.
    pub fn has_task(&self, queue: &str, key: &str) -> bool {
        self.tasks.get(queue).is_some_and(|keys| keys.contains(key))
    }
}

async fn grouped(
    connection: &mut PgConnection,
    sql: &'static str,
) -> Result<HashMap<String, HashSet<String>>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(connection).await?;
    let mut groups: HashMap<String, HashSet<String>> = HashMap::new();
    for (group, key) in rows {
        groups.entry(group).or_default().insert(key);
    }
    Ok(groups)
}
