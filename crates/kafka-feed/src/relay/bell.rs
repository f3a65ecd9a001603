//! Wakes the replica whose relay is at work when another replica commits. Whoever stands by rings after its commits, over
//! a connection of its own and never inside an append, and rings once for all that was committed meanwhile. Polling
//! stays the truth: a bell that is not heard costs a tenth of a second.

use std::time::Duration;

use eventsourcing::{EventLog, SubscriptionState};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The channel, in the database of the service.
const CHANNEL: &str = "eventlog_head";
/// Pause after a connection was lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Rings after the commits of this process for as long as its relay stands by.
pub async fn ring(log: EventLog, state: watch::Receiver<SubscriptionState>, stop: CancellationToken) {
    let mut head = log.watch_head();
    let mut connection: Option<PgConnection> = None;
    while let Some(Ok(())) = stop.run_until_cancelled(head.changed()).await {
        let position = *head.borrow_and_update();
        if *state.borrow() != SubscriptionState::StandBy {
            continue;
        }
        if let Err(error) = ring_once(&log, &mut connection, position).await {
            tracing::debug!(%error, "the bell of the log cannot be rung");
            connection = None;
            stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }
}

async fn ring_once(
    log: &EventLog,
    connection: &mut Option<PgConnection>,
    position: i64,
) -> Result<(), sqlx::Error> {
    if connection.is_none() {
        *connection = Some(PgConnection::connect_with(log.connect_options()).await?);
    }
    let Some(connection) = connection else { return Ok(()) };
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(position.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Hears other replicas ring, and makes known what they say.
pub async fn listen(log: EventLog, stop: CancellationToken) {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(log.connect_options().clone());
    let hear = async {
        loop {
            if let Err(error) = hear(&log, &pool).await {
                tracing::debug!(%error, "the bell of the log cannot be heard");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(hear).await;
}

async fn hear(log: &EventLog, pool: &sqlx::PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Who rings has committed, so what it says is in the log.
        if let Ok(position) = listener.recv().await?.payload().parse() {
            log.announce(position);
        }
    }
}
