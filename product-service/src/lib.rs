//! The product service: what the shop sells, under which SKUs and at which prices. SKUs and handles are unique in
//! the shop, also when two products want the same one at the same moment; it knows no stock and no orders.
//!
//! Read in this order: [`domain`] has the rules, [`application`] what the service does, [`adapters`] what it
//! publishes, follows and projects, [`grpc`] its API, and [`import`] reads product files. This file wires them.

pub mod domain;

pub mod adapters;
pub mod application;
pub mod grpc;
pub mod import;

use std::sync::Arc;
use std::time::Duration;

use contracts::shop::product::v1::product_service_server::ProductServiceServer;
use eventsourcing::tasks::timers::{self, Timers};
use eventsourcing::tasks::{self, TaskOptions, TaskQueue};
use eventsourcing::{
    CommandProcessor, EventLog, Feed, FeedError, IntegrationFeed, LogFeed, LogOptions, Migrations, OpenError,
    ProcessorOptions, Rebuilds, Subscriptions,
};
use redis_link::Redis;
use service_runtime::Running;
use service_runtime::grpc::Services;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use adapters::integration_events::{SOURCE, publish};
use adapters::price_timers::{self, PriceTiming, TakeEffect};
use adapters::projections::{self, Availability, ReadModel, complete_search};
use adapters::{CacheFollower, LOOK_INTERVAL};
use application::{Catalogue, Exports, Imports, Past, ProductCache, Queries, SharedProducts};
use grpc::ProductGrpc;

/// Name of this service's log.
pub const LOG: &str = "product";

/// This service's tables beside the log.
pub const MIGRATIONS: Migrations = &[
    ("read model", include_str!("../migrations/1000_read_model.sql")),
    ("search", include_str!("../migrations/1100_search.sql")),
    ("scheduled prices", include_str!("../migrations/1200_scheduled_prices.sql")),
];

/// What the service needs to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// PostgreSQL URL of the service's own database, as the role that may append.
    pub database_url: String,
    /// Delay of another replica's events, at most.
    pub log_poll_interval: Duration,
    /// Delay of what another replica changed in products that are read from memory, at most; they are read from the
    /// database while this is longer than [`application::CONFIRMED_FOR`].
    pub cache_look_interval: Duration,
    /// Where replicas share the products that they read; a single one needs none.
    pub redis: Option<redis_link::Options>,
}

impl Options {
    /// The defaults, for this database.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            log_poll_interval: LogOptions::POLL_INTERVAL,
            cache_look_interval: LOOK_INTERVAL,
            redis: None,
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
    #[error(transparent)]
    Redis(#[from] redis_link::StartError),
}

/// What this service follows.
pub struct Upstream {
    /// Which SKUs are in stock.
    pub inventory: IntegrationFeed,
}

/// The service with its log open, and nothing running yet. The database must have been migrated with
/// [`MIGRATIONS`].
pub struct ProductService {
    log: EventLog,
    cache_look_interval: Duration,
    redis: Option<redis_link::Options>,
}

impl ProductService {
    /// Opens the log.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let log = LogOptions {
            poll_interval: options.log_poll_interval,
            ..LogOptions::new(LOG, options.database_url)
        };
        let Options { cache_look_interval, redis, .. } = options;
        Ok(Self { log: EventLog::open(log).await?, cache_look_interval, redis })
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
        let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());

        let shared = match self.redis {
            Some(options) => {
                let redis = Redis::start(options, stop.clone(), &tracker)?;
                let incarnations = (Feed::incarnation(&log), upstream.inventory.incarnation());
                Some(SharedProducts::start(redis, incarnations, stop.clone(), &tracker))
            }
            None => None,
        };
        let cache = ProductCache::before(shared);
        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        let read_model = subscriptions.project(Arc::new(log.clone()), ReadModel::new(cache.clone())).await?;
        let availability =
            subscriptions.project(upstream.inventory.clone(), Availability::new(cache.clone())).await?;
        let models = projections::rebuildable(&log, upstream.inventory.clone());
        let rebuilds = Rebuilds::start(&log, &subscriptions, models);
        let follower = CacheFollower {
            cache: cache.clone(),
            log: log.clone(),
            rebuilds: rebuilds.clone(),
            inventory: upstream.inventory,
            read_model: read_model.clone(),
            availability: availability.clone(),
        };
        tracker.spawn(follower.run(self.cache_look_interval, stop.clone()));
        tracker.spawn(complete_search(log.pool().clone(), rebuilds.clone(), stop.clone()));

        let catalogue = Catalogue::new(processor.clone());
        let queue = TaskQueue::new(price_timers::QUEUE, TaskOptions::default());
        let timers = Timers::<PriceTiming>::new(queue.clone());
        subscriptions.project_with(Arc::new(log.clone()), timers, timers::options()).await?;
        tasks::work(&log, queue, TakeEffect::new(catalogue.clone()), stop, &tracker);

        let queries = Queries::new(log.pool().clone(), cache, read_model, availability);
        let imports = Imports::new(processor, queries.clone());
        let exports = Exports::new(log.clone(), queries.clone());
        let grpc = ProductGrpc::new(catalogue, imports, exports, queries, Past::new(log));
        let services = Services::new().with(ProductServiceServer::new(grpc));
        Ok(Running { services, subscriptions, rebuilds })
    }
}
