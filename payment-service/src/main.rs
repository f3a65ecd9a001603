//! The payment service as a process of its own. With whom payments are made has to be said by name.

use std::process::ExitCode;

use eventsourcing::{EventLog, IntegrationFeed, Migrations};
use payment_service::{LOG, MIGRATIONS, Options, PaymentService, Upstream};
use service_process::{BoxError, Feeds, Service};
use service_runtime::config::ConfigReader;
use service_runtime::{Running, Secret};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Process(PaymentService);

impl Service for Process {
    const NAME: &'static str = env!("CARGO_BIN_NAME");
    const LOG: &'static str = LOG;
    const MIGRATIONS: Migrations = MIGRATIONS;
    const GRPC_PORT: u16 = 50054;
    const FOLLOWS: &'static [&'static str] = &["saga"];

    type Options = Options;

    fn read(reader: &mut ConfigReader, database_url: Secret) -> Options {
        let provider = reader.var("STORELINE_PAYMENT_PROVIDER", "with whom payments are made").required();
        Options::new(database_url.expose(), provider)
    }

    async fn open(options: Options) -> Result<Self, BoxError> {
        Ok(Self(PaymentService::open(options).await?))
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
