//! What this service measures beyond what all do: how many SKUs are promised and not there, counted in the read model.

use metrics::{describe_gauge, gauge};
use service_runtime::metrics::watch_gauges;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Gauge: SKUs with an open shortfall.
pub const SHORTFALLS: &str = "stock_shortfalls_open";

/// Counts open shortfalls until `stop`. There is an index of them alone.
pub async fn count_shortfalls(pool: PgPool, stop: CancellationToken) {
    describe_gauge!(SHORTFALLS, "SKUs of which more is promised than there is");
    watch_gauges("shortfalls", pool, stop, count).await;
}

async fn count(pool: PgPool) -> Result<(), sqlx::Error> {
    let counted = sqlx::query_scalar("SELECT count(*) FROM stock_levels WHERE shortfall_open");
    let count: i64 = counted.fetch_one(&pool).await?;
    gauge!(SHORTFALLS).set(count as f64);
    Ok(())
}
