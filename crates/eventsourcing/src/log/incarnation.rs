//! What an operator does after a restore, or a promotion that may have lost commits: the log is another one from here on,
//! although it has the same name, since positions that others have seen may be given to other events. Whoever follows it
//! from outside notices, and stops; what follows it from inside the same database was restored with it, and goes on.

use sqlx::{Connection, PgConnection};

/// Why the incarnation was not raised.
#[derive(Debug, thiserror::Error)]
pub enum IncarnationError {
    #[error("the database of `{log}` cannot be reached: {source}")]
    Unreachable { log: String, source: sqlx::Error },
    #[error("the database of `{log}` cannot be changed: {source}")]
    Failed { log: String, source: sqlx::Error },
    #[error("this database does not hold the log `{log}`: check the database URL")]
    AnotherLog { log: String },
    #[error(
        "{sessions} session(s) of `{log}` still work on this database: stop every replica of the service first, since \
         they go on with the incarnation that they began with"
    )]
    InUse { log: String, sessions: i64 },
}

/// Raises the incarnation of the log at `url`, with the rights of its owner. Returns the new one.
///
/// # Errors
/// `InUse` while a service still works on it; what keeps it from being changed.
pub async fn raise_incarnation(url: &str, log: &str) -> Result<i32, IncarnationError> {
    let unreachable = |source| IncarnationError::Unreachable { log: log.to_owned(), source };
    let failed = |source| IncarnationError::Failed { log: log.to_owned(), source };
    let mut connection = PgConnection::connect(url).await.map_err(unreachable)?;
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1";
    let sessions: i64 =
        sqlx::query_scalar(sessions).bind(log).fetch_one(&mut connection).await.map_err(failed)?;
    if sessions > 0 {
        return Err(IncarnationError::InUse { log: log.to_owned(), sessions });
    }
    let mut transaction = connection.begin().await.map_err(failed)?;
    let raise =
        "UPDATE eventlog.identity SET incarnation = incarnation + 1 WHERE log = $1 RETURNING incarnation";
    let raised: Option<i32> =
        sqlx::query_scalar(raise).bind(log).fetch_optional(&mut *transaction).await.map_err(failed)?;
    let Some(raised) = raised else { return Err(IncarnationError::AnotherLog { log: log.to_owned() }) };
    // They came back together with the log, so none of them has seen anything that it does not hold.
    let own = "UPDATE eventsourcing.checkpoints SET incarnation = $2 \
                WHERE log = $1 AND position <= (SELECT coalesce(max(position), 0) FROM eventlog.events)";
    sqlx::query(own).bind(log).bind(raised).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(raised)
}
