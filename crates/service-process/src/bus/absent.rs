//! No bus: what a program without Kafka has in its place.

use eventsourcing::{EventLog, IntegrationFeed};
use service_runtime::config::ConfigReader;
use service_runtime::{Readiness, Shutdown};

use crate::Feeds;

/// There is none.
pub(crate) struct Bus;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "this program was built without Kafka and can only migrate and describe itself: build the service with its feature \
     `process`"
)]
pub(crate) struct BusError;

impl Bus {
    pub fn read(reader: &mut ConfigReader) -> Self {
        super::read_kind(reader);
        Self
    }

    pub async fn publish(
        &self,
        _: IntegrationFeed,
        _: &EventLog,
        _: &Shutdown,
        _: &Readiness,
    ) -> Result<(), BusError> {
        Err(BusError)
    }

    pub fn feeds(&self, _: &[&str]) -> Feeds {
        Feeds(Vec::new())
    }
}
