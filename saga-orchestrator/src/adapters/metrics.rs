//! What the orchestrator measures. How many sagas are open is counted in the read model; what happens is counted where the
//! read model learns of it, which one replica does once.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use service_runtime::metrics::watch_gauges;
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use crate::domain::{Kind, Outcome, Status, Step};

/// Gauge: sagas that are not at their end, by `saga` and `status`.
pub const OPEN: &str = "saga_open";
/// Counter: sagas that ended, by `saga` and `outcome`.
pub const ENDED: &str = "saga_ended_total";
/// Counter: sagas that got stuck, by `saga` and `step`. Alert on its increase, and on [`OPEN`] of status `stuck`.
pub const STUCK: &str = "saga_stuck_total";
/// Counter: requests that were sent again, by `saga` and `step`.
pub const REPEATED: &str = "saga_requests_repeated_total";
/// Histogram: seconds from a step's first request to its success, by `saga` and `step`.
pub const STEP_SECONDS: &str = "saga_step_duration_seconds";

const OPEN_STATUSES: [Status; 3] = [Status::Running, Status::Compensating, Status::Stuck];
const KINDS: [Kind; 2] = [Kind::Checkout, Kind::Cancellation];

/// Describes the metrics to the process's recorder.
pub fn describe() {
    describe_gauge!(OPEN, "sagas that are not at their end");
    describe_counter!(ENDED, "sagas that ended");
    describe_counter!(STUCK, "sagas that got stuck and wait for a person");
    describe_counter!(REPEATED, "requests that were sent again");
    describe_histogram!(STEP_SECONDS, Unit::Seconds, "time from a step's first request to its success");
}

pub(super) fn ended(kind: Kind, outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Completed => Status::Completed.as_str(),
        Outcome::Compensated => Status::Compensated.as_str(),
    };
    counter!(ENDED, "saga" => name(kind), "outcome" => outcome).increment(1);
}

pub(super) fn stuck(kind: Kind, step: Step) {
    counter!(STUCK, "saga" => name(kind), "step" => step.name()).increment(1);
}

pub(super) fn repeated(kind: Kind, step: Step) {
    counter!(REPEATED, "saga" => name(kind), "step" => step.name()).increment(1);
}

pub(super) fn step_took(kind: Kind, step: Step, seconds: f64) {
    histogram!(STEP_SECONDS, "saga" => name(kind), "step" => step.name()).record(seconds);
}

/// Counts open sagas until `stop`.
pub async fn count_open_sagas(pool: PgPool, stop: CancellationToken) {
    watch_gauges("open sagas", pool, stop, count).await;
}

async fn count(pool: PgPool) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT split_part(saga_id, '-', 1), status, count(*) FROM sagas \
          WHERE status IN ('running', 'compensating', 'stuck') GROUP BY 1, 2",
    )
    .fetch_all(&pool)
    .await?;
    let mut counts = Vec::with_capacity(rows.len());
    for row in rows {
        counts.push((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?, row.try_get::<i64, _>(2)?));
    }
    for kind in KINDS {
        for status in OPEN_STATUSES {
            let here = |(saga, at, _): &&(String, String, i64)| saga == name(kind) && at == status.as_str();
            let count = counts.iter().find(here).map_or(0, |(_, _, count)| *count);
            gauge!(OPEN, "saga" => name(kind), "status" => status.as_str()).set(count as f64);
        }
    }
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Checkout => "checkout",
        Kind::Cancellation => "cancellation",
    }
}
