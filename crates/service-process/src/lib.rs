//! What every service's binary does the same: it reads the configuration, waits for its database, starts the service on
//! the feeds that it follows, serves, and stops in order; and it migrates, tells how it is, and lists its configuration.
//! What a service is it learns from [`Service`]; which services there are it does not know.

mod bus;
mod cli;
mod config;
mod database_watch;
mod describe;
mod health;
mod listen;
mod migrate;
mod serve;

use std::future::Future;
use std::process::ExitCode;

use eventsourcing::{EventLog, IntegrationFeed, Migrations};
use service_runtime::config::ConfigReader;
use service_runtime::{Running, Secret};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use cli::main;
pub use config::{database_url, drain_limit, owner_login};
pub use database_watch::watch_database;
pub use listen::{ListenError, listen};

/// Whatever keeps a service from starting.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A service as its process sees it.
pub trait Service: Sized + Send + 'static {
    /// Name of the binary, and of the process in traces.
    const NAME: &'static str;
    /// Name of its log.
    const LOG: &'static str;
    /// Its tables beside the log.
    const MIGRATIONS: Migrations;
    /// Where its gRPC listens on loopback unless told otherwise.
    const GRPC_PORT: u16;
    /// The logs whose feeds it follows.
    const FOLLOWS: &'static [&'static str];

    /// What it needs to be told.
    type Options: Send;

    /// Reads the variables that only this service has. `database_url` has been read.
    fn read(reader: &mut ConfigReader, database_url: Secret) -> Self::Options;

    /// Opens it on its database, which is migrated.
    fn open(options: Self::Options) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// Its log.
    fn log(&self) -> &EventLog;

    /// What it publishes.
    fn feed(&self) -> IntegrationFeed;

    /// Starts it, on tasks of `tracker`, until `stop`.
    fn start(
        self,
        feeds: Feeds,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> impl Future<Output = Result<Running, BoxError>> + Send;
}

/// The feeds of [`Service::FOLLOWS`].
pub struct Feeds(Vec<IntegrationFeed>);

impl Feeds {
    /// The feed of a log.
    ///
    /// # Errors
    /// When the service did not say that it follows that log.
    pub fn of(&self, log: &str) -> Result<IntegrationFeed, BoxError> {
        let feed = self.0.iter().find(|feed| feed.log() == log);
        feed.cloned().ok_or_else(|| format!("`{log}` is not among the logs that this service follows").into())
    }
}

/// Exit code of a process that did what it was asked to.
const DONE: ExitCode = ExitCode::SUCCESS;
/// Exit code of a process that found something not to be well.
const NOT_WELL: u8 = 1;
/// Exit code of a process that could not begin.
const REFUSED: u8 = 2;
