//! `migrate`: a command of its own, because a service may not change its own tables. Deployments run it before a new
//! version starts.

use std::time::Duration;

use eventsourcing::{IncarnationError, MigrateError, migrate, raise_incarnation};
use service_runtime::telemetry::{self, TelemetryError};
use tokio::time::Instant;

use crate::config::{self, owner_login};
use crate::{Service, database_watch};

/// A database that is started together with this command gets so long to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("the incarnation was not raised: {0}")]
    Incarnation(#[from] IncarnationError),
}

pub(crate) async fn run<S: Service>(config: config::Migrate, raise: bool) -> Result<(), Failure> {
    let _telemetry = telemetry::init(&config.telemetry)?;
    let role = owner_login(&config.database_url, &config.owner_url);
    if role.is_none() {
        tracing::warn!(
            "DATABASE_URL and STORELINE_MIGRATE_DATABASE_URL name the same role: the service will own its log, and only \
             triggers protect it. Better: give the service a role of its own"
        );
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let migrated = migrate(config.owner_url.expose(), S::LOG, role.as_deref(), S::MIGRATIONS).await;
        match migrated {
            Ok(()) => break,
            Err(MigrateError::Unreachable { source, .. })
                if database_watch::is_away(&source) && Instant::now() < deadline =>
            {
                tracing::warn!(error = %source, "PostgreSQL does not answer yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    tracing::info!(log = S::LOG, "the database is migrated");
    if raise {
        let incarnation = raise_incarnation(config.owner_url.expose(), S::LOG).await?;
        tracing::warn!(
            log = S::LOG,
            incarnation,
            "THE INCARNATION OF THIS LOG IS RAISED: everybody who follows it stops and has to be told to go on"
        );
    }
    Ok(())
}
