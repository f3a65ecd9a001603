//! A payment service around a throwaway database, asked by a hand-made feed of saga requests. It runs on a
//! runtime of its own, so that a test can end it as a kill does: at once, in the middle of anything.

use std::sync::Arc;
use std::time::Duration;

use contracts::shop::payment::v1 as pb;
use contracts::shop::payment::v1::payment_service_client::PaymentServiceClient;
use contracts::shop::saga::v1 as saga;
use contracts::shop::r#type::v1::Money;
use eventsourcing::{CommandContext, IntegrationFeed, Metadata};
use payment_service::adapters::simulator::SimulatorOptions;
use payment_service::application::webhooks;
use payment_service::{LOG, MIGRATIONS, Options, PaymentService, Provider, Upstream};
use prost::Message;
use saga::saga_event::Event as Request;
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions};
use service_runtime::{Secret, Shutdown};
use sqlx::PgPool;
use testkit::{HandMadeFeed, SOON, TestDatabase, eventually, read_everything};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use pb::payment_event::Event as Answer;

const OPERATOR: &str = "operator-0123456789abcdef0123456789";

/// A database, what the saga asks, and a service that runs now.
pub struct Shop {
    pub requests: Requests,
    pub pool: PgPool,
    service: Service,
    /// Replicas beside it.
    others: Vec<Service>,
    database: TestDatabase,
}

struct Service {
    runtime: Option<Runtime>,
    feed: IntegrationFeed,
    grpc: GrpcService,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Limits with which tests are quick. Silence of the provider counts after a time in which it answers on a busy machine
/// too.
pub fn quick(options: &mut Options) {
    options.calls.timeout = Duration::from_secs(2);
    options.calls.first_pause = Duration::from_millis(10);
    options.calls.longest_pause = Duration::from_millis(100);
    options.calls.budget = 1000;
    options.log_poll_interval = Duration::from_millis(20);
    simulator(options).slow = Duration::from_millis(50);
}

/// The same for a provider that is never silent, however long it takes.
pub fn patient(options: &mut Options) {
    quick(options);
    options.calls.timeout = SOON;
}

/// The script's durations.
pub fn simulator(options: &mut Options) -> &mut SimulatorOptions {
    let Provider::Simulator(simulator) = &mut options.provider;
    simulator
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(quick).await
    }

    pub async fn open_with(change: impl FnOnce(&mut Options)) -> Self {
        let database = TestDatabase::new(LOG, MIGRATIONS).await;
        let pool = PgPool::connect(database.admin_url()).await.unwrap();
        let requests = Requests { feed: HandMadeFeed::new("saga") };
        let service = Service::start(options(&database, change), requests.feed.clone()).await;
        Self { requests, pool, service, others: Vec::new(), database }
    }

    /// Starts another replica on the same database.
    pub async fn add_replica(&mut self, change: impl FnOnce(&mut Options)) {
        let replica = Service::start(options(&self.database, change), self.requests.feed.clone()).await;
        self.others.push(replica);
    }

    /// Kills the first of the replicas; the next one answers in its place.
    pub fn kill_first(&mut self) {
        let next = self.others.remove(0);
        let killed = std::mem::replace(&mut self.service, next);
        drop(killed);
    }

    /// Kills the service and starts it again, when what it had leased is free.
    pub async fn crash_and_restart(&mut self, change: impl FnOnce(&mut Options)) {
        self.service.runtime.take().unwrap().shutdown_background();
        let leases_end = "UPDATE eventsourcing.tasks SET leased_until = now() WHERE leased_until IS NOT NULL";
        sqlx::query(leases_end).execute(&self.pool).await.unwrap();
        self.service = Service::start(options(&self.database, change), self.requests.feed.clone()).await;
    }

    /// Tells the service to end, and waits until it has.
    pub async fn stop(self) {
        self.service.stop.cancel();
        self.service.tracker.close();
        tokio::time::timeout(SOON, self.service.tracker.wait()).await.expect("the service ends");
    }

    pub fn client(&self) -> PaymentServiceClient<GrpcService> {
        PaymentServiceClient::new(self.service.grpc.clone())
    }

    /// Everything that was published about an order.
    pub async fn published(&self, order: Uuid) -> Vec<Answer> {
        let page = read_everything(&*self.service.feed, 0).await.unwrap();
        let of_order = page.messages.into_iter().filter(|m| m.subject == format!("payment-{order}"));
        of_order.map(|m| pb::PaymentEvent::decode(&*m.data).unwrap().event.unwrap()).collect()
    }

    /// Waits until something is published about an order.
    pub async fn until(&self, order: Uuid, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let wanted = &wanted;
        let look = || async move { self.published(order).await.into_iter().find(wanted) };
        eventually(&format!("{what} of {order}"), SOON, look).await
    }

    /// Waits until this many of something are published about an order.
    pub async fn until_count(&self, order: Uuid, count: usize, what: &str, wanted: impl Fn(&Answer) -> bool) {
        let wanted = &wanted;
        let look = || async move {
            let found = self.published(order).await.iter().filter(|answer| wanted(answer)).count();
            (found >= count).then_some(())
        };
        eventually(&format!("{count} {what} of {order}"), SOON, look).await;
    }

    pub async fn until_authorized(&self, order: Uuid) {
        self.until(order, "authorization", |e| matches!(e, Answer::PaymentAuthorized(_))).await;
    }

    pub async fn until_captured(&self, order: Uuid) {
        self.until(order, "capture", |e| matches!(e, Answer::PaymentCaptured(_))).await;
    }

    pub async fn until_voided(&self, order: Uuid) {
        self.until(order, "void", |e| matches!(e, Answer::PaymentVoided(_))).await;
    }

    /// A captured payment of ten euro.
    pub async fn captured(&self, token: &str) -> Uuid {
        let order = Uuid::now_v7();
        self.requests.authorize(order, token);
        self.until_authorized(order).await;
        self.requests.capture(order);
        self.until_captured(order).await;
        order
    }

    /// A number from the database.
    pub async fn count(&self, sql: &'static str, order: Uuid) -> i64 {
        sqlx::query_scalar(sql).bind(order).fetch_one(&self.pool).await.unwrap()
    }

    /// Calls of one kind that the provider remembers of an order.
    pub async fn provider_calls(&self, order: Uuid, operation: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM simulator_calls WHERE order_id = $1 AND operation = $2")
            .bind(order)
            .bind(operation)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Status and refunded amount of each payment that the provider has for an order.
    pub async fn provider_payments(&self, order: Uuid) -> Vec<(String, i64)> {
        sqlx::query_as("SELECT status, refunded FROM simulator_payments WHERE order_id = $1")
            .bind(order)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Types of the stored events of an order.
    pub async fn stored(&self, order: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT type FROM eventlog.events WHERE stream_id = $1 ORDER BY version")
            .bind(format!("payment-{order}"))
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Calls of an order whose notification has its durable answer.
    pub async fn notifications_handled(&self, order: Uuid) -> i64 {
        let keys: Vec<Uuid> =
            sqlx::query_scalar("SELECT idempotency_key FROM simulator_calls WHERE order_id = $1")
                .bind(order)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let command_of =
            |key| CommandContext::derived(webhooks::SCOPE, key, 0, Metadata::default()).command_id;
        let commands: Vec<Uuid> = keys.into_iter().map(command_of).collect();
        sqlx::query_scalar("SELECT count(*) FROM eventlog.command_results WHERE command_id = ANY($1)")
            .bind(commands)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Everything that any table holds, as text.
    pub async fn dump(&self) -> String {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
              WHERE table_schema IN ('public', 'eventlog', 'eventsourcing') AND table_type = 'BASE TABLE'",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let mut dump = String::new();
        for table in tables {
            let sql = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
            let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&self.pool).await.unwrap();
            dump.push_str(&rows.join("\n"));
        }
        dump
    }
}

fn options(database: &TestDatabase, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(database.url(), "simulator".parse().unwrap());
    change(&mut options);
    options
}

impl Service {
    async fn start(options: Options, saga: HandMadeFeed) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let (stopped, tracked) = (stop.clone(), tracker.clone());
        let started = runtime.spawn(async move {
            let service = PaymentService::open(options).await.unwrap();
            let feed = service.feed();
            let upstream = Upstream { saga: Arc::new(saga) };
            let running = service.start(upstream, stopped, tracked).await.unwrap();
            (feed, running)
        });
        let (feed, running) = started.await.unwrap();
        let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[]).unwrap();
        let server = GrpcServer::new(running.services, tokens, ServerOptions::default(), &Shutdown::new());
        Self { runtime: Some(runtime), feed, grpc: server.unwrap().service(), stop, tracker }
    }
}

/// A request as an operator makes it.
pub fn as_operator<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {OPERATOR}").parse().unwrap());
    request
}

pub fn euro(minor_units: i64) -> Money {
    Money { currency_code: "EUR".into(), minor_units }
}

/// What the saga asks, in the hands of the test.
pub struct Requests {
    feed: HandMadeFeed,
}

impl Requests {
    pub fn send(&self, order: Uuid, request: Request) {
        let data = saga::SagaEvent { event: Some(request) }.encode_to_vec();
        self.feed.send(format!("checkout-{order}"), data);
    }

    pub fn authorize(&self, order: Uuid, token: &str) {
        self.authorize_amount(order, token, euro(1000));
    }

    pub fn authorize_amount(&self, order: Uuid, token: &str, amount: Money) {
        let (order_id, payment_token) = (order.to_string(), token.to_owned());
        let request = saga::PaymentAuthorizationRequested { order_id, amount: Some(amount), payment_token };
        self.send(order, Request::PaymentAuthorizationRequested(request));
    }

    pub fn capture(&self, order: Uuid) {
        let order_id = order.to_string();
        self.send(order, Request::PaymentCaptureRequested(saga::PaymentCaptureRequested { order_id }));
    }

    pub fn void(&self, order: Uuid) {
        let order_id = order.to_string();
        self.send(order, Request::PaymentVoidRequested(saga::PaymentVoidRequested { order_id }));
    }

    pub fn refund(&self, order: Uuid, refund_id: &str, amount: Option<Money>) {
        let request = saga::PaymentRefundRequested {
            order_id: order.to_string(),
            refund_id: refund_id.into(),
            amount,
            reason: "cancelled".into(),
        };
        self.send(order, Request::PaymentRefundRequested(request));
    }
}
