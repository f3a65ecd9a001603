//! What this service measures of the payments as a whole: for how long the provider has not said what became of one, looked
//! up in the read model now and then, so that every replica tells the same. Single calls are counted where they are made.

use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::domain::payment::Status;

/// Gauge: seconds since the outcome of the oldest unknown payment became unknown; 0 when there is none.
pub const UNKNOWN_OLDEST: &str = "payment_unknown_oldest_seconds";

/// How often it is looked up. There is an index by status.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks for unknown payments until `stop`.
pub async fn watch_unknown(pool: PgPool, stop: CancellationToken) {
    describe_gauge!(UNKNOWN_OLDEST, Unit::Seconds, "for how long the oldest unknown payment is unknown");
    loop {
        let oldest = sqlx::query_scalar(
            "SELECT coalesce(extract(epoch FROM now() - min(updated_at)), 0)::float8 \
               FROM payments WHERE status = $1",
        );
        let oldest: Result<f64, sqlx::Error> = oldest.bind(Status::Unknown.name()).fetch_one(&pool).await;
        match oldest {
            Ok(seconds) => gauge!(UNKNOWN_OLDEST).set(seconds.max(0.0)),
            Err(error) => tracing::warn!(%error, "unknown payments cannot be looked for"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}
