//! One service's event log in its own PostgreSQL database: opening and migrating it, reading streams and
//! positions, and the append itself. Deciding what to append is the command processor's work.

mod append;
mod incarnation;
mod migrate;
mod tail;

pub(crate) use append::{
    AppendConnection, AppendError, Appended, Batch, Call, CommandRow, Foundation, KnownCommand,
};
pub use incarnation::{IncarnationError, raise_incarnation};
pub use migrate::{MigrateError, Migrations, migrate, require_migrated};

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::command::Metadata;
use crate::decider::{self, Decider, DecodeError};
use crate::operation::{StateCodec, StoredEvent, Versioned};
use crate::stream::{Position, StreamId};
use tail::Tail;

/// A pooled connection that was idle for longer is asked whether it still lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);

/// The server ends a transaction whose client is silent for so long: of a process that stands still, or that the network
/// has lost, it would keep its locks.
const SILENT_TRANSACTION: (&str, &str) = ("idle_in_transaction_session_timeout", "30s");

/// How long answers to clients are kept for repeats: a day more than is promised.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(8 * 86_400);
/// Pause between two rounds of forgetting them.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// How a log is reached and watched.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// PostgreSQL URL of the service's own database, as the role that may append.
    pub database_url: String,
    /// Name of the log, the same for ever: positions carry it.
    pub name: String,
    /// Connections for reads and projections. The command processor has two of its own beside them.
    pub max_connections: u32,
    /// How often the log is asked whether another process appended. What this process appends is known at
    /// once.
    pub poll_interval: Duration,
}

impl LogOptions {
    /// Connections for reads and projections, unless told otherwise.
    pub const MAX_CONNECTIONS: u32 = 8;
    /// Delay of another process's events, at most, unless told otherwise.
    pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

    pub fn new(name: impl Into<String>, database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            name: name.into(),
            max_connections: Self::MAX_CONNECTIONS,
            poll_interval: Self::POLL_INTERVAL,
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database of the log `{log}` cannot be reached: {source}")]
    Unreachable { log: String, source: sqlx::Error },
    #[error("the database of the log `{log}` has no event log: run the migrations first")]
    NotMigrated { log: String },
    #[error("this database holds the log `{found}`, not `{expected}`: check the database URL")]
    AnotherLog { expected: String, found: String },
}

/// A cheap handle to an open log.
#[derive(Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    incarnation: i32,
    pool: PgPool,
    connect: PgConnectOptions,
    head: watch::Sender<i64>,
    tail: Tail,
    poll_interval: Duration,
}

/// An event as it stands in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedEvent {
    pub position: i64,
    pub stream_id: StreamId,
    pub version: u64,
    pub event_id: Uuid,
    pub command_id: Uuid,
    pub event_type: String,
    pub schema_version: i16,
    /// The event's content as JSON.
    pub data: String,
    pub metadata: Metadata,
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// The event as the domain knows it; `None` when it belongs to another category of the same log.
    pub fn decode<D: Decider>(&self) -> Result<Option<D::Event>, DecodeError> {
        if self.stream_id.category() != D::CATEGORY {
            return Ok(None);
        }
        decider::decode(&self.event_type, self.schema_version, &self.data).map(Some)
    }
}

const SELECT_EVENTS: &str = "SELECT position, stream_id, version, event_id, command_id, type, schema_version, \
                             data::text, metadata, recorded_at FROM eventlog.events";

impl EventLog {
    /// Connects and checks that the database holds this log.
    pub async fn open(options: LogOptions) -> Result<Self, OpenError> {
        let log = options.name;
        let unreachable = |source| OpenError::Unreachable { log: log.clone(), source };
        let connect =
            PgConnectOptions::from_str(&options.database_url).map_err(unreachable)?.application_name(&log);
        let connect = connect.options([SILENT_TRANSACTION]);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(Duration::from_secs(10))
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    // A server that was restarted closed what was idle; what was just used is not asked.
                    Ok(meta.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok())
                })
            })
            .connect_with(connect.clone())
            .await
            .map_err(unreachable)?;
        let identity =
            sqlx::query("SELECT log, incarnation FROM eventlog.identity").fetch_optional(&pool).await;
        let identity = match identity {
            Ok(Some(row)) => row,
            Ok(None) => return Err(OpenError::NotMigrated { log }),
            Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42P01" | "3F000")) => {
                return Err(OpenError::NotMigrated { log });
            }
            Err(source) => return Err(unreachable(source)),
        };
        let found: String = identity.get(0);
        if found != log {
            return Err(OpenError::AnotherLog { expected: log, found });
        }
        let head = head_of(&pool).await.map_err(unreachable)?;
        let inner = Inner {
            incarnation: identity.get(1),
            name: log,
            pool,
            connect,
            head: watch::Sender::new(head),
            tail: Tail::default(),
            poll_interval: options.poll_interval,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name, the same for ever.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Connections to the log's database, for read models and other tables beside the log.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// A position in this log.
    pub fn position(&self, number: i64) -> Position {
        Position { log: self.inner.name.clone(), incarnation: self.inner.incarnation, number }
    }

    pub(crate) fn incarnation(&self) -> i32 {
        self.inner.incarnation
    }

    /// How its database is reached, for a connection of one's own.
    pub fn connect_options(&self) -> &PgConnectOptions {
        &self.inner.connect
    }

    /// The position of the newest event, read from the database.
    pub async fn head(&self) -> Result<i64, sqlx::Error> {
        head_of(self.pool()).await
    }

    /// Events after a position, in the order of the log. A reader that remembers the last position it saw never
    /// misses one. Fewer than `limit` do not say that there is nothing more; none at all does.
    pub async fn read_after(
        &self,
        position: i64,
        limit: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, sqlx::Error> {
        if let Some(events) = self.inner.tail.read(position, limit) {
            return Ok(events);
        }
        let sql = AssertSqlSafe(format!("{SELECT_EVENTS} WHERE position > $1 ORDER BY position LIMIT $2"));
        let rows = sqlx::query(sql).bind(position).bind(limit as i64).fetch_all(self.pool()).await?;
        rows.into_iter().map(|row| recorded_event(row).map(Arc::new)).collect()
    }

    /// Events of one stream after a version, in order, as far as this process has heard of them: from memory where
    /// possible. What was committed a moment ago, or by another process since the last look at the log, may be missing.
    pub async fn read_stream_as_heard(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, sqlx::Error> {
        let head = *self.inner.head.borrow();
        match self.inner.tail.read_stream(stream, after, limit, head) {
            Some(events) => Ok(events),
            None => self.read_stream(stream, after, limit).await,
        }
    }

    /// Events of one stream after a version, in order: all that were committed before.
    pub async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, sqlx::Error> {
        let sql = format!("{SELECT_EVENTS} WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(stream.as_str())
            .bind(after as i64)
            .bind(limit as i64)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(|row| recorded_event(row).map(Arc::new)).collect()
    }

    /// The highest position that this process knows of, and a way to wait for more.
    pub fn watch_head(&self) -> watch::Receiver<i64> {
        self.inner.head.subscribe()
    }

    /// Makes known what this process has appended.
    pub(crate) fn announce_events(&self, position: i64, events: Vec<Arc<RecordedEvent>>) {
        self.inner.tail.push(events);
        self.announce(position);
    }

    /// Makes known that the log has reached a position: somebody who saw the commit told.
    pub fn announce(&self, position: i64) {
        self.inner.head.send_if_modified(|head| {
            let higher = position > *head;
            *head = (*head).max(position);
            higher
        });
    }

    /// Keeps house until `stop`: looks every poll interval whether another process appended, and forgets answers
    /// to clients when their time is over. One per process is enough; what it misses waits for the next look.
    pub async fn follow(self, stop: CancellationToken) {
        let mut forgot = Instant::now();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.inner.poll_interval) => {}
            }
            match self.head().await {
                Ok(head) => self.announce(head),
                Err(error) => tracing::warn!(log = self.name(), %error, "the head of the log cannot be read"),
            }
            if forgot.elapsed() >= FORGET_EVERY {
                forgot = Instant::now();
                match self.forget_command_results(ANSWERS_KEPT).await {
                    Ok(answers) => tracing::debug!(log = self.name(), answers, "old answers are forgotten"),
                    Err(error) => {
                        tracing::warn!(log = self.name(), %error, "old answers cannot be forgotten")
                    }
                }
            }
        }
    }

    /// Forgets answers to clients older than `age`, which is 7 days at least. Returns how many.
    pub async fn forget_command_results(&self, age: Duration) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT eventlog.forget_command_results(make_interval(secs => $1))")
            .bind(age.as_secs_f64())
            .fetch_one(self.pool())
            .await
    }
}

async fn head_of(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let head = "SELECT position FROM eventlog.events ORDER BY position DESC LIMIT 1";
    Ok(sqlx::query_scalar(head).fetch_optional(pool).await?.unwrap_or(0))
}

fn recorded_event(row: sqlx::postgres::PgRow) -> Result<RecordedEvent, sqlx::Error> {
    Ok(RecordedEvent {
        position: row.try_get(0)?,
        stream_id: StreamId::from_name(row.try_get::<String, _>(1)?),
        version: row.try_get::<i64, _>(2)? as u64,
        event_id: row.try_get(3)?,
        command_id: row.try_get(4)?,
        event_type: row.try_get(5)?,
        schema_version: row.try_get(6)?,
        data: row.try_get(7)?,
        metadata: row.try_get::<sqlx::types::Json<Metadata>, _>(8)?.0,
        recorded_at: row.try_get(9)?,
    })
}

/// Why streams could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("stream {stream}: {source}")]
    Decode { stream: StreamId, source: DecodeError },
}

/// Loads the states of streams, all of them in one query, or two when any has snapshots.
pub(crate) async fn load_states(
    connection: &mut sqlx::PgConnection,
    wanted: &[(StreamId, StateCodec)],
) -> Result<Vec<(StreamId, Versioned)>, LoadError> {
    let mut loaded: Vec<(StreamId, Versioned)> =
        wanted.iter().map(|(id, codec)| (id.clone(), crate::operation::initial(*codec))).collect();
    if wanted.iter().any(|(_, codec)| codec.snapshot_every.is_some()) {
        start_from_snapshots(connection, &mut loaded).await?;
    }
    let ids: Vec<&str> = loaded.iter().map(|(id, _)| id.as_str()).collect();
    let versions: Vec<i64> = loaded.iter().map(|(_, state)| state.version as i64).collect();
    // A row for each stream and not for each event: a row costs more than what is in it.
    let rows = sqlx::query(
        "SELECT u.ordinal, e.types, e.schema_versions, e.data \
           FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS u(id, after, ordinal), \
                LATERAL (SELECT array_agg(s.type) AS types, array_agg(s.schema_version) AS schema_versions, \
                                array_agg(s.data::text) AS data \
                           FROM (SELECT type, schema_version, data FROM eventlog.events \
                                  WHERE stream_id = u.id AND version > u.after ORDER BY version) s) e \
          WHERE e.types IS NOT NULL",
    )
    .bind(ids)
    .bind(versions)
    .fetch_all(connection)
    .await?;

    for row in rows {
        let (stream, known) = &mut loaded[row.try_get::<i64, _>(0)? as usize - 1];
        let (types, schema_versions): (Vec<String>, Vec<i16>) = (row.try_get(1)?, row.try_get(2)?);
        let data: Vec<String> = row.try_get(3)?;
        let events = types.into_iter().zip(schema_versions).zip(data);
        let events: Vec<_> = events
            .map(|((event_type, schema_version), data)| StoredEvent { event_type, schema_version, data })
            .collect();
        known.state = (known.codec.fold)(Some(known.state.clone()), &events)
            .map_err(|source| LoadError::Decode { stream: stream.clone(), source })?;
        known.version += events.len() as u64;
    }
    Ok(loaded)
}

async fn start_from_snapshots(
    connection: &mut sqlx::PgConnection,
    streams: &mut [(StreamId, Versioned)],
) -> Result<(), LoadError> {
    let with_snapshots = || streams.iter().filter(|(_, s)| s.codec.snapshot_every.is_some());
    let ids: Vec<&str> = with_snapshots().map(|(id, _)| id.as_str()).collect();
    let state_versions: Vec<i32> = with_snapshots().map(|(_, s)| s.codec.state_version).collect();
    let rows = sqlx::query(
        "SELECT s.stream_id, s.version, s.state::text \
           FROM unnest($1::text[], $2::int[]) AS u(id, state_version), \
                LATERAL (SELECT * FROM eventsourcing.snapshots s \
                          WHERE s.stream_id = u.id AND s.state_version = u.state_version LIMIT 1) s",
    )
    .bind(ids)
    .bind(state_versions)
    .fetch_all(connection)
    .await?;
    for row in rows {
        let (id, version, json): (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let Some((stream, known)) = streams.iter_mut().find(|(stream, _)| stream.as_str() == id) else {
            continue;
        };
        match (known.codec.from_snapshot)(&json) {
            Ok(state) => (known.state, known.version) = (state, version as u64),
            // A snapshot is a shortcut: the events say the same, only slower.
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot does not fit the state and is not used")
            }
        }
    }
    Ok(())
}
