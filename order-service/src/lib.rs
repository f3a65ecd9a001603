//! The order service: orders from the moment they are placed to their delivery, at the shop's own prices, with
//! the personal data of those who order sealed. What checkout does with stock and money is not here; the saga
//! orchestrator asks this service to confirm, reject or cancel, and this service answers with events.

pub mod adapters;
pub mod domain;

mod application;
mod grpc;

use std::sync::Arc;
use std::time::Duration;

use contracts::shop::order::v1::order_service_server::OrderServiceServer;
use eventsourcing::{
    CommandProcessor, EventLog, FeedError, IntegrationFeed, LogFeed, LogOptions, OpenError, ProcessorOptions,
    Rebuilds, SubscriptionOptions, Subscriptions,
};
use service_runtime::auth::{AccessTokens, NoKeys};
use service_runtime::config::ConfigReader;
use service_runtime::grpc::Services;
use service_runtime::{Running, Secret};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use adapters::integration_events::{SOURCE, publish};
use adapters::projections::{self, CatalogueProjection, OrdersProjection, orders};
use adapters::saga_requests::SagaRequests;
use application::catalogue::Catalogue;
use application::personal_data::{MasterKeyError, MasterKeys, PersonalData, PersonalDataError};
use application::watch_orders::MAX_WATCHES;
use application::{Application, ChangeOrders, ForgetPerson, PlaceOrders, ReadOrders, WatchOrders};
use grpc::OrderApi;

/// Name of this service's event log.
pub const LOG: &str = "order";

/// This service's own tables.
pub const MIGRATIONS: eventsourcing::Migrations =
    &[("read models and keys", include_str!("../migrations/1000_read_models.sql"))];

/// How the order service runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// PostgreSQL URL of its own, migrated database.
    pub database_url: Secret,
    /// Connections for reads and projections.
    pub max_connections: u32,
    /// How often the log is asked whether another replica appended.
    pub log_poll_interval: Duration,
    /// Keys that access tokens of orders are made with, the current one first.
    pub order_token_keys: Vec<Secret>,
    /// Master keys of personal data, the current one first; each 64 hexadecimal digits. Whoever loses them has
    /// forgotten everybody.
    pub personal_data_keys: Vec<Secret>,
    /// How often keys of personal data that an earlier master key wraps are looked for.
    pub rewrap_interval: Duration,
    /// Most orders of one customer that may be pending at a time. Guests are nobody in particular, so what they
    /// may do is bounded by the gateway's rate limits.
    pub max_open_orders: u32,
    /// Most streams of WatchOrder at a time.
    pub max_watches: usize,
}

impl Options {
    pub fn new(
        database_url: impl Into<String>,
        order_token_keys: Vec<Secret>,
        personal_data_keys: Vec<Secret>,
    ) -> Self {
        Self {
            database_url: Secret::new(database_url),
            max_connections: LogOptions::MAX_CONNECTIONS,
            log_poll_interval: LogOptions::POLL_INTERVAL,
            order_token_keys,
            personal_data_keys,
            rewrap_interval: REWRAP_INTERVAL,
            max_open_orders: domain::order::MAX_OPEN_ORDERS,
            max_watches: MAX_WATCHES,
        }
    }
}

impl Options {
    /// Reads the keys, `STORELINE_ORDER_TOKEN_KEYS` and `STORELINE_PERSONAL_DATA_KEYS`, each with commas in between.
    pub fn read(reader: &mut ConfigReader, database_url: impl Into<String>) -> Self {
        let order_token_keys: Vec<Secret> = reader
            .var(
                "STORELINE_ORDER_TOKEN_KEYS",
                "keys that access tokens of orders are made with, the current one first",
            )
            .check("each of 32 characters at least", |keys: &Vec<Secret>| {
                !keys.is_empty() && keys.iter().all(|key| key.expose().len() >= MIN_TOKEN_KEY_CHARS)
            })
            .required();
        let personal_data_keys: Vec<Secret> = reader
            .var(
                "STORELINE_PERSONAL_DATA_KEYS",
                "master keys of personal data, the current one first; whoever loses them has forgotten everybody",
            )
            .check("each of 64 hexadecimal digits, none of them twice", |keys: &Vec<Secret>| {
                MasterKeys::new(keys).is_ok()
            })
            .required();
        Self::new(database_url, order_token_keys, personal_data_keys)
    }
}

/// How often keys that an earlier master key wraps are looked for, unless told otherwise.
const REWRAP_INTERVAL: Duration = Duration::from_secs(3600);
/// Shortest key for access tokens that a configuration may name: 32 hexadecimal digits are 128 bits.
const MIN_TOKEN_KEY_CHARS: usize = 32;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("order tokens: {0}")]
    OrderTokens(#[from] NoKeys),
    #[error(transparent)]
    MasterKeys(#[from] MasterKeyError),
    #[error(transparent)]
    PersonalData(#[from] PersonalDataError),
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// What this service subscribes to.
pub struct Upstream {
    pub product: IntegrationFeed,
    pub saga: IntegrationFeed,
}

/// The service with its database open, and nothing running yet.
pub struct OrderService {
    log: EventLog,
    personal_data: PersonalData,
    access_tokens: AccessTokens,
    options: Options,
}

impl OrderService {
    /// Opens the database, which must have been migrated with [`MIGRATIONS`], and checks the keys.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let access_tokens = AccessTokens::new(options.order_token_keys.clone())?;
        let masters = MasterKeys::new(&options.personal_data_keys)?;
        let log = EventLog::open(LogOptions {
            max_connections: options.max_connections,
            poll_interval: options.log_poll_interval,
            ..LogOptions::new(LOG, options.database_url.expose())
        })
        .await?;
        let personal_data = PersonalData::open(log.pool().clone(), masters).await?;
        Ok(Self { log, personal_data, access_tokens, options })
    }

    /// Its log.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// What this service publishes.
    pub fn feed(&self) -> IntegrationFeed {
        Arc::new(LogFeed::new(self.log.clone(), SOURCE, publish))
    }

    /// Starts the command processor, the subscriptions and the background work, until `stop`.
    pub async fn start(
        self,
        upstream: Upstream,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> Result<Running, StartError> {
        let Self { log, personal_data, access_tokens, options } = self;
        let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());
        tracker.spawn(log.clone().follow(stop.clone()));
        tracker.spawn(wrap_keys_anew(personal_data.clone(), options.rewrap_interval, stop.clone()));

        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        let models = projections::rebuildable(&log, upstream.product.clone());
        let catalogue = subscriptions.project(upstream.product, CatalogueProjection).await?;
        let linger = SubscriptionOptions { linger: orders::LINGER, ..SubscriptionOptions::default() };
        let orders = subscriptions.project_with(Arc::new(log.clone()), OrdersProjection, linger).await?;
        subscriptions.react(upstream.saga, SagaRequests::new(processor.clone())).await?;

        let rebuilds = Rebuilds::start(&log, &subscriptions, models);

        let watch = WatchOrders::new(log.clone(), personal_data.clone(), options.max_watches, stop);
        tracker.spawn(watch.clone().wake_followers());
        let place = PlaceOrders::new(
            processor.clone(),
            Catalogue::new(log.pool().clone(), catalogue),
            personal_data.clone(),
            options.max_open_orders,
            tracker,
        );
        let application = Application {
            place,
            change: ChangeOrders::new(processor, personal_data.clone()),
            read: ReadOrders::new(log.clone(), orders, personal_data.clone()),
            watch,
            forget: ForgetPerson::new(log, personal_data.clone()),
        };
        let api = OrderApi::new(application, personal_data, access_tokens);
        let services = Services::new().with(OrderServiceServer::new(api));
        Ok(Running { services, subscriptions, rebuilds })
    }
}

/// Brings keys that an earlier master key wraps under the current one, until `stop`: while a new configuration is rolled
/// out, replicas with the one before still make such keys.
async fn wrap_keys_anew(personal_data: PersonalData, every: Duration, stop: CancellationToken) {
    loop {
        match personal_data.rewrap().await {
            Ok(0) => {}
            Ok(keys) => {
                tracing::info!(keys, "keys of personal data are wrapped under the current master key")
            }
            Err(error) => {
                tracing::error!(%error, "keys of personal data cannot be wrapped under the current master key")
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none() {
            return;
        }
    }
}
