//! Brings a service's database to the schema of this program: the event log's own tables first, then the
//! service's. Several processes may do so at once, one waits for the other, and older ones may serve meanwhile: a
//! migration adds and does not take away, and one that cannot have its locks soon gives way and tries again.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use sqlx::migrate::{MigrateError as SqlxMigrateError, Migration, MigrationSource, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr};

/// The event log's migrations have versions below this, a service's own start here.
const FIRST_OF_SERVICE: i64 = 1000;

/// A service's own migrations in order: a name and its SQL. A released one is never edited.
pub type Migrations = &'static [(&'static str, &'static str)];

const EVENT_LOG: Migrations = &[
    ("event log", include_str!("../../migrations/0001_event_log.sql")),
    ("events as json", include_str!("../../migrations/0002_events_as_json.sql")),
    ("rebuilds", include_str!("../../migrations/0003_rebuilds.sql")),
    ("partitions", include_str!("../../migrations/0004_partitions.sql")),
    ("relay", include_str!("../../migrations/0005_relay.sql")),
];

/// A migration that waits for a table is waited for by everybody who wants that table, so it does not wait for long.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// So often it tries again.
const LOCK_ATTEMPTS: u32 = 30;
/// Pause between two attempts, in which those who waited get their turn.
const LOCK_PAUSE: Duration = Duration::from_secs(1);
/// PostgreSQL's code for a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Why a database could not be migrated, or is not as this program needs it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database of `{log}` lacks {missing} migration(s) of this program")]
    Behind { log: String, missing: usize },
    #[error("the database of `{log}` cannot be reached: {source}")]
    Unreachable { log: String, source: sqlx::Error },
    #[error(
        "the database of `{log}` was written by a newer version of this program (migration {version} is unknown \
         here): start that version or a later one, or restore a backup made before the upgrade"
    )]
    Newer { log: String, version: i64 },
    #[error(
        "the database of `{log}` was migrated by a program with another migration {version}: this build does not \
         belong to this data"
    )]
    Foreign { log: String, version: i64 },
    #[error("the database of `{log}` cannot be migrated: {source}")]
    Failed { log: String, source: SqlxMigrateError },
    #[error("the role `{role}` of `{log}` cannot be given its rights: {source}")]
    Rights { log: String, role: String, source: sqlx::Error },
}

/// Migrates the database at `url`, which needs the rights of its owner.
///
/// `app_role` is the role that the service works as, when that is another: it may read the log and execute
/// the append, and use the service's tables, and nothing else.
pub async fn migrate(
    url: &str,
    log: &str,
    app_role: Option<&str>,
    service: Migrations,
) -> Result<(), MigrateError> {
    let unreachable = |source| MigrateError::Unreachable { log: log.to_owned(), source };
    let mut connection = PgConnection::connect(url).await.map_err(unreachable)?;
    // Until the session ends: rights are granted one process at a time, too, since grants that meet fail.
    let alone = "SELECT pg_advisory_lock(hashtextextended('storeline migrations', 0))";
    sqlx::query(alone).execute(&mut connection).await.map_err(unreachable)?;
    let limit = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    sqlx::query(AssertSqlSafe(limit)).execute(&mut connection).await.map_err(unreachable)?;
    let migrator = Migrator::new(Source(service)).await.map_err(|e| failed(log, e))?;
    let mut attempts = 1;
    while let Err(error) = migrator.run_direct(None, &mut connection, false).await {
        if attempts == LOCK_ATTEMPTS || !is_lock_timeout(&error) {
            return Err(failed(log, error));
        }
        attempts += 1;
        tracing::warn!(log, "a migration waits for a table that is in use, and tries again");
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    sqlx::query("INSERT INTO eventlog.identity (log) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(log)
        .execute(&mut connection)
        .await
        .map_err(unreachable)?;
    if let Some(role) = app_role {
        grant(&mut connection, role).await.map_err(|source| MigrateError::Rights {
            log: log.to_owned(),
            role: role.to_owned(),
            source,
        })?;
    }
    connection.close().await.map_err(unreachable)
}

/// Checks that the database at `url` has every migration of this program, with the rights of the role that the service
/// works as. Migrations of a later version are no obstacle: while that is being rolled out, this one still serves.
///
/// # Errors
/// `Behind` or `Foreign` when it cannot serve, `Unreachable` when that is not known.
pub async fn require_migrated(url: &str, log: &str, service: Migrations) -> Result<(), MigrateError> {
    let unreachable = |source| MigrateError::Unreachable { log: log.to_owned(), source };
    let mut connection = PgConnection::connect(url).await.map_err(unreachable)?;
    let needed = Source(service).resolve().await.map_err(|e| failed(log, SqlxMigrateError::Source(e)))?;
    let applied = "SELECT version, checksum FROM public._sqlx_migrations WHERE success";
    let applied: Vec<(i64, Vec<u8>)> = match sqlx::query_as(applied).fetch_all(&mut connection).await {
        Ok(applied) => applied,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Vec::new(),
        Err(source) => return Err(unreachable(source)),
    };
    connection.close().await.map_err(unreachable)?;
    let mut missing = 0;
    for migration in &needed {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, checksum)) if *checksum == *migration.checksum => {}
            Some(_) => return Err(failed(log, SqlxMigrateError::VersionMismatch(migration.version))),
            None => missing += 1,
        }
    }
    if missing > 0 { Err(MigrateError::Behind { log: log.to_owned(), missing }) } else { Ok(()) }
}

fn is_lock_timeout(error: &SqlxMigrateError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(sqlx::Error::Database(error)) = error.downcast_ref::<sqlx::Error>() {
            return error.code().as_deref() == Some(LOCK_NOT_AVAILABLE);
        }
        next = error.source();
    }
    false
}

fn failed(log: &str, source: SqlxMigrateError) -> MigrateError {
    let log = log.to_owned();
    match source {
        SqlxMigrateError::VersionMissing(version) => MigrateError::Newer { log, version },
        SqlxMigrateError::VersionMismatch(version) => MigrateError::Foreign { log, version },
        source => MigrateError::Failed { log, source },
    }
}

async fn grant(connection: &mut PgConnection, role: &str) -> Result<(), sqlx::Error> {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let rights = format!(
        "GRANT USAGE ON SCHEMA eventlog, eventsourcing, public TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA eventlog TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA eventlog, eventsourcing TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA eventsourcing, public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA eventsourcing, public TO {role};"
    );
    sqlx::raw_sql(AssertSqlSafe(rights)).execute(connection).await?;
    Ok(())
}

#[derive(Debug)]
struct Source(Migrations);

impl<'s> MigrationSource<'s> for Source {
    fn resolve(self) -> futures::future::BoxFuture<'s, Result<Vec<Migration>, sqlx::error::BoxDynError>> {
        let numbered = |first: i64, migrations: Migrations| {
            migrations.iter().enumerate().map(move |(i, (name, sql))| {
                let version = first + i as i64;
                Migration::new(
                    version,
                    Cow::Borrowed(*name),
                    MigrationType::Simple,
                    sql.into_sql_str(),
                    false,
                )
            })
        };
        let all = numbered(1, EVENT_LOG).chain(numbered(FIRST_OF_SERVICE, self.0)).collect();
        Box::pin(async move { Ok(all) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginnings of their checksums. Every database remembers those of the migrations that it went through, and is
    /// refused by a program with another text, be it another comment. A new migration gets a new line here.
    const CHECKSUMS: [&str; 5] =
        ["43d17e40fc8f5748", "0815772d319e4624", "37dc2512d230cd93", "66f8b747dbd95816", "6eef0d777a086434"];

    #[tokio::test]
    async fn a_migration_of_the_event_log_is_never_edited() {
        let migrations = Source(&[]).resolve().await.expect("they are part of the program");
        let hex =
            |checksum: &[u8]| checksum.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let checksums: Vec<String> = migrations.iter().map(|migration| hex(&migration.checksum)).collect();
        assert_eq!(checksums, CHECKSUMS);
    }
}
