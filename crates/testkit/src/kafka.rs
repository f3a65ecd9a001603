//! Apache Kafka for tests: the broker that a whole run shares, on which each test keeps to topics of its own, and
//! brokers of a test's own, to stop, kill, freeze and start again.

use std::path::PathBuf;
use std::time::Duration;

pub use local_servers::kafka::Options;
use local_servers::{Signal, kafka};
use uuid::Uuid;

use crate::eventually;

/// Host and port of the broker that the run shares.
const SHARED: &str = "STORELINE_TEST_KAFKA";
/// The folder with Kafka's jars, for brokers of a test's own.
const JARS: &str = "STORELINE_TEST_KAFKA_JARS";
/// Longest wait for brokers to serve, on a machine where virtual machines start by the dozen.
const START_DEADLINE: Duration = Duration::from_secs(300);
/// Longest wait for a broker to hand over what it leads and end.
const STOP_DEADLINE: Duration = Duration::from_secs(120);

/// The bootstrap address of the broker that the whole run shares. It cannot be stopped.
///
/// # Panics
/// When there is none; `cargo xtask test` provides one.
pub fn bootstrap() -> String {
    variable(SHARED)
}

/// The beginning of the names of one test's topics and consumer groups on the shared broker.
pub fn topic_prefix() -> String {
    format!("test-{}.", Uuid::new_v4().simple())
}

/// Brokers of a test's own. They end, and their files go, with this value.
pub struct Brokers {
    inner: kafka::Brokers,
}

impl Brokers {
    /// Starts 1 or 3, and waits until they serve.
    ///
    /// # Panics
    /// When they do not.
    pub async fn start(brokers: usize) -> Self {
        Self::start_with(Options { brokers, ..Options::default() }).await
    }

    /// Starts some with settings, and waits until they serve.
    ///
    /// # Panics
    /// When they do not.
    pub async fn start_with(options: Options) -> Self {
        let jars = PathBuf::from(variable(JARS));
        // Formatting takes a second of a virtual machine.
        let started = tokio::task::spawn_blocking(move || kafka::Brokers::start(&jars, options)).await;
        let inner = started.expect("it does not panic").unwrap_or_else(|error| panic!("Kafka: {error}"));
        let mut brokers = Self { inner };
        brokers.ready().await;
        brokers
    }

    /// All addresses, with commas in between.
    pub fn bootstrap(&self) -> String {
        self.inner.bootstrap()
    }

    /// Where one broker, counted from 0, listens for clients.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn address(&self, broker: usize) -> String {
        self.inner.address(broker).to_string()
    }

    /// How many there are, running or not.
    pub fn count(&self) -> usize {
        self.inner.count()
    }

    /// kill -9 of one broker.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, broker: usize) {
        self.inner.kill(broker).unwrap_or_else(|error| panic!("Kafka: {error}"));
    }

    /// SIGTERM to one broker, which hands over what it leads, and the wait for its end.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub async fn stop(&mut self, broker: usize) {
        self.signal(broker, Signal::Terminate);
        let inner = &mut self.inner;
        eventually("a broker ends", STOP_DEADLINE, || {
            let ended = inner.ended(broker).unwrap_or_else(|error| panic!("Kafka: {error}"));
            std::future::ready(ended)
        })
        .await;
    }

    /// Starts a killed or stopped broker where it was, on what it had, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_again(&mut self, broker: usize) {
        self.inner.start_again(broker).unwrap_or_else(|error| panic!("Kafka: {error}"));
        self.ready().await;
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&mut self, broker: usize) {
        self.signal(broker, Signal::Stop);
    }

    /// SIGCONT after [`Self::freeze`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&mut self, broker: usize) {
        self.signal(broker, Signal::Continue);
    }

    /// Waits until every broker that runs serves and knows the others that run.
    ///
    /// # Panics
    /// When one ends by itself, or the time is over.
    pub async fn ready(&mut self) {
        let inner = &mut self.inner;
        eventually("Kafka serves", START_DEADLINE, || {
            let ready = inner.is_ready().unwrap_or_else(|error| panic!("Kafka: {error}"));
            std::future::ready(ready.then_some(()))
        })
        .await;
    }

    fn signal(&mut self, broker: usize, signal: Signal) {
        self.inner.signal(broker, signal).unwrap_or_else(|error| panic!("Kafka: {error}"));
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests with `cargo xtask test`, which provides Apache Kafka")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn brokers_go_on_without_one_that_was_killed_and_take_it_in_again() {
        let mut brokers = Brokers::start(3).await;
        brokers.kill(0);
        brokers.ready().await;
        brokers.start_again(0).await;
        brokers.freeze(1);
        brokers.thaw(1);
        brokers.stop(1).await;
        brokers.start_again(1).await;
        assert_eq!(brokers.bootstrap().split(',').count(), brokers.count());
    }
}
