//! How far a subscription has come in each partition of a log, in the database of the service that subscribes. It only
//! moves by compare-and-set, so that of two runners that believe to be the only one, one has no effect.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, Row, Transaction};

use super::effect::Move;
use crate::feed::Place;

/// A stored checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub partition: i32,
    pub place: Place,
    pub moved_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT partition, incarnation, position, resume, moved_at FROM eventsourcing.checkpoints \
                       WHERE subscription = $1 AND log = $2";

fn checkpoint(row: PgRow) -> Result<Checkpoint, sqlx::Error> {
    let place = Place { incarnation: row.try_get(1)?, position: row.try_get(2)?, resume: row.try_get(3)? };
    Ok(Checkpoint { partition: row.try_get(0)?, place, moved_at: row.try_get(4)? })
}

/// The checkpoints of all partitions that there are, in order.
pub(crate) async fn load(
    executor: impl PgExecutor<'_>,
    name: &str,
    log: &str,
) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY partition"));
    let rows = sqlx::query(sql).bind(name).bind(log).fetch_all(executor).await?;
    rows.into_iter().map(checkpoint).collect()
}

/// Why a subscription cannot have checkpoints in so many partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It has them in another number of partitions.
    Partitions(usize),
    /// It read the log itself until now, and has parked messages, of which nobody knows in which partition their keys are.
    Parked,
}

/// Creates the checkpoints of all partitions at once, unless they are there. A subscription that read the log itself
/// until now has seen, of every partition, what lies up to its place in the log.
pub(crate) async fn create(
    pool: &PgPool,
    name: &str,
    log: &str,
    partitions: i32,
    incarnation: i32,
) -> Result<Result<Vec<Checkpoint>, Unfit>, sqlx::Error> {
    let stored = load(pool, name, log).await?;
    let is_whole = |stored: &[Checkpoint]| stored.len() == partitions.unsigned_abs() as usize;
    if is_whole(&stored) {
        return Ok(Ok(stored));
    }
    let read_the_log = match stored.as_slice() {
        [] => false,
        [only] if only.partition == 0 && only.place.resume.is_none() => true,
        more => return Ok(Err(Unfit::Partitions(more.len()))),
    };
    if read_the_log && super::parking::any(pool, name).await? {
        return Ok(Err(Unfit::Parked));
    }
    // One statement, so that there are either all or one. Of two who do it at once, the second changes nothing.
    sqlx::query(
        "INSERT INTO eventsourcing.checkpoints (subscription, log, partition, incarnation, position) \
         SELECT $1, $2, p, coalesce(c.incarnation, $3), coalesce(c.position, 0) FROM generate_series(0, $4 - 1) p \
           LEFT JOIN eventsourcing.checkpoints c ON c.subscription = $1 AND c.log = $2 AND c.partition = 0 \
         ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(log)
    .bind(incarnation)
    .bind(partitions)
    .execute(pool)
    .await?;
    let stored = load(pool, name, log).await?;
    Ok(if is_whole(&stored) { Ok(stored) } else { Err(Unfit::Partitions(stored.len())) })
}

/// Begins a transaction whose loss in a crash of the database would only repeat work: its effect and its
/// position are lost together, so it need not wait for the disk.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await
}

/// Moves a checkpoint, if it still is where the move begins. Returns whether it was.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    name: &str,
    step: Move<'_>,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "UPDATE eventsourcing.checkpoints SET position = $6, incarnation = $7, resume = $8, moved_at = now() \
          WHERE subscription = $1 AND log = $2 AND partition = $3 AND position = $4 AND incarnation = $5",
    )
    .bind(name)
    .bind(step.log)
    .bind(step.partition)
    .bind(step.from.position)
    .bind(step.from.incarnation)
    .bind(step.to.position)
    .bind(step.to.incarnation)
    .bind(step.to.resume)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Where a subscription is told to go on, in all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoOn {
    /// Read the source from its beginning: what lies up to the position is passed over.
    pub from_beginning: bool,
    /// A position and the incarnation of the log that it is of, which somebody has compared with what was handled.
    pub checked: Option<(i32, i64)>,
}

/// What became of telling a subscription to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WentOn {
    Done,
    /// There is none of this name.
    Unknown,
    /// It runs: nothing was moved under its feet.
    NotStopped,
    /// The incarnation is not higher than the one that it has seen: it would do again what it did.
    NotRaised,
}

/// Touches the checkpoints of all partitions, and moves them if so told: to a higher incarnation only. Returns how many.
pub(crate) async fn go_on(pool: &PgPool, name: &str, log: &str, how: GoOn) -> Result<u64, sqlx::Error> {
    let touched = sqlx::query(
        "UPDATE eventsourcing.checkpoints SET moved_at = clock_timestamp(), \
                resume = CASE WHEN $3 THEN NULL ELSE resume END, \
                incarnation = coalesce($4, incarnation), position = coalesce($5, position) \
          WHERE subscription = $1 AND log = $2 AND ($4 IS NULL OR incarnation < $4)",
    )
    .bind(name)
    .bind(log)
    .bind(how.from_beginning)
    .bind(how.checked.map(|(incarnation, _)| incarnation))
    .bind(how.checked.map(|(_, position)| position))
    .execute(pool)
    .await?;
    Ok(touched.rows_affected())
}
