//! The saga orchestrator: the process managers of checkout and cancellation. It asks inventory, payment and orders by
//! events and goes by their answers, so none of them has to be there when an order is placed. It holds no stock, no
//! money and no order of its own.
//!
//! Read in this order: [`domain`] has the tables and the machine that they drive, [`application`] what is put to it,
//! [`adapters`] the feeds it follows, its requests and its timers, [`grpc`] what operators may do. This file wires
//! them.

pub mod domain;

pub mod adapters;
pub mod application;
pub mod grpc;

use std::sync::Arc;
use std::time::Duration;

use contracts::shop::saga::v1::saga_service_server::SagaServiceServer;
use eventsourcing::tasks::timers::{self, Timers};
use eventsourcing::tasks::{self, TaskOptions, TaskQueue};
use eventsourcing::{
    CommandProcessor, EventLog, FeedError, IntegrationFeed, LogFeed, LogOptions, Migrations, OpenError,
    ProcessorOptions, Rebuilds, SubscriptionOptions, Subscriptions,
};
use service_runtime::Running;
use service_runtime::grpc::Services;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use adapters::integration_events::{SOURCE, publish};
use adapters::metrics;
use adapters::participants::Participant;
use adapters::read_model::{self, ReadModel};
use adapters::timers::{FireTimers, QUEUE as TIMERS, SagaTiming};
use application::{Queries, Sagas};
use domain::Policy;
use grpc::SagaGrpc;

/// Name of this service's log.
pub const LOG: &str = "saga";

/// This service's tables beside the log.
pub const MIGRATIONS: Migrations = &[("read model", include_str!("../migrations/1000_read_model.sql"))];

/// What the service needs to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// PostgreSQL URL of the service's own database, as the role that may append.
    pub database_url: String,
    /// Delay of another replica's events, at most.
    pub log_poll_interval: Duration,
    /// How patient sagas are; see [`Policy`] for the defaults and what they are good for.
    pub policy: Policy,
}

impl Options {
    /// The defaults, for this database.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            log_poll_interval: LogOptions::POLL_INTERVAL,
            policy: Policy::default(),
        }
    }
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("a subscription cannot start: {0}")]
    Subscription(#[from] FeedError),
}

/// What this service follows.
pub struct Upstream {
    pub order: IntegrationFeed,
    pub inventory: IntegrationFeed,
    pub payment: IntegrationFeed,
}

/// The service with its log open, and nothing running yet. The database must have been migrated with
/// [`MIGRATIONS`].
pub struct SagaOrchestrator {
    log: EventLog,
    policy: Policy,
}

impl SagaOrchestrator {
    /// Opens the log.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let log = LogOptions {
            poll_interval: options.log_poll_interval,
            ..LogOptions::new(LOG, options.database_url)
        };
        Ok(Self { log: EventLog::open(log).await?, policy: options.policy })
    }

    /// Its log.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// What this service publishes: its requests to the participants.
    pub fn feed(&self) -> IntegrationFeed {
        Arc::new(LogFeed::new(self.log.clone(), SOURCE, publish))
    }

    /// Starts commands, subscriptions and timers, on tasks of `tracker`, until `stop`.
    pub async fn start(
        self,
        upstream: Upstream,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> Result<Running, StartError> {
        let log = self.log;
        metrics::describe();
        tracker.spawn(log.clone().follow(stop.clone()));
        tracker.spawn(metrics::count_open_sagas(log.pool().clone(), stop.clone()));
        let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());
        let sagas = Sagas::new(processor, self.policy);

        let own: Arc<EventLog> = Arc::new(log.clone());
        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        let linger = SubscriptionOptions { linger: read_model::LINGER, ..SubscriptionOptions::default() };
        subscriptions.project_with(own.clone(), ReadModel { measures: true }, linger).await?;
        let queue = TaskQueue::new(TIMERS, TaskOptions::default());
        let deadlines = Timers::<SagaTiming>::new(queue.clone());
        subscriptions.project_with(own, deadlines, timers::options()).await?;
        subscriptions.react(upstream.order, Participant::order(sagas.clone())).await?;
        subscriptions.react(upstream.inventory, Participant::inventory(sagas.clone())).await?;
        subscriptions.react(upstream.payment, Participant::payment(sagas.clone())).await?;

        tasks::work(&log, queue, FireTimers::new(sagas.clone()), stop, &tracker);

        let rebuilds = Rebuilds::start(&log, &subscriptions, read_model::rebuildable(&log));
        let grpc = SagaGrpc::new(sagas, Queries::new(log));
        let services = Services::new().with(SagaServiceServer::new(grpc));
        Ok(Running { services, subscriptions, rebuilds })
    }
}
