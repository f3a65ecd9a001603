//! Kafka as the bus: a relay for what the service publishes, and a feed for each log that it follows. Neither needs Kafka
//! to be there when the service starts.

use eventsourcing::{EventLog, IntegrationFeed};
use kafka_feed::{KafkaFeed, KafkaOptions, Relay, relay};
use service_runtime::config::ConfigReader;
use service_runtime::{Readiness, Shutdown};

use crate::Feeds;

/// How Kafka is reached.
pub(crate) struct Bus(KafkaOptions);

/// Why the service cannot publish: its topic is another one than configured.
#[derive(Debug, thiserror::Error)]
#[error("the relay does not start: {0}")]
pub(crate) struct BusError(#[from] relay::StartError);

impl Bus {
    pub fn read(reader: &mut ConfigReader) -> Self {
        super::read_kind(reader);
        Self(KafkaOptions::read(reader))
    }

    /// Copies what `feed` reads of `log` into its topic, as long as the process works.
    pub async fn publish(
        &self,
        feed: IntegrationFeed,
        log: &EventLog,
        shutdown: &Shutdown,
        readiness: &Readiness,
    ) -> Result<(), BusError> {
        Relay::start(feed, log, &self.0, shutdown, readiness).await?;
        Ok(())
    }

    /// The feeds of these logs.
    pub fn feeds(&self, logs: &[&str]) -> Feeds {
        Feeds(logs.iter().map(|log| KafkaFeed::new(&self.0, log)).collect())
    }
}
