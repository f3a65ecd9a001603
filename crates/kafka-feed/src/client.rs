//! What every client of Kafka says, and where it goes. The library underneath reports each failed connection attempt,
//! which is noise while Kafka is away: what matters of that, relay and feeds say in their own words.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};

/// Passes log lines on, and remembers the newest error for whoever has to explain why nothing comes. Clones share it.
#[derive(Clone, Default)]
pub struct Reporter {
    newest: Arc<Mutex<Option<String>>>,
}

impl Reporter {
    /// What Kafka's client complained about last.
    pub fn newest_error(&self) -> Option<String> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, error: String) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// For producers that only look at topics.
impl ProducerContext for Reporter {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "Kafka client: {line}");
            }
            RDKafkaLogLevel::Error => {
                tracing::debug!(facility, "Kafka client: {line}");
                // Such as a connection that failed; not every client reports it as an error as well.
                self.remember(line.to_owned());
            }
            _ => tracing::debug!(facility, "Kafka client: {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "Kafka client: {reason}");
        // That none is left follows from something that was said before, which tells more.
        let follows = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !follows || self.newest_error().is_none() {
            self.remember(format!("{error}: {reason}"));
        }
    }
}
