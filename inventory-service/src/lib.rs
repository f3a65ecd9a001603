//! The inventory service: how many pieces of each SKU are there, and which are held for which order. It answers
//! the checkout's requests all or nothing, so nothing is sold twice; it knows neither prices nor customers.
//!
//! Read in this order: [`domain`] has the rules, [`application`] what the service does, [`adapters`] what it
//! publishes, follows and projects, [`grpc`] its API. This file wires them.

pub mod domain;

pub mod adapters;
pub mod application;
pub mod grpc;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use contracts::shop::inventory::v1::inventory_service_server::InventoryServiceServer;
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

use adapters::expiry::{self, ExpireReservations, ExpiryTiming};
use adapters::metrics;
use adapters::projections::{self, ReadModel};
use adapters::saga_requests::SagaRequests;
use adapters::{SOURCE, publish};
use application::{Queries, Reservations, StockKeeping};
use domain::operations::HoldLimits;
use grpc::InventoryGrpc;

/// Name of this service's log.
pub const LOG: &str = "inventory";

/// This service's tables beside the log.
pub const MIGRATIONS: Migrations = &[("read model", include_str!("../migrations/1000_read_model.sql"))];

/// A reservation is held for at least so long, unless told otherwise: a request that waited while this service
/// was down gets as much time as a checkout needs.
pub const MINIMUM_HOLD: Duration = Duration::from_secs(60);
/// A reservation that is not pinned is held for at most so long, unless told otherwise.
pub const MAXIMUM_HOLD: Duration = Duration::from_secs(24 * 3600);

/// What the service needs to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// PostgreSQL URL of the service's own database, as the role that may append.
    pub database_url: String,
    /// Delay of another replica's events, at most.
    pub log_poll_interval: Duration,
    /// See [`MINIMUM_HOLD`].
    pub minimum_hold: Duration,
    /// See [`MAXIMUM_HOLD`].
    pub maximum_hold: Duration,
}

impl Options {
    /// The defaults, for this database.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            log_poll_interval: LogOptions::POLL_INTERVAL,
            minimum_hold: MINIMUM_HOLD,
            maximum_hold: MAXIMUM_HOLD,
        }
    }

    fn hold_limits(&self) -> Result<HoldLimits, StartError> {
        let delta = |hold: Duration| match TimeDelta::from_std(hold) {
            Ok(delta) if hold <= LONGEST_HOLD => Ok(delta),
            _ => Err(StartError::Hold(hold)),
        };
        Ok(HoldLimits { minimum: delta(self.minimum_hold)?, maximum: delta(self.maximum_hold)? })
    }
}

/// Longest hold that can be configured: what is in carts for a month is for sale.
const LONGEST_HOLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("a subscription cannot start: {0}")]
    Subscription(#[from] FeedError),
    #[error("a hold of {0:?} is too long: at most {LONGEST_HOLD:?}")]
    Hold(Duration),
}

/// What this service follows.
pub struct Upstream {
    /// The saga orchestrator's requests.
    pub saga: IntegrationFeed,
}

/// The service with its log open, and nothing running yet. The database must have been migrated with
/// [`MIGRATIONS`].
pub struct InventoryService {
    log: EventLog,
    limits: HoldLimits,
}

impl InventoryService {
    /// Opens the log.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let limits = options.hold_limits()?;
        let log = LogOptions {
            poll_interval: options.log_poll_interval,
            ..LogOptions::new(LOG, options.database_url)
        };
        Ok(Self { log: EventLog::open(log).await?, limits })
    }

    /// Its log.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// What this service publishes.
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
        tracker.spawn(log.clone().follow(stop.clone()));
        tracker.spawn(metrics::count_shortfalls(log.pool().clone(), stop.clone()));
        let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());
        let reservations = Reservations::new(processor.clone(), self.limits);

        let own: Arc<EventLog> = Arc::new(log.clone());
        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        let linger = SubscriptionOptions { linger: projections::LINGER, ..SubscriptionOptions::default() };
        let read_model = subscriptions.project_with(own.clone(), ReadModel, linger).await?;
        let queue = TaskQueue::new(expiry::QUEUE, TaskOptions::default());
        let expiry = Timers::<ExpiryTiming>::new(queue.clone());
        subscriptions.project_with(own, expiry, timers::options()).await?;
        subscriptions.react(upstream.saga, SagaRequests::new(reservations.clone())).await?;

        let expire = ExpireReservations::new(reservations);
        tasks::work(&log, queue, expire, stop, &tracker);

        let rebuilds = Rebuilds::start(&log, &subscriptions, projections::rebuildable(&log));
        let queries = Queries::new(log.pool().clone(), read_model);
        let grpc = InventoryGrpc::new(StockKeeping::new(processor), queries);
        let services = Services::new().with(InventoryServiceServer::new(grpc));
        Ok(Running { services, subscriptions, rebuilds })
    }
}
