//! Snapshots: the state of a long stream, kept so that a cold load need not fold all of it. A snapshot is
//! never the truth: it is written beside the commit, may be missing or late, and is ignored once the state's
//! version has changed.

use sqlx::Executor;

use crate::log::EventLog;
use crate::operation::Versioned;
use crate::stream::StreamId;

/// Takes a snapshot in the background when the stream has passed a multiple of its decider's interval since
/// the version it was read at.
pub(crate) fn take_if_due(log: &EventLog, stream: &StreamId, state: &Versioned, read_at: Option<u64>) {
    let Some(every) = state.codec.snapshot_every else { return };
    let before = read_at.unwrap_or(state.version);
    if before / every == state.version / every {
        return;
    }
    let json = match (state.codec.to_snapshot)(&state.state) {
        Ok(json) => json,
        Err(error) => {
            tracing::error!(%stream, %error, "a state cannot be written as a snapshot");
            return;
        }
    };
    let (log, stream) = (log.clone(), stream.clone());
    let (state_version, version) = (state.codec.state_version, state.version as i64);
    tokio::spawn(async move {
        let upsert = sqlx::query(
            "INSERT INTO eventsourcing.snapshots (stream_id, state_version, version, state) \
             VALUES ($1, $2, $3, $4::jsonb) \
             ON CONFLICT (stream_id, state_version) DO UPDATE \
                SET version = excluded.version, state = excluded.state, taken_at = now() \
              WHERE snapshots.version < excluded.version",
        )
        .bind(stream.as_str())
        .bind(state_version)
        .bind(version)
        .bind(json);
        if let Err(error) = log.pool().execute(upsert).await {
            tracing::warn!(%stream, %error, "a snapshot could not be stored; the next one will do");
        }
    });
}
