//! How a process stops: not ready, accept nothing new, finish what runs, stop background work, and all of that
//! within a limit. It owns the tasks of the process; it does not restart any, since a task that fails takes
//! the process down and the supervisor outside starts it again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fields;
use crate::readiness::Readiness;

/// How long a process takes to stop at most, unless configured. Orchestrators kill after 30 seconds.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(25);
/// The part of the limit that calls in flight may use; the rest is left to background work.
const SERVERS_SHARE: f64 = 0.6;
/// Exit code after a second signal.
const EXIT_AT_ONCE: i32 = 130;

/// The tasks of a process and their end. Clones share them.
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Default)]
struct Inner {
    requested: CancellationToken,
    servers: Stage,
    workers: Stage,
    failure: Mutex<Option<String>>,
}

/// Tasks that stop together.
#[derive(Default)]
struct Stage {
    stop: CancellationToken,
    tasks: TaskTracker,
    running: Arc<Mutex<BTreeMap<u64, String>>>,
    next_id: AtomicU64,
}

/// Why a process did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// A task ended with an error or a panic, which stopped the process.
    #[error("{0}")]
    TaskFailed(String),
    /// These tasks were still running when the limit was reached.
    #[error("still running after the limit of {limit:?}: {}", tasks.join(", "))]
    Overran { limit: Duration, tasks: Vec<String> },
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the process on SIGTERM or SIGINT (Ctrl-C). A second signal exits at once.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut signals = Signals::install()?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = signals.next().await;
            shutdown.request(name);
            let name = signals.next().await;
            tracing::warn!("second signal ({name}): stopping at once");
            std::process::exit(EXIT_AT_ONCE);
        });
        Ok(())
    }

    /// Begins to stop the process.
    pub fn request(&self, reason: &str) {
        if !self.0.requested.is_cancelled() {
            tracing::info!("stopping: {reason}");
            self.0.requested.cancel();
        }
    }

    /// Cancelled as soon as the process begins to stop.
    pub fn requested(&self) -> CancellationToken {
        self.0.requested.clone()
    }

    /// Cancelled when servers shall accept nothing new, and finish what runs.
    pub fn stop_accepting(&self) -> CancellationToken {
        self.0.servers.stop.clone()
    }

    /// Cancelled when background work shall stop: after the servers have finished.
    pub fn stop_working(&self) -> CancellationToken {
        self.0.workers.stop.clone()
    }

    /// Runs a task that ends after [`stop_accepting`](Self::stop_accepting). If it fails, the process stops.
    pub fn spawn_server<F, E>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        self.spawn(&self.0.servers, name.into(), task);
    }

    /// Runs a task that ends after [`stop_working`](Self::stop_working). If it fails, the process stops.
    pub fn spawn_worker<F, E>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        self.spawn(&self.0.workers, name.into(), task);
    }

    /// For libraries that start background tasks themselves, as `eventsourcing` does for subscriptions: these
    /// end after [`stop_working`](Self::stop_working), have no names here, and take nothing down.
    pub fn worker_tasks(&self) -> TaskTracker {
        self.0.workers.tasks.clone()
    }

    /// Waits until the process shall stop, and stops it within `limit`.
    ///
    /// # Errors
    /// When a task failed, or did not stop in time. What it reports was also logged.
    pub async fn run(&self, readiness: &Readiness, limit: Duration) -> Result<(), ShutdownError> {
        self.0.requested.cancelled().await;
        let begun = Instant::now();
        readiness.draining();
        let mut overran = self.0.servers.drain(begun + limit.mul_f64(SERVERS_SHARE)).await;
        overran.extend(self.0.workers.drain(begun + limit).await);
        for task in &overran {
            tracing::warn!({ fields::TASK } = task, "did not stop within {limit:?}");
        }
        if let Some(failure) = lock(&self.0.failure).take() {
            return Err(ShutdownError::TaskFailed(failure));
        }
        if !overran.is_empty() {
            return Err(ShutdownError::Overran { limit, tasks: overran });
        }
        tracing::info!("stopped after {} ms", begun.elapsed().as_millis());
        Ok(())
    }

    fn spawn<F, E>(&self, stage: &Stage, name: String, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        let id = stage.next_id.fetch_add(1, Ordering::Relaxed);
        lock(&stage.running).insert(id, name.clone());
        let running = Arc::clone(&stage.running);
        let shutdown = self.clone();
        stage.tasks.spawn(async move {
            let failure = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error}")),
                Err(_panic) => Some(format!("{name}: panicked")),
            };
            lock(&running).remove(&id);
            if let Some(failure) = failure {
                tracing::error!({ fields::TASK } = name, "{failure}");
                lock(&shutdown.0.failure).get_or_insert(failure);
                shutdown.request("a task failed");
            }
        });
    }
}

impl Stage {
    /// Asks the tasks to stop and waits for them; returns the names of those that still run at `deadline`.
    async fn drain(&self, deadline: Instant) -> Vec<String> {
        self.stop.cancel();
        self.tasks.close();
        match tokio::time::timeout_at(deadline, self.tasks.wait()).await {
            Ok(()) => Vec::new(),
            Err(_elapsed) => {
                let mut left: Vec<String> = lock(&self.running).values().cloned().collect();
                match self.tasks.len().saturating_sub(left.len()) {
                    0 => {}
                    unnamed => left.push(format!("{unnamed} unnamed")),
                }
                left
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any of these tests takes.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn servers_finish_before_background_work_is_asked_to_stop() {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, stop) in [("worker", shutdown.stop_working()), ("server", shutdown.stop_accepting())] {
            let order = Arc::clone(&order);
            let task = async move {
                stop.cancelled().await;
                tokio::task::yield_now().await;
                lock(&order).push(name);
                Ok::<_, String>(())
            };
            if name == "server" {
                shutdown.spawn_server(name, task)
            } else {
                shutdown.spawn_worker(name, task)
            }
        }
        shutdown.request("test");
        shutdown.run(&readiness, LONG).await.unwrap();
        assert_eq!(*lock(&order), ["server", "worker"]);
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named_and_left_behind_at_the_limit() {
        let shutdown = Shutdown::new();
        shutdown.spawn_server("stubborn", std::future::pending::<Result<(), String>>());
        let stop = shutdown.stop_working();
        shutdown.spawn_worker("obedient", async move {
            stop.cancelled().await;
            Ok::<_, String>(())
        });
        shutdown.worker_tasks().spawn(std::future::pending::<()>());
        shutdown.request("test");
        let limit = Duration::from_millis(100);
        let error = shutdown.run(&Readiness::new(), limit).await.unwrap_err();
        assert!(
            matches!(&error, ShutdownError::Overran { tasks, .. } if *tasks == ["stubborn", "1 unnamed"]),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_task_that_fails_or_panics_stops_the_process_with_its_reason() {
        let shutdown = Shutdown::new();
        shutdown.spawn_worker("feed", async { Err("the log is gone") });
        let error = shutdown.run(&Readiness::new(), LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "feed: the log is gone");

        let shutdown = Shutdown::new();
        shutdown.spawn_server("grpc", async { if true { panic!("not shown") } else { Ok::<_, String>(()) } });
        let error = shutdown.run(&Readiness::new(), LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "grpc: panicked");
    }
}
