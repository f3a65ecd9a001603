//! What this service measures of the payments as a whole: for how long the provider has not said what became of one, looked
//! up in the read model. Single calls are counted where they are made.

use metrics::{Unit, describe_gauge, gauge};
use service_runtime::metrics::watch_gauges;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::domain::payment::Status;

/// Gauge: seconds since the outcome of the oldest unknown payment became unknown; 0 when there is none.
pub const UNKNOWN_OLDEST: &str = "payment_unknown_oldest_seconds";

/// Looks for unknown payments until `stop`. There is an index by status.
pub async fn watch_unknown(pool: PgPool, stop: CancellationToken) {
    describe_gauge!(UNKNOWN_OLDEST, Unit::Seconds, "for how long the oldest unknown payment is unknown");
    watch_gauges("unknown payments", pool, stop, look_for_unknown).await;
}

async fn look_for_unknown(pool: PgPool) -> Result<(), sqlx::Error> {
    let oldest = sqlx::query_scalar(
        "SELECT coalesce(extract(epoch FROM now() - min(updated_at)), 0)::float8 \
           FROM payments WHERE status = $1",
    );
    let seconds: f64 = oldest.bind(Status::Unknown.name()).fetch_one(&pool).await?;
    gauge!(UNKNOWN_OLDEST).set(seconds.max(0.0));
    Ok(())
}
