//! How far a subscription has come, in the database of the service that subscribes. It only moves by
//! compare-and-set, so that of two runners that believe to be the only one, one has no effect.

use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, Row, Transaction};

/// A stored checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub incarnation: i32,
    pub position: i64,
}

pub(crate) async fn load(
    from: impl PgExecutor<'_>,
    name: &str,
    log: &str,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT incarnation, position FROM eventsourcing.checkpoints \
          WHERE subscription = $1 AND log = $2 AND partition = 0",
    )
    .bind(name)
    .bind(log)
    .fetch_optional(from)
    .await?;
    row.map(|row| Ok(Checkpoint { incarnation: row.try_get(0)?, position: row.try_get(1)? })).transpose()
}

pub(crate) async fn create(
    pool: &PgPool,
    name: &str,
    log: &str,
    incarnation: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eventsourcing.checkpoints (subscription, log, incarnation, position) \
         VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(log)
    .bind(incarnation)
    .execute(pool)
    .await?;
    Ok(())
}

/// Begins a transaction whose loss in a crash of the database would only repeat work: its effect and its
/// position are lost together, so it need not wait for the disk.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await
}

/// Moves a checkpoint, if it still is at `from`. Returns whether it was.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    name: &str,
    log: &str,
    from: i64,
    to: i64,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "UPDATE eventsourcing.checkpoints SET position = $4, moved_at = now() \
          WHERE subscription = $1 AND log = $2 AND partition = 0 AND position = $3",
    )
    .bind(name)
    .bind(log)
    .bind(from)
    .bind(to)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}
