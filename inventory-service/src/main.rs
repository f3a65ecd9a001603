//! The inventory service as a process of its own.

use std::process::ExitCode;

use eventsourcing::{EventLog, IntegrationFeed, Migrations};
use inventory_service::{InventoryService, LOG, MIGRATIONS, Options, Upstream};
use service_process::{BoxError, Feeds, Service};
use service_runtime::config::ConfigReader;
use service_runtime::{Running, Secret};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Process(InventoryService);

impl Service for Process {
    const NAME: &'static str = env!("CARGO_BIN_NAME");
    const LOG: &'static str = LOG;
    const MIGRATIONS: Migrations = MIGRATIONS;
    const GRPC_PORT: u16 = 50052;
    const FOLLOWS: &'static [&'static str] = &["saga"];

    type Options = Options;

    fn read(_: &mut ConfigReader, database_url: Secret) -> Options {
        Options::new(database_url.expose())
    }

    async fn open(options: Options) -> Result<Self, BoxError> {
        Ok(Self(InventoryService::open(options).await?))
    }

    fn log(&self) -> &EventLog {
        self.0.log()
    }

    fn feed(&self) -> IntegrationFeed {
        self.0.feed()
    }

    async fn start(
        self,
        feeds: Feeds,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> Result<Running, BoxError> {
        let upstream = Upstream { saga: feeds.of("saga")? };
        Ok(self.0.start(upstream, stop, tracker).await?)
    }
}

fn main() -> ExitCode {
    service_process::main::<Process>()
}
