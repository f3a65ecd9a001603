//! Looks now and then whether PostgreSQL answers, so that readiness tells the truth and a person who reads the
//! log learns what to do. Requests and subscriptions find an outage by themselves, and go on by themselves.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use service_runtime::Secret;
use service_runtime::readiness::Component;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A server that takes longer for a ping does not answer. A busy one takes seconds, and one that is gone says so at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Watches the server behind `url` until `stop`. `advice` says what to do about an outage.
pub async fn watch_database(
    url: Secret,
    advice: String,
    component: Component,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut connection = None;
    let mut away = false;
    loop {
        let answer = tokio::time::timeout(ANSWER_WITHIN, ping(&url, &mut connection)).await;
        match answer.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut)) {
            Ok(()) if away => {
                away = false;
                tracing::info!("PostgreSQL answers again");
                component.ready();
            }
            Ok(()) => component.ready(),
            Err(error) => {
                connection = None;
                component.not_ready("PostgreSQL does not answer");
                if !away {
                    tracing::error!(%error, "PostgreSQL does not answer. What was acknowledged is safe: {advice}");
                }
                away = true;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Whether an error says that the server is away for now, and not that something is wrong with the address or the login.
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        // Connections, resources, and a server that starts or stops.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["08", "53", "57P"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

async fn ping(url: &Secret, connection: &mut Option<PgConnection>) -> Result<(), sqlx::Error> {
    if let Some(connection) = connection {
        return connection.ping().await;
    }
    let options = PgConnectOptions::from_str(url.expose())?.application_name("storeline watch");
    *connection = Some(PgConnection::connect_with(&options).await?);
    Ok(())
}
