//! Payments of a shop: authorize, capture, void, refund, each through a provider that may answer late, twice or
//! never. Started by the requests of the checkout's feed; answered by events of this service's own.
//!
//! Reading order: the rules in [`domain`], what is done with them in [`application`], where they meet the world
//! in [`adapters`] and [`grpc`]. Here everything is wired, and nothing else.

pub mod adapters;
pub mod application;
pub mod domain;
pub mod grpc;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use contracts::shop::payment::v1::payment_service_server::PaymentServiceServer;
use eventsourcing::tasks::{self, TaskQueue};
use eventsourcing::{
    CommandProcessor, EventLog, FeedError, IntegrationFeed, LogFeed, LogOptions, OpenError, ProcessorOptions,
    Rebuilds, SubscriptionOptions, Subscriptions,
};
use service_runtime::Running;
use service_runtime::config::ConfigValue;
use service_runtime::grpc::Services;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use adapters::projections::{self, Intents, ReadModel, ScheduleProviderCalls, read_model};
use adapters::saga_requests::SagaRequests;
use adapters::simulator::{Simulator, SimulatorOptions};
use adapters::{integration_events, metrics};
use application::{CallOptions, Payments, ProviderCalls, provider_calls, webhooks};
use grpc::PaymentServiceHandler;

/// Name of the log, and of the service.
pub const LOG: &str = "payment";

/// The tables of this service beside its event log.
pub const MIGRATIONS: eventsourcing::Migrations = &[
    ("read model", include_str!("../migrations/1000_read_model.sql")),
    ("provider simulator", include_str!("../migrations/1001_provider_simulator.sql")),
    ("durable provider", include_str!("../migrations/1002_durable_provider.sql")),
];

/// Notifications of the provider that may wait to be handled. One more is lost, and found out by asking.
const NOTIFICATION_QUEUE: usize = 1024;

/// The provider that payments are made with. There is no default: it is chosen by name.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Moves no money.
    Simulator(SimulatorOptions),
}

/// The name is no provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {}", Provider::RULE)]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        match name {
            "simulator" => Ok(Self::Simulator(SimulatorOptions::default())),
            _ => Err(UnknownProvider),
        }
    }
}

impl ConfigValue for Provider {
    const RULE: &'static str =
        "the name of a payment provider: `simulator`, which moves no money and gives goods away";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        match self {
            Self::Simulator(_) => "simulator".to_owned(),
        }
    }

    fn stand_in() -> Self {
        Self::Simulator(SimulatorOptions::default())
    }
}

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// PostgreSQL URL of this service's own database, as the role that may append.
    pub database_url: String,
    /// How often the log is asked what other replicas appended.
    pub log_poll_interval: Duration,
    pub provider: Provider,
    pub calls: CallOptions,
}

impl Options {
    pub fn new(database_url: impl Into<String>, provider: Provider) -> Self {
        Self {
            database_url: database_url.into(),
            log_poll_interval: LogOptions::POLL_INTERVAL,
            provider,
            calls: CallOptions::default(),
        }
    }
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("a subscription cannot start: {0}")]
    Subscribe(#[from] FeedError),
    #[error("the memory of the provider simulator cannot be reached: {0}")]
    Simulator(#[source] sqlx::Error),
}

/// The feeds of others that this service follows.
pub struct Upstream {
    pub saga: IntegrationFeed,
}

/// The service with its log open and nothing running yet.
pub struct PaymentService {
    log: EventLog,
    options: Options,
}

impl PaymentService {
    /// Opens the log, which must have been migrated with [`MIGRATIONS`].
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let log = LogOptions {
            poll_interval: options.log_poll_interval,
            ..LogOptions::new(LOG, &options.database_url)
        };
        Ok(Self { log: EventLog::open(log).await?, options })
    }

    /// Its log.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// What it publishes.
    pub fn feed(&self) -> IntegrationFeed {
        Arc::new(LogFeed::new(self.log.clone(), integration_events::SOURCE, integration_events::publish))
    }

    /// Starts everything, on tasks of `tracker` and until `stop`.
    pub async fn start(
        self,
        upstream: Upstream,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> Result<Running, StartError> {
        let Self { log, options } = self;
        tracker.spawn(log.clone().follow(stop.clone()));
        tracker.spawn(metrics::watch_unknown(log.pool().clone(), stop.clone()));
        let payments = Payments::new(CommandProcessor::start(log.clone(), ProcessorOptions::default()));
        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        let linger = SubscriptionOptions { linger: read_model::LINGER, ..SubscriptionOptions::default() };
        let read_model = subscriptions.project_with(Arc::new(log.clone()), ReadModel, linger).await?;
        // An order waits for the call, so the intent does not wait for others.
        let at_once = SubscriptionOptions { linger: Duration::ZERO, ..SubscriptionOptions::default() };
        let queue = TaskQueue::new(provider_calls::QUEUE, options.calls.task_options());
        let schedule = ScheduleProviderCalls { queue: queue.clone() };
        subscriptions.project_with(Arc::new(Intents(log.clone())), schedule, at_once).await?;
        subscriptions.react(upstream.saga, SagaRequests { payments: payments.clone() }).await?;

        let (notifications, notified) = mpsc::channel(NOTIFICATION_QUEUE);
        tracker.spawn(webhooks::receive_all(payments.clone(), notified));
        let Provider::Simulator(simulator) = options.provider;
        tracing::warn!("the payment provider is the simulator: no money moves, and goods are given away");
        let provider = Simulator::connect(&options.database_url, simulator, notifications)
            .await
            .map_err(StartError::Simulator)?;
        let worker = ProviderCalls { provider, payments: payments.clone(), options: options.calls };
        tasks::work(&log, queue, worker, stop, &tracker);

        let rebuilds = Rebuilds::start(&log, &subscriptions, projections::rebuildable(&log));
        let handler = PaymentServiceHandler::new(payments, read_model);
        let services = Services::new().with(PaymentServiceServer::new(handler));
        Ok(Running { services, subscriptions, rebuilds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_chosen_by_name_and_nothing_else() {
        assert!(matches!("simulator".parse(), Ok(Provider::Simulator(_))));
        for name in ["", "Simulator", "stripe"] {
            assert_eq!(name.parse::<Provider>().unwrap_err(), UnknownProvider);
        }
    }
}
