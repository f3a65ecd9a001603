//! What this service measures beyond what all do: how many SKUs are promised and not there, counted in the read model now
//! and then, so that every replica tells the same.

use std::time::Duration;

use metrics::{describe_gauge, gauge};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Gauge: SKUs with an open shortfall.
pub const SHORTFALLS: &str = "stock_shortfalls_open";

/// How often they are counted. There is an index of them alone.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// Counts open shortfalls until `stop`.
pub async fn count_shortfalls(pool: PgPool, stop: CancellationToken) {
    describe_gauge!(SHORTFALLS, "SKUs of which more is promised than there is");
    loop {
        let counted = sqlx::query_scalar("SELECT count(*) FROM stock_levels WHERE shortfall_open");
        let counted: Result<i64, sqlx::Error> = counted.fetch_one(&pool).await;
        match counted {
            Ok(count) => gauge!(SHORTFALLS).set(count as f64),
            Err(error) => tracing::warn!(%error, "shortfalls cannot be counted"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(COUNT_INTERVAL) => {}
        }
    }
}
