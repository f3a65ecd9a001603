//! The order service as a process of its own. Its keys are the one thing that it cannot make itself.

use std::process::ExitCode;

use eventsourcing::{EventLog, IntegrationFeed, Migrations};
use order_service::{LOG, MIGRATIONS, Options, OrderService, Upstream};
use service_process::{BoxError, Feeds, Service};
use service_runtime::config::ConfigReader;
use service_runtime::{Running, Secret};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Process(OrderService);

impl Service for Process {
    const NAME: &'static str = env!("CARGO_BIN_NAME");
    const LOG: &'static str = LOG;
    const MIGRATIONS: Migrations = MIGRATIONS;
    const GRPC_PORT: u16 = 50053;
    const FOLLOWS: &'static [&'static str] = &["product", "saga"];

    type Options = Options;

    fn read(reader: &mut ConfigReader, database_url: Secret) -> Options {
        Options::read(reader, database_url.expose())
    }

    async fn open(options: Options) -> Result<Self, BoxError> {
        Ok(Self(OrderService::open(options).await?))
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
        let upstream = Upstream { product: feeds.of("product")?, saga: feeds.of("saga")? };
        Ok(self.0.start(upstream, stop, tracker).await?)
    }
}

fn main() -> ExitCode {
    service_process::main::<Process>()
}
