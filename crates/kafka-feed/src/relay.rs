//! The relay copies a service's log into its topic. One runs per service, whichever replica holds the lease; it wakes
//! with every commit, sends in the order of the log, and remembers how far nothing is missing in the topic. What it
//! sends twice, consumers drop by position; what it could not send waits in the log, which is the outbox.
//!
//! What it promises, and how each is kept:
//! - *Nothing is skipped*: the checkpoint moves over an unbroken acknowledged prefix only, and a producer that failed
//!   with one record sends nothing behind it.
//! - *Order*: positions rise in every partition, but for repetitions, whoever sends: every relay begins behind a prefix
//!   that is in the topic, and leaves nothing out from there on. So consumers that drop whatever is not above the
//!   highest position they have seen get every event once and in order, also when a relay that lost its lease
//!   without noticing goes on for a while.
//! - *The topic is not taken at its word*: one that was made anew, that lost what it acknowledged, or that deleted
//!   history stops the relay until an operator says what to do.

mod bell;
mod driver;
mod flight;
pub mod metrics;
mod producer;
mod run;

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::{EventLog, IntegrationFeed, Leases, RelayStore, SubscriptionState};
use rdkafka::error::KafkaError;
use service_runtime::{Readiness, Shutdown};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Reporter;
use crate::options::KafkaOptions;
use crate::topics::{Topic, TopicError};
use driver::Driver;

/// How long a start waits for Kafka to say what is wrong with a topic. A service starts without Kafka, too.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A cheap handle to the relay of this process.
#[derive(Clone)]
pub struct Relay {
    topic: Topic,
    acknowledged: watch::Receiver<i64>,
    state: watch::Receiver<SubscriptionState>,
}

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Kafka's client refuses its options: {0}")]
    Options(#[from] KafkaError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl Relay {
    /// Makes or checks the topic of `feed`, and starts to copy into it what `feed` reads of `log`, in this process or
    /// in another replica's. It ends after [`Shutdown::stop_working`], when what is in flight is acknowledged, or a few
    /// seconds later.
    ///
    /// # Errors
    /// When the topic is another one than configured. When Kafka does not answer, the relay starts and waits for it.
    pub async fn start(
        feed: IntegrationFeed,
        log: &EventLog,
        options: &KafkaOptions,
        shutdown: &Shutdown,
        readiness: &Readiness,
    ) -> Result<Self, StartError> {
        metrics::describe();
        let context = feed.log().to_owned();
        let reporter = Reporter::default();
        let topic = Topic::new(options, &context, reporter.clone())?;
        let differences = match tokio::time::timeout(START_PATIENCE, topic.provide()).await {
            Ok(Ok(differences)) => differences,
            Ok(Err(error)) if error.is_final() => return Err(error.into()),
            Ok(Err(error)) => {
                tracing::warn!(topic = topic.name(), %error, "the relay starts without Kafka");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(topic = topic.name(), "the relay starts without Kafka, which does not answer");
                Vec::new()
            }
        };
        let (stop, tasks) = (shutdown.stop_working(), shutdown.worker_tasks());
        let leases = Leases::new(log.connect_options().clone());
        let driver = Driver {
            store: RelayStore::new(log.pool().clone(), topic.name(), feed.log()),
            acknowledged: watch::Sender::new(0),
            state: watch::Sender::new(SubscriptionState::StandBy),
            readiness: readiness.component("relay"),
            metrics: metrics::Recorded::new(&context),
            options: Arc::new(options.clone()),
            topic: topic.clone(),
            feed,
            leases: leases.clone(),
            reporter,
            stop,
        };
        driver.say_differences(&differences);
        let relay =
            Self { topic, acknowledged: driver.acknowledged.subscribe(), state: driver.state.subscribe() };
        tasks.spawn(bell::ring(log.clone(), driver.state.subscribe(), driver.stop.clone()));
        tasks.spawn(bell::listen(log.clone(), driver.stop.clone()));
        tasks.spawn(async move {
            // The lease goes back when the last checkpoint is stored, and not before.
            let ended = CancellationToken::new();
            let keeping = tokio::spawn(leases.keep(ended.clone()));
            driver.run().await;
            ended.cancel();
            // It ends by itself.
            let _ = keeping.await;
        });
        Ok(relay)
    }

    /// The topic that it fills.
    pub fn topic(&self) -> &str {
        self.topic.name()
    }

    /// Up to where nothing is missing in the topic, while this process's relay is the one that fills it.
    pub fn acknowledged(&self) -> watch::Receiver<i64> {
        self.acknowledged.clone()
    }

    /// What it does at the moment.
    pub fn state(&self) -> watch::Receiver<SubscriptionState> {
        self.state.clone()
    }
}
