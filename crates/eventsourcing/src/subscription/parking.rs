//! Parked messages: one that cannot be handled, together with the later ones of its key, set aside so that
//! other keys go on. Nothing is lost: operators look, redrive or discard.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use crate::feed::Message;

/// A message that was set aside.
#[derive(Clone, Debug)]
pub struct ParkedMessage {
    pub subscription: String,
    pub position: i64,
    pub message_id: Uuid,
    pub key: String,
    /// The message as JSON.
    pub message: serde_json::Value,
    /// Why it could not be handled; `None` if it only waits behind an earlier one of its key.
    pub error: Option<String>,
    pub attempts: i32,
    pub parked_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT subscription, position, message_id, key, message, error, attempts, parked_at \
                      FROM eventsourcing.parked_messages";

fn parked_message(row: PgRow) -> Result<ParkedMessage, sqlx::Error> {
    Ok(ParkedMessage {
        subscription: row.try_get(0)?,
        position: row.try_get(1)?,
        message_id: row.try_get(2)?,
        key: row.try_get(3)?,
        message: row.try_get::<Json<_>, _>(4)?.0,
        error: row.try_get(5)?,
        attempts: row.try_get(6)?,
        parked_at: row.try_get(7)?,
    })
}

pub(super) async fn list(
    pool: &PgPool,
    subscription: Option<&str>,
    after: Option<(&str, i64)>,
    limit: usize,
) -> Result<Vec<ParkedMessage>, sqlx::Error> {
    let sql = format!(
        "{SELECT} WHERE ($1::text IS NULL OR subscription = $1) \
         AND ($2::text IS NULL OR (subscription, position) > ($2, $3)) ORDER BY subscription, position LIMIT $4"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(subscription)
        .bind(after.map(|(name, _)| name))
        .bind(after.map(|(_, position)| position))
        .bind(limit as i64)
        .fetch_all(pool)
        .await?;
    rows.into_iter().map(parked_message).collect()
}

pub(super) async fn get(
    pool: &PgPool,
    subscription: &str,
    position: i64,
) -> Result<Option<ParkedMessage>, sqlx::Error> {
    let sql = AssertSqlSafe(format!("{SELECT} WHERE subscription = $1 AND position = $2"));
    let row = sqlx::query(sql).bind(subscription).bind(position).fetch_optional(pool).await?;
    row.map(parked_message).transpose()
}

pub(super) async fn counts(pool: &PgPool) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    sqlx::query_as::<_, (String, i64)>(
        "SELECT subscription, count(*) FROM eventsourcing.parked_messages GROUP BY subscription",
    )
    .fetch_all(pool)
    .await
    .map(|rows| rows.into_iter().collect())
}

pub(super) async fn redrive(pool: &PgPool, subscription: &str, key: &str) -> Result<u64, sqlx::Error> {
    let marked = sqlx::query(
        "UPDATE eventsourcing.parked_messages SET redrive = true WHERE subscription = $1 AND key = $2",
    )
    .bind(subscription)
    .bind(key)
    .execute(pool)
    .await?;
    Ok(marked.rows_affected())
}

pub(super) async fn discard(pool: &PgPool, subscription: &str, position: i64) -> Result<bool, sqlx::Error> {
    let deleted =
        sqlx::query("DELETE FROM eventsourcing.parked_messages WHERE subscription = $1 AND position = $2")
            .bind(subscription)
            .bind(position)
            .execute(pool)
            .await?;
    Ok(deleted.rows_affected() == 1)
}

pub(crate) async fn park<M: Message>(
    connection: &mut PgConnection,
    subscription: &str,
    partition: i32,
    message: &M,
    error: Option<&str>,
    attempts: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eventsourcing.parked_messages \
             (subscription, position, message_id, key, message, error, attempts, partition) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(subscription)
    .bind(message.position())
    .bind(message.id())
    .bind(message.key())
    .bind(Json(message))
    .bind(error)
    .bind(attempts as i32)
    .bind(partition)
    .execute(connection)
    .await?;
    Ok(())
}

/// Keys of a partition that have parked messages.
pub(crate) async fn keys(
    executor: impl PgExecutor<'_>,
    subscription: &str,
    partition: i32,
) -> Result<HashSet<String>, sqlx::Error> {
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT key FROM eventsourcing.parked_messages WHERE subscription = $1 AND partition = $2",
    )
    .bind(subscription)
    .bind(partition)
    .fetch_all(executor)
    .await?;
    Ok(keys.into_iter().collect())
}

/// Whether a subscription has parked messages of any partition.
pub(super) async fn any(pool: &PgPool, subscription: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM eventsourcing.parked_messages WHERE subscription = $1)")
        .bind(subscription)
        .fetch_one(pool)
        .await
}

/// The first parked message of any key of a partition that somebody wants handled again.
pub(super) async fn next_to_redrive(
    pool: &PgPool,
    subscription: &str,
    partition: i32,
) -> Result<Option<ParkedMessage>, sqlx::Error> {
    let sql = format!(
        "{SELECT} p WHERE subscription = $1 AND partition = $2 AND EXISTS (SELECT FROM eventsourcing.parked_messages r \
          WHERE r.subscription = p.subscription AND r.key = p.key AND r.redrive) ORDER BY position LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(subscription).bind(partition).fetch_optional(pool).await?;
    row.map(parked_message).transpose()
}

/// The first message of a subscription whose key nobody has parked under the other name.
pub(crate) async fn first_not_parked_by(
    connection: &mut PgConnection,
    subscription: &str,
    other: &str,
) -> Result<Option<ParkedMessage>, sqlx::Error> {
    let sql = format!(
        "{SELECT} p WHERE subscription = $1 AND NOT EXISTS (SELECT FROM eventsourcing.parked_messages o \
          WHERE o.subscription = $2 AND o.key = p.key) ORDER BY position LIMIT 1"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(subscription).bind(other);
    query.fetch_optional(connection).await?.map(parked_message).transpose()
}

/// Notes that a redrive failed, and ends it for the whole key.
pub(super) async fn redrive_failed(
    pool: &PgPool,
    parked: &ParkedMessage,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE eventsourcing.parked_messages SET redrive = false, \
                error = CASE WHEN position = $3 THEN $4 ELSE error END, \
                attempts = attempts + CASE WHEN position = $3 THEN 1 ELSE 0 END \
          WHERE subscription = $1 AND key = $2",
    )
    .bind(&parked.subscription)
    .bind(&parked.key)
    .bind(parked.position)
    .bind(error)
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes a handled message off the list. Returns whether it was still there.
pub(crate) async fn handled(
    connection: &mut PgConnection,
    parked: &ParkedMessage,
) -> Result<bool, sqlx::Error> {
    // The key's next message is to be handled too, also one that was parked after the redrive was asked for.
    let gone: i64 = sqlx::query_scalar(
        "WITH gone AS (DELETE FROM eventsourcing.parked_messages \
                        WHERE subscription = $1 AND position = $2 RETURNING position), \
              next AS (UPDATE eventsourcing.parked_messages SET redrive = true \
                        WHERE subscription = $1 AND key = $3 AND position > $2) \
         SELECT count(*) FROM gone",
    )
    .bind(&parked.subscription)
    .bind(parked.position)
    .bind(&parked.key)
    .fetch_one(connection)
    .await?;
    Ok(gone == 1)
}
