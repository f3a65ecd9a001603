//! The process's Prometheus metrics: one recorder, names and units of what this crate measures, and the admin
//! listener that serves them. What a service measures of its own it names itself, with the `metrics` macros.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::routing::get;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// Names of the metrics that this crate records. Durations end in `_seconds`, counts of things in a batch in
/// `_size`, counters in `_total`.
pub mod names {
    /// Counter: finished calls by `grpc_service`, `grpc_method` and `grpc_code`.
    pub const GRPC_HANDLED: &str = "grpc_server_handled_total";
    /// Histogram: seconds from a call's arrival to the end of its answer, by `grpc_service` and `grpc_method`.
    pub const GRPC_SECONDS: &str = "grpc_server_handling_seconds";
    /// Gauge: calls that are being answered.
    pub const GRPC_IN_FLIGHT: &str = "grpc_server_in_flight";
    /// Counter: calls refused because too many ran already.
    pub const GRPC_SHED: &str = "grpc_server_shed_total";
    /// Counter: handlers that panicked.
    pub const GRPC_PANICS: &str = "grpc_server_panics_total";
    /// Gauge: resident memory of the process, bytes.
    pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
    /// Gauge: open file descriptors of the process.
    pub const OPEN_FDS: &str = "process_open_fds";
}

/// Upper bounds of duration buckets, in seconds.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Upper bounds of the buckets of everything else, which is counts.
const COUNT_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// How often samples are folded into buckets when nobody scrapes; without it they would pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How often [`watch_gauges`] looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);

/// The process's recorder.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder: {0}")]
pub struct MetricsError(#[from] BuildError);

impl Metrics {
    /// Installs the recorder, once per process: later calls return the same one. What is measured before is
    /// lost.
    ///
    /// # Errors
    /// When something else installed another recorder.
    pub fn install(shutdown: &Shutdown) -> Result<Self, MetricsError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &*installed {
            return Ok(metrics.clone());
        }
        let handle = PrometheusBuilder::new()
            .set_buckets(&COUNT_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)?
            .install_recorder()?;
        describe();
        let metrics = Self(handle);
        shutdown.spawn_worker("metrics upkeep", metrics.clone().upkeep(shutdown.stop_working()));
        Ok(installed.insert(metrics).clone())
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        measure_process();
        self.0.render()
    }

    async fn upkeep(self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.0.run_upkeep();
        }
        Ok(())
    }
}

/// Has `look` set gauges by what it finds in `database`, at once and then every five seconds until `stop`. What is
/// counted there is the same for every replica that tells it. A look that fails is told in the log as one for `what`, and
/// leaves the gauges as they were.
pub async fn watch_gauges<D, L, E>(what: &'static str, database: D, stop: CancellationToken, look: L)
where
    D: Clone,
    L: AsyncFn(D) -> Result<(), E>,
    E: Display,
{
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    // After a database that was away for a minute one look is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = look(database.clone()).await {
            tracing::warn!(%error, what, "gauges cannot be looked up");
        }
    }
}

fn describe() {
    describe_counter!(names::GRPC_HANDLED, "Finished gRPC calls by outcome.");
    describe_histogram!(names::GRPC_SECONDS, Unit::Seconds, "Duration of gRPC calls.");
    describe_gauge!(names::GRPC_IN_FLIGHT, "gRPC calls that are being answered.");
    describe_counter!(names::GRPC_SHED, "gRPC calls refused because too many ran already.");
    describe_counter!(names::GRPC_PANICS, "gRPC handlers that panicked.");
    describe_gauge!(names::RESIDENT_BYTES, Unit::Bytes, "Resident memory of the process.");
    describe_gauge!(names::OPEN_FDS, "Open file descriptors of the process.");
    // An increase is seen only by who knows that there was none before.
    counter!(names::GRPC_SHED).increment(0);
    counter!(names::GRPC_PANICS).increment(0);
}

/// Reads Linux's view of this process; elsewhere it measures nothing.
#[expect(clippy::cast_precision_loss, reason = "memory and descriptors are far below 2^52")]
fn measure_process() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    if let Some(kibibytes) = resident.and_then(|number| number.parse::<u64>().ok()) {
        gauge!(names::RESIDENT_BYTES).set((kibibytes * 1024) as f64);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        gauge!(names::OPEN_FDS).set(descriptors.count() as f64);
    }
}

/// A listener of its own for `/metrics`, `/healthz` and `/readyz`, which are not for the public.
pub struct AdminServer {
    listener: TcpListener,
    router: axum::Router,
}

impl AdminServer {
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr, metrics: Metrics, readiness: &Readiness) -> std::io::Result<Self> {
        Ok(Self::on(TcpListener::bind(address).await?, metrics, readiness))
    }

    /// Takes a listener that was bound before.
    pub fn on(listener: TcpListener, metrics: Metrics, readiness: &Readiness) -> Self {
        let render = move || {
            const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
            std::future::ready(([(http::header::CONTENT_TYPE, TEXT_FORMAT)], metrics.render()))
        };
        Self { listener, router: readiness.routes().route("/metrics", get(render)) }
    }

    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`. Let that be [`Shutdown::stop_working`]: readiness and metrics are wanted during the
    /// drain.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gauges_are_looked_up_again_after_a_look_that_failed_and_no_more_after_the_end() {
        let stop = CancellationToken::new();
        let looks = &AtomicUsize::new(0);
        watch_gauges("a test", &stop, stop.clone(), async |stop: &CancellationToken| {
            match looks.fetch_add(1, Ordering::Relaxed) {
                0 => return Err("the database is away"),
                1 => {}
                _ => stop.cancel(),
            }
            Ok(())
        })
        .await;
        assert_eq!(looks.load(Ordering::Relaxed), 3);
    }
}
