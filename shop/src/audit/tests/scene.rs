//! A small shop on throwaway databases: the real services on each other's feeds, with products, stock and orders
//! put into their logs; and ways to tamper with what they stored, behind their backs.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use eventsourcing::{
    CommandContext, CommandProcessor, Decide, Decider, EventLog, Halt, LogOptions, Metadata, Operation,
    ProcessorOptions, Rebuilds, Retention, StreamId, View,
};
use inventory_service::domain::operations::ChangeStock;
use inventory_service::domain::stock::StockCommand;
use inventory_service::domain::{Note, Quantity as Pieces, Sku as StockedSku};
use order_service::domain::order::{Amount, AmountKind, OrderCommand, OrderEvent, OrderLine, OrderPlaced};
use order_service::domain::{
    Currency, Money, Order, OrderId, PaymentToken, Quantity, ReasonCode, SealedText, Sku,
};
use payment_service::adapters::simulator::SimulatorOptions;
use payment_service::domain::payment::RefundOrder;
use payment_service::domain::{Payment, PaymentCommand, RefundId, RefundReason};
use product_service::domain::details::Details;
use product_service::domain::operations::{
    CreateProduct, SchedulePrice, Scheduled, WantedHandle, product_stream,
};
use product_service::domain::product::{Product, ProductCommand, ScheduledPrice};
use product_service::domain::{Assortment, NewVariant, Price, ProductId};
use service_runtime::Secret;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::{SOON, TestDatabase, eventually};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit::{Log, PerLog, Report, Verdict, audit};

/// What one piece costs, by SKU. `FREE` costs nothing.
const PRICES: [(&str, i64); 3] = [("MUG", 1200), ("PEN", 300), ("FREE", 0)];
/// Pieces of each that are received.
const RECEIVED: i64 = 1000;

pub struct Scene {
    databases: PerLog<TestDatabase>,
    processors: PerLog<CommandProcessor>,
    running: Option<(CancellationToken, TaskTracker)>,
    /// While it runs.
    rebuilds: Option<PerLog<Rebuilds>>,
}

impl Scene {
    /// A running shop with products and stock.
    pub async fn open() -> Self {
        let mut scene = Self::empty().await;
        scene.start().await;
        scene.stock_up().await;
        scene
    }

    /// Databases without an event.
    pub async fn empty() -> Self {
        let databases = tokio::join!(
            TestDatabase::new(product_service::LOG, product_service::MIGRATIONS),
            TestDatabase::new(inventory_service::LOG, inventory_service::MIGRATIONS),
            TestDatabase::new(order_service::LOG, order_service::MIGRATIONS),
            TestDatabase::new(payment_service::LOG, payment_service::MIGRATIONS),
            TestDatabase::new(saga_orchestrator::LOG, saga_orchestrator::MIGRATIONS),
        );
        let databases = PerLog(databases.into());
        let mut processors = Vec::new();
        for log in Log::ALL {
            let options =
                LogOptions { max_connections: 2, ..LogOptions::new(log.name(), databases[log].url()) };
            let log = EventLog::open(options).await.unwrap();
            processors.push(CommandProcessor::start(log, ProcessorOptions::default()));
        }
        let processors = PerLog(processors.try_into().ok().unwrap());
        Self { databases, processors, running: None, rebuilds: None }
    }

    pub async fn start(&mut self) {
        let poll = Duration::from_millis(10);
        let url = |log: Log| self.databases[log].url().to_owned();
        let key = Secret::new("ab".repeat(32));
        let product = product_service::Options {
            log_poll_interval: poll,
            ..product_service::Options::new(url(Log::Product))
        };
        let inventory = inventory_service::Options {
            log_poll_interval: poll,
            ..inventory_service::Options::new(url(Log::Inventory))
        };
        let order = order_service::Options {
            log_poll_interval: poll,
            ..order_service::Options::new(url(Log::Order), vec![key.clone()], vec![key])
        };
        // What is unknown until asked stays unknown here.
        let simulator = SimulatorOptions { pending_asks: u32::MAX, ..SimulatorOptions::default() };
        let provider = payment_service::Provider::Simulator(simulator);
        let mut payment = payment_service::Options {
            log_poll_interval: poll,
            ..payment_service::Options::new(url(Log::Payment), provider)
        };
        payment.calls.timeout = Duration::from_secs(2);
        let saga = saga_orchestrator::Options {
            log_poll_interval: poll,
            ..saga_orchestrator::Options::new(url(Log::Saga))
        };

        let product = product_service::ProductService::open(product).await.unwrap();
        let inventory = inventory_service::InventoryService::open(inventory).await.unwrap();
        let order = order_service::OrderService::open(order).await.unwrap();
        let payment = payment_service::PaymentService::open(payment).await.unwrap();
        let saga = saga_orchestrator::SagaOrchestrator::open(saga).await.unwrap();
        let (products, stock, requests) = (product.feed(), inventory.feed(), saga.feed());
        let (orders, payments) = (order.feed(), payment.feed());
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let and = || (stop.clone(), tracker.clone());

        let (stop, tracker) = and();
        let upstream = product_service::Upstream { inventory: stock.clone() };
        let product = product.start(upstream, stop, tracker).await.unwrap().rebuilds;
        let (stop, tracker) = and();
        let upstream = inventory_service::Upstream { saga: requests.clone() };
        let inventory = inventory.start(upstream, stop, tracker).await.unwrap().rebuilds;
        let (stop, tracker) = and();
        let upstream = order_service::Upstream { product: products, saga: requests.clone() };
        let order = order.start(upstream, stop, tracker).await.unwrap().rebuilds;
        let (stop, tracker) = and();
        let upstream = payment_service::Upstream { saga: requests };
        let payment = payment.start(upstream, stop, tracker).await.unwrap().rebuilds;
        let (stop, tracker) = and();
        let upstream = saga_orchestrator::Upstream { order: orders, inventory: stock, payment: payments };
        let saga = saga.start(upstream, stop, tracker).await.unwrap().rebuilds;
        self.rebuilds = Some(PerLog([product, inventory, order, payment, saga]));
        self.running = Some(and());
    }

    /// What the running services can make anew.
    pub fn rebuilds(&self, log: Log) -> &Rebuilds {
        &self.rebuilds.as_ref().unwrap()[log]
    }

    /// Waits until every subscription has stored that it came to the end of its log.
    pub async fn caught_up(&self) {
        for log in Log::ALL {
            eventually("checkpoints are stored", SOON, || async {
                // Former versions of read models stay behind.
                let sql = "SELECT subscription, log, position FROM eventsourcing.checkpoints \
                            WHERE subscription NOT LIKE '%@old'";
                let rows: Vec<(String, String, i64)> =
                    sqlx::query_as(sql).fetch_all(self.processors[log].log().pool()).await.unwrap();
                for (_, followed, position) in rows {
                    let followed = Log::of_name(&followed).unwrap();
                    if position < self.processors[followed].log().head().await.unwrap() {
                        return None;
                    }
                }
                Some(())
            })
            .await;
        }
    }

    /// Stops the services in order, once every subscription has stored how far it came.
    pub async fn stop(&mut self) {
        self.caught_up().await;
        self.rebuilds = None;
        let (stop, tracker) = self.running.take().unwrap();
        stop.cancel();
        tracker.close();
        tokio::time::timeout(SOON, tracker.wait()).await.expect("the services stop");
    }

    async fn stock_up(&self) {
        let eur = product_service::domain::Currency::from_code("EUR").unwrap();
        for (sku, price) in PRICES {
            let variant = NewVariant {
                sku: product_service::domain::Sku::parse(sku).unwrap(),
                options: Vec::new(),
                price: Price::new(price, eur).unwrap(),
                barcode: String::new(),
            };
            let product_id = Uuid::now_v7().into();
            let create = CreateProduct {
                product_id,
                handle: WantedHandle::Derived,
                details: Details { name: format!("A {sku}"), ..Details::default() },
                assortment: Assortment::check(vec![variant]).unwrap(),
                publish: true,
            };
            self.execute(Log::Product, create).await;
            self.schedule_prices(product_id, sku, price).await;
            let quantity = Pieces::new(RECEIVED).unwrap();
            let receive = StockCommand::Receive { quantity, reference: Note::default() };
            self.execute(Log::Inventory, change(sku, receive)).await;
        }
    }

    /// A product was discontinued once and came back, and has prices in effect, withdrawn and to come.
    async fn schedule_prices(&self, product_id: ProductId, sku: &str, price: i64) {
        use product_service::domain::Currency;
        let again = || "again".to_owned();
        for command in
            [ProductCommand::Discontinue { reason: again() }, ProductCommand::Reinstate { reason: again() }]
        {
            let stream = product_stream(product_id);
            self.execute(Log::Product, Decide::<Product> { stream, command, expected_version: None }).await;
        }
        // Long ago, which a timer finds out; in a year; and in another, which is withdrawn.
        let schedule = |now: DateTime<Utc>, price| SchedulePrice {
            product_id,
            schedule_id: Uuid::now_v7().into(),
            scheduled: ScheduledPrice {
                sku: product_service::domain::Sku::parse(sku).unwrap(),
                price: Price::new(price, Currency::from_code("EUR").unwrap()).unwrap(),
                effective_at: now + TimeDelta::days(365),
                reason: String::new(),
            },
            now,
            expected_version: None,
        };
        self.execute(Log::Product, schedule(DateTime::UNIX_EPOCH, price)).await;
        self.execute(Log::Product, schedule(Utc::now(), price + 1)).await;
        let Scheduled { schedule_id, .. } = self.execute(Log::Product, schedule(Utc::now(), price + 2)).await;
        let command = ProductCommand::WithdrawScheduledPrice { schedule_id, reason: again() };
        let stream = product_stream(product_id);
        self.execute(Log::Product, Decide::<Product> { stream, command, expected_version: None }).await;
    }

    async fn execute<O: Operation>(&self, log: Log, operation: O) -> O::Reply
    where
        O::Rejection: std::fmt::Debug,
    {
        let metadata = Metadata { actor: "operator".into(), ..Metadata::default() };
        let context = CommandContext {
            scope: "test".into(),
            command_id: Uuid::now_v7(),
            request_hash: [0; 32],
            metadata,
            retention: Retention::Client,
        };
        self.processors[log].execute(operation, context).await.unwrap().reply
    }

    /// Places an order for so many pieces of one SKU.
    pub async fn place(&self, sku: &str, pieces: i64, token: &str) -> Uuid {
        let id = Uuid::now_v7();
        let event = OrderEvent::OrderPlaced(placed(id, sku, pieces, token));
        let happened = Happened::<Order> { stream: StreamId::of::<Order>(id), events: vec![event] };
        self.execute(Log::Order, happened).await;
        id
    }

    /// Asks for an order's cancellation.
    pub async fn cancel(&self, order: Uuid) {
        let command =
            OrderCommand::RequestCancellation { reason: ReasonCode::fixed("CHANGED_MIND"), note: None };
        let stream = StreamId::of::<Order>(order);
        self.execute(Log::Order, Decide::<Order> { stream, command, expected_version: None }).await;
    }

    /// An operator pays a part back.
    pub async fn refund(&self, order: Uuid, minor_units: i64) {
        let currency = payment_service::domain::Currency::parse("EUR").unwrap();
        let refund = PaymentCommand::Refund(RefundOrder {
            refund_id: RefundId::parse("by-hand").unwrap(),
            amount: Some(payment_service::domain::Money::new(currency, minor_units)),
            reason: RefundReason::default(),
        });
        let stream = StreamId::of::<Payment>(order);
        self.execute(Log::Payment, Decide::<Payment> { stream, command: refund, expected_version: None })
            .await;
        let sql = "SELECT 1 FROM refunds WHERE status = 'succeeded' AND order_id =";
        self.eventually_there(Log::Payment, &format!("{sql} '{order}'")).await;
    }

    /// Waits until an order has a status and its sagas have ended.
    pub async fn reaches(&self, order: Uuid, status: &str) {
        let row = format!("SELECT 1 FROM orders WHERE order_id = '{order}' AND status = '{status}'");
        self.eventually_there(Log::Order, &row).await;
        let ended = format!(
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM sagas WHERE saga_id LIKE '%{order}' \
              AND status NOT IN ('completed', 'compensated'))"
        );
        self.eventually_there(Log::Saga, &ended).await;
    }

    /// Waits until a query finds something.
    pub async fn eventually_there(&self, log: Log, sql: &str) {
        let pool = self.processors[log].log().pool();
        eventually(sql, SOON, || async {
            sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_optional(pool).await.unwrap().map(|_| ())
        })
        .await;
    }

    /// Changes a database as nobody may: triggers are off.
    pub async fn tamper(&self, log: Log, sql: &str) {
        let mut connection = self.admin(log).await;
        let sql = format!("SET session_replication_role = replica; {sql}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A session that may do everything.
    pub async fn admin(&self, log: Log) -> PgConnection {
        PgConnection::connect(self.databases[log].admin_url()).await.unwrap()
    }

    /// Writes an event that nobody decided, with an answer that nobody asked for.
    pub async fn inject(&self, log: Log, event: Injected<'_>) -> Uuid {
        let Injected { stream, skip_versions, event_type, data, actor } = event;
        let (event_id, command_id) = (Uuid::now_v7(), Uuid::now_v7());
        let mut connection = self.admin(log).await;
        let sql = "WITH event AS ( \
                     INSERT INTO eventlog.events \
                            (stream_id, version, event_id, command_id, type, schema_version, data, metadata) \
                     VALUES ($1, $2 + 1 + coalesce((SELECT max(version) FROM eventlog.events WHERE stream_id = $1), 0), \
                             $3, $4, $5, 1, $6, jsonb_build_object('actor', $7::text, 'correlation_id', '')) \
                     RETURNING position) \
                   INSERT INTO eventlog.command_results \
                          (scope, command_id, request_hash, outcome, position, expires) \
                   SELECT 'test', $4, '', '{}', position, false FROM event";
        let query = sqlx::query(sql).bind(stream).bind(skip_versions).bind(event_id).bind(command_id);
        let query = query.bind(event_type).bind(data).bind(actor);
        query.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        event_id
    }

    /// Has the orchestrator's subscription believe that it handled an injected event, its newest.
    pub async fn heard(&self, subscription: &'static str, log: Log, event: Uuid) {
        let command = CommandContext::derived(subscription, event, 0, Metadata::default());
        let head = self.processors[log].log().head().await.unwrap();
        let (scope, command) = (command.scope, command.command_id);
        let sql = format!(
            "INSERT INTO eventlog.command_results (scope, command_id, request_hash, outcome, position, expires) \
             VALUES ('{scope}', '{command}', '', '{{}}', 0, false); \
             UPDATE eventsourcing.checkpoints SET position = {head} WHERE subscription = '{subscription}'"
        );
        self.tamper(Log::Saga, &sql).await;
    }

    pub async fn audit(&self) -> Report {
        let urls = PerLog(Log::ALL.map(|log| self.databases[log].url().to_owned()));
        audit(&urls, |_| {}).await.unwrap()
    }

    /// How often each invariant is broken.
    pub async fn broken(&self) -> BTreeMap<String, u64> {
        let report = self.audit().await;
        let broken = report.findings.iter().filter(|finding| finding.verdict == Verdict::Broken);
        let broken: BTreeMap<_, _> = broken.map(|finding| (finding.check.clone(), finding.failed)).collect();
        assert_eq!(report.ok, broken.is_empty());
        broken
    }

    /// The shop passes, or this says what does not.
    #[track_caller]
    pub fn assert_passes(report: &Report) {
        let broken: Vec<_> = report.findings.iter().filter(|f| f.verdict == Verdict::Broken).collect();
        assert!(report.ok && broken.is_empty(), "{broken:#?}");
    }
}

/// An event that nobody decided.
pub struct Injected<'a> {
    pub stream: String,
    /// Leaves a hole of so many versions.
    pub skip_versions: i64,
    pub event_type: &'a str,
    pub data: serde_json::Value,
    pub actor: &'a str,
}

impl<'a> Injected<'a> {
    pub fn new(stream: impl Into<String>, event_type: &'a str, data: serde_json::Value) -> Self {
        Self { stream: stream.into(), skip_versions: 0, event_type, data, actor: "operator" }
    }
}

/// Appends events without asking their decider.
struct Happened<D: Decider> {
    stream: StreamId,
    events: Vec<D::Event>,
}

impl<D: Decider> Operation for Happened<D> {
    type Reply = u64;
    type Rejection = ();

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<()>> {
        Ok(view.append::<D>(&self.stream, &self.events)?)
    }
}

/// An order that was just placed.
pub fn placed(id: Uuid, sku: &str, pieces: i64, token: &str) -> OrderPlaced {
    let price = PRICES.iter().find(|(known, _)| *known == sku).unwrap().1;
    let money = |minor_units| Money::new(minor_units, Currency::parse("EUR").unwrap());
    let total = money(price * pieces);
    OrderPlaced {
        order_id: OrderId::new(id),
        customer_id: None,
        lines: vec![OrderLine {
            sku: Sku::parse(sku).unwrap(),
            name: sku.to_owned(),
            quantity: Quantity::new(pieces).unwrap(),
            unit_price: money(price),
            line_total: total,
        }],
        amounts: vec![Amount { kind: AmountKind::Items, money: total }],
        total,
        payment_token: PaymentToken::parse(token),
        contact: SealedText("sealed".to_owned()),
        placed_at: Utc::now(),
    }
}

fn change(sku: &str, command: StockCommand) -> ChangeStock {
    ChangeStock { sku: StockedSku::parse(sku).unwrap(), command, expected_version: None, now: Utc::now() }
}
