//! No bus: what a program without Kafka has in its place.

use std::convert::Infallible;

use eventsourcing::IntegrationFeed;
use service_runtime::config::ConfigReader;
use service_runtime::{Secret, Shutdown};

use crate::Feeds;

/// Nothing to configure.
pub(crate) struct Options;

impl Options {
    pub fn read(reader: &mut ConfigReader) -> Self {
        super::read_kind(reader);
        Self
    }
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
#[error(
    "this program was built without Kafka and can only migrate and describe itself: build it with the feature `process`"
)]
pub(crate) struct BusError;

/// There is none.
pub(crate) struct Bus(Infallible);

impl Bus {
    pub async fn connect(_: &Options, _: &str, _: &Shutdown) -> Result<Self, BusError> {
        Err(BusError)
    }

    pub async fn publish(&self, _: IntegrationFeed, _: &Secret, _: &Shutdown) -> Result<(), BusError> {
        match self.0 {}
    }

    pub async fn feeds(&self, _: &[&str], _: &Shutdown) -> Result<Feeds, BusError> {
        match self.0 {}
    }
}
