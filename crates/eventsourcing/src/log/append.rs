//! The append: one call of `eventlog.append` on a connection that does nothing else. It reports what the
//! database found, a commit, a conflict or an answer from before, and decides nothing about it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::{Arguments, Connection, PgConnection, Row};
use uuid::Uuid;

use crate::operation::PendingEvent;
use crate::stream::StreamId;

/// How long one append may take before its outcome counts as unknown.
const APPEND_TIMEOUT: Duration = Duration::from_secs(15);

/// One command of a batch, as it is stored.
pub(crate) struct CommandRow<'a> {
    pub scope: &'a str,
    pub command_id: Uuid,
    pub request_hash: [u8; 32],
    /// `None` for an answer that is not kept; a kept one from before is looked up all the same.
    pub outcome: Option<&'a str>,
    pub expires: bool,
    pub metadata: &'a str,
    pub events: &'a [PendingEvent],
}

/// What one call of the append function takes: commands with their events, and every stream that any of
/// their decisions read, with its version.
pub(crate) struct Batch<'a> {
    pub commands: Vec<CommandRow<'a>>,
    pub read: Vec<(&'a StreamId, u64)>,
    /// An event of the batch before, when this one was decided on its states before they were durable.
    pub foundation: Option<&'a Foundation>,
}

/// Names an event, by which a batch knows that the one it stands on was appended, and all of it. Its version
/// would not do: another process may have appended something else under the same.
#[derive(Clone, Debug)]
pub(crate) struct Foundation {
    pub stream: StreamId,
    pub version: u64,
    pub event_id: Uuid,
}

/// A call of the append function that is ready to be sent.
pub(crate) struct Call(Result<PgArguments, BoxDynError>);

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Appended {
    /// All of it is durable; the log has reached this position. The batch's events have the last positions up to
    /// it, without a hole, and were recorded at this time.
    Committed { position: i64, recorded_at: DateTime<Utc> },
    /// Nothing was written: these streams have moved on, these commands were answered before.
    Conflict { stale: Vec<StreamId>, known: Vec<KnownCommand> },
    /// Nothing was written: the batch that this one stands on is not in the log.
    Unfounded,
}

/// The stored answer to a command.
#[derive(Debug)]
pub(crate) struct KnownCommand {
    pub scope: String,
    pub command_id: Uuid,
    pub request_hash: Vec<u8>,
    pub outcome: String,
    pub position: i64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The connection broke or the time was up: it may have been committed or not.
    #[error("the outcome of an append is unknown: {0}")]
    Unknown(String),
    /// The database refused the batch; nothing was written.
    #[error("the database refused an append: {0}")]
    Refused(sqlx::Error),
}

/// The connection that appends and loads. It is direct, one per command processor, and made anew when broken.
pub(crate) struct AppendConnection {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl AppendConnection {
    pub fn new(options: &PgConnectOptions) -> Self {
        // Durable before it is acknowledged, whatever the server's default; array queries are planned once.
        let options = options.clone().options([
            ("synchronous_commit", "on"),
            ("plan_cache_mode", "force_generic_plan"),
            ("statement_timeout", "20s"),
            ("default_transaction_isolation", "read committed"),
        ]);
        Self { options, connection: None }
    }

    pub async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(PgConnection::connect_with(&self.options).await?);
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }

    /// Gives the connection up: its state is not known any more.
    pub fn drop_broken(&mut self) {
        self.connection = None;
    }

    pub async fn append(&mut self, call: Call) -> Result<Appended, AppendError> {
        let arguments = call.0.map_err(|error| AppendError::Refused(sqlx::Error::Encode(error)))?;
        let connection = self.get().await.map_err(|e| AppendError::Unknown(e.to_string()))?;
        match tokio::time::timeout(APPEND_TIMEOUT, send(connection, arguments)).await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(error)) if is_refusal(&error) => Err(AppendError::Refused(error)),
            Ok(Err(error)) => {
                self.drop_broken();
                Err(AppendError::Unknown(with_advice(&error)))
            }
            Err(_) => {
                self.drop_broken();
                Err(AppendError::Unknown(format!("no answer within {APPEND_TIMEOUT:?}")))
            }
        }
    }
}

/// The error, and what a person does about it where that is known.
fn with_advice(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("53100") => {
            format!("the disk of PostgreSQL is full, free some space and it goes on by itself: {error}")
        }
        _ => error.to_string(),
    }
}

/// A refusal is definite: the server answered and the transaction is aborted. A server that shuts down or
/// loses its disk may say so after the commit record was written, so those count as unknown.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let class = error.code().map(|code| code.chars().take(2).collect::<String>());
    matches!(class.as_deref(), Some("22" | "23" | "42" | "54" | "0A" | "P0"))
}

impl Call {
    pub fn new(batch: &Batch<'_>) -> Self {
        Self(arguments(batch))
    }
}

fn arguments(batch: &Batch<'_>) -> Result<PgArguments, BoxDynError> {
    let commands = &batch.commands;
    let events = || commands.iter().flat_map(|c| c.events.iter().map(move |e| (c, e)));
    if events().any(|(_, event)| holds_nul(&event.encoded.data)) {
        return Err("an event holds the character NUL, which no text in PostgreSQL can".into());
    }
    let mut all = PgArguments::default();
    all.add(commands.iter().map(|c| c.scope).collect::<Vec<_>>())?;
    all.add(commands.iter().map(|c| c.command_id).collect::<Vec<_>>())?;
    all.add(commands.iter().map(|c| &c.request_hash[..]).collect::<Vec<_>>())?;
    all.add(commands.iter().map(|c| c.outcome).collect::<Vec<_>>())?;
    all.add(commands.iter().map(|c| c.expires).collect::<Vec<_>>())?;
    all.add(batch.read.iter().map(|(stream, _)| stream.as_str()).collect::<Vec<_>>())?;
    all.add(batch.read.iter().map(|(_, version)| *version as i64).collect::<Vec<_>>())?;
    all.add(events().map(|(_, e)| e.stream.as_str()).collect::<Vec<_>>())?;
    all.add(events().map(|(_, e)| e.version as i64).collect::<Vec<_>>())?;
    all.add(events().map(|(_, e)| e.event_id).collect::<Vec<_>>())?;
    all.add(events().map(|(c, _)| c.command_id).collect::<Vec<_>>())?;
    all.add(events().map(|(_, e)| e.encoded.event_type.as_str()).collect::<Vec<_>>())?;
    all.add(events().map(|(_, e)| e.encoded.schema_version).collect::<Vec<_>>())?;
    all.add(events().map(|(_, e)| e.encoded.data.as_str()).collect::<Vec<_>>())?;
    all.add(events().map(|(c, _)| c.metadata).collect::<Vec<_>>())?;
    all.add(batch.foundation.map(|event| event.stream.as_str()))?;
    all.add(batch.foundation.map(|event| event.version as i64))?;
    all.add(batch.foundation.map(|event| event.event_id))?;
    Ok(all)
}

/// Whether a string in this JSON has the character NUL. The type json stores it, yet read models could not.
fn holds_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        // A backslash that is itself escaped escapes nothing.
        let backslashes = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        backslashes.is_multiple_of(2)
    })
}

async fn send(connection: &mut PgConnection, arguments: PgArguments) -> Result<Appended, sqlx::Error> {
    let row = sqlx::query_with(
        "SELECT last_position, appended_at, unfounded, stale_streams, \
                known_scope, known_id, known_hash, known_outcome, known_position \
           FROM eventlog.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        arguments,
    )
    .fetch_one(connection)
    .await?;

    if let Some(position) = row.try_get::<Option<i64>, _>(0)? {
        return Ok(Appended::Committed { position, recorded_at: row.try_get(1)? });
    }
    if row.try_get::<Option<bool>, _>(2)?.unwrap_or(false) {
        return Ok(Appended::Unfounded);
    }
    let stale = row.try_get::<Option<Vec<String>>, _>(3)?.unwrap_or_default();
    Ok(Appended::Conflict {
        stale: stale.into_iter().map(StreamId::from_name).collect(),
        known: known_commands(&row)?,
    })
}

fn known_commands(row: &sqlx::postgres::PgRow) -> Result<Vec<KnownCommand>, sqlx::Error> {
    let Some(scopes) = row.try_get::<Option<Vec<String>>, _>(4)? else { return Ok(Vec::new()) };
    let ids: Vec<Uuid> = row.try_get(5)?;
    let hashes: Vec<Vec<u8>> = row.try_get(6)?;
    let outcomes: Vec<String> = row.try_get(7)?;
    let positions: Vec<i64> = row.try_get(8)?;
    let known = scopes.into_iter().zip(ids).zip(hashes).zip(outcomes).zip(positions);
    Ok(known
        .map(|((((scope, command_id), request_hash), outcome), position)| KnownCommand {
            scope,
            command_id,
            request_hash,
            outcome,
            position,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_wherever_it_stands_and_nothing_that_looks_like_one() {
        let json = |text: &str| serde_json::to_string(&[text]).expect("a text serializes");
        for text in ["\0", "a\0", "\\\0", "\\\\\0", "\\u0000\0"] {
            assert!(holds_nul(&json(text)), "{text:?}");
        }
        for text in ["", "\\u0000", "\\\\u0000", "a\\u0000b", "u0000", "\u{1}"] {
            assert!(!holds_nul(&json(text)), "{text:?}");
        }
    }
}
