//! A running service, feeds that the test writes, and the requests that most tests make.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use contracts::shop::order::v1::order_event::Event as Published;
use contracts::shop::order::v1::order_service_client::OrderServiceClient;
use contracts::shop::order::v1::{self as wire, OrderEvent};
use contracts::shop::product::v1::product_event::Event as ProductChange;
use contracts::shop::product::v1::{self as product, ProductEvent};
use contracts::shop::saga::v1::saga_event::Event as Ask;
use contracts::shop::saga::v1::{self as saga, SagaEvent};
use contracts::shop::r#type::v1::Money;
use eventsourcing::{
    Feed, FeedError, IntegrationEvent, IntegrationFeed, Page, Place, Position, Subscriptions,
};
use futures::future::BoxFuture;
use order_service::{LOG, MIGRATIONS, Options, OrderService, StartError, Upstream};
use prost::Message;
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions};
use service_runtime::{Secret, Shutdown};
use sqlx::PgPool;
use testkit::{SOON, TestDatabase, eventually, read_everything};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};
use uuid::Uuid;

pub const OPERATOR: &str = "operator-0123456789abcdef0123456789abcdef";
const SERVICE: &str = "service-0123456789abcdef0123456789abcdef";
const ORDER_TOKEN_KEY: &str = "order-token-key-0123456789abcdef";
/// For waits that are expected to be in vain.
pub const SHORT: Duration = Duration::from_millis(300);

/// A feed written by the test.
#[derive(Clone)]
pub struct HandMade {
    log: &'static str,
    events: Arc<Mutex<Vec<IntegrationEvent>>>,
    head: watch::Sender<i64>,
}

impl HandMade {
    fn new(log: &'static str) -> Self {
        Self { log, events: Arc::default(), head: watch::Sender::new(0) }
    }

    /// Appends a message; returns the position that it has.
    pub fn send(&self, key: &str, data: Vec<u8>) -> String {
        let mut events = self.events.lock().unwrap();
        let position = events.len() as i64 + 1;
        events.push(IntegrationEvent {
            id: Uuid::now_v7(),
            source: format!("/shop/{}", self.log),
            event_type: "test".to_owned(),
            time: Utc::now(),
            subject: key.to_owned(),
            version: 1,
            position,
            correlation_id: "test".to_owned(),
            traceparent: None,
            data,
        });
        drop(events);
        self.head.send_replace(position);
        self.position(position)
    }

    /// Delivers the newest message once more, as a feed may.
    pub fn redeliver(&self) {
        let mut events = self.events.lock().unwrap();
        let position = events.len() as i64 + 1;
        let again = IntegrationEvent { position, ..events.last().expect("something was sent").clone() };
        events.push(again);
        drop(events);
        self.head.send_replace(position);
    }

    /// The token of a position, reached or not.
    pub fn position(&self, number: i64) -> String {
        Position { log: self.log.to_owned(), incarnation: 1, number }.to_string()
    }
}

impl Feed for HandMade {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        self.log
    }

    fn incarnation(&self) -> i32 {
        1
    }

    fn read(
        &self,
        _partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        let events = self.events.lock().unwrap();
        let messages: Vec<_> = events.iter().skip(after.position as usize).take(limit).cloned().collect();
        let up_to = messages.last().map_or(after, |message| after.moved_to(message.position));
        Box::pin(async move { Ok(Page { messages, up_to }) })
    }

    fn newest(&self, _partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        let newest = *self.head.borrow();
        Box::pin(async move { Ok(newest) })
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }
}

/// What is around the service: its database and the feeds that it follows.
pub struct World {
    pub database: TestDatabase,
    /// As the database's owner.
    pub admin: PgPool,
    pub product: HandMade,
    pub saga: HandMade,
}

impl World {
    pub async fn new() -> Self {
        let database = TestDatabase::new(LOG, MIGRATIONS).await;
        let admin = PgPool::connect(database.admin_url()).await.unwrap();
        Self { database, admin, product: HandMade::new("product"), saga: HandMade::new("saga") }
    }

    pub fn options(&self) -> Options {
        Options::new(self.database.url(), vec![Secret::new(ORDER_TOKEN_KEY)], vec![master_key('a')])
    }

    /// Starts one replica.
    pub async fn start(&self, options: Options) -> Result<App, StartError> {
        let service = OrderService::open(options).await?;
        let feed = service.feed();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let upstream =
            Upstream { product: Arc::new(self.product.clone()), saga: Arc::new(self.saga.clone()) };
        let running = service.start(upstream, stop.clone(), tracker.clone()).await?;
        let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[Secret::new(SERVICE)]).unwrap();
        let shutdown = Shutdown::new();
        let server = GrpcServer::new(running.services, tokens, ServerOptions::default(), &shutdown).unwrap();
        Ok(App { feed, subscriptions: running.subscriptions, service: server.service(), stop, tracker })
    }

    /// Publishes a product with one variant without options; returns the position.
    pub fn sell(&self, sku: &str, name: &str, minor_units: i64) -> String {
        let variant =
            product::SellableVariant { sku: sku.into(), title: String::new(), price: eur(minor_units) };
        self.change(ProductChange::ProductPublished(product::ProductPublished {
            product_id: product_of(sku),
            name: name.into(),
            variants: vec![variant],
        }))
    }

    pub fn change(&self, event: ProductChange) -> String {
        self.product.send("product-1", ProductEvent { event: Some(event) }.encode_to_vec())
    }

    fn ask(&self, order_id: &str, event: Ask) {
        self.saga
            .send(&format!("saga-checkout-{order_id}"), SagaEvent { event: Some(event) }.encode_to_vec());
    }

    pub fn confirm(&self, order_id: &str) {
        let order_id = order_id.to_owned();
        self.ask(
            &order_id.clone(),
            Ask::OrderConfirmationRequested(saga::OrderConfirmationRequested { order_id }),
        );
    }

    pub fn reject(&self, order_id: &str, reason: &str) {
        let (order_id, reason) = (order_id.to_owned(), reason.to_owned());
        self.ask(
            &order_id.clone(),
            Ask::OrderRejectionRequested(saga::OrderRejectionRequested { order_id, reason }),
        );
    }

    pub fn complete_cancellation(&self, order_id: &str, reason: &str) {
        let (order_id, reason) = (order_id.to_owned(), reason.to_owned());
        let asked = saga::OrderCancellationCompletionRequested { order_id: order_id.clone(), reason };
        self.ask(&order_id, Ask::OrderCancellationCompletionRequested(asked));
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.admin).await.unwrap()
    }

    /// Keys of persons.
    pub async fn keys(&self) -> i64 {
        self.count("SELECT count(*) FROM personal_data_keys WHERE subject NOT LIKE 'service:%'").await
    }
}

/// The product that a SKU of these tests belongs to.
pub fn product_of(sku: &str) -> String {
    format!("product-of-{sku}")
}

/// A database, feeds and one replica, with two products on sale: `A-1` for 12.50 and `B-2` for 0.99.
pub async fn start() -> (World, App) {
    let world = World::new().await;
    world.sell("A-1", "Kettle", 1250);
    let position = world.sell("B-2", "Tea strainer", 99);
    let app = world.start(world.options()).await.unwrap();
    // Prices are there from the first order on.
    let mut probe = app.order(&[("B-2", 1)]);
    probe.min_position = position;
    probe.expected_total = eur(1);
    app.place(probe).await.unwrap_err();
    (world, app)
}

pub fn master_key(digit: char) -> Secret {
    Secret::new(digit.to_string().repeat(64))
}

pub fn eur(minor_units: i64) -> Option<Money> {
    Some(Money { currency_code: "EUR".into(), minor_units })
}

/// What only the person and the shop may know.
pub const PERSONAL: [&str; 7] = [
    "ada.byron",
    "shopper.example",
    "Ada Byron",
    "St James Square",
    "SW1Y 4LE",
    "London-Westminster",
    "Knock thrice",
];

pub fn contact() -> wire::Contact {
    wire::Contact {
        email: "ada.byron@shopper.example".into(),
        shipping_address: Some(wire::Address {
            recipient: "Ada Byron".into(),
            lines: vec!["12 St James Square".into()],
            postal_code: "SW1Y 4LE".into(),
            city: "London-Westminster".into(),
            country_code: "GB".into(),
        }),
        delivery_note: "Knock thrice, the bell is broken".into(),
    }
}

/// One replica of the service.
pub struct App {
    pub feed: IntegrationFeed,
    pub subscriptions: Subscriptions,
    service: GrpcService,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl App {
    /// Stops it and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("everything ends with the token");
    }

    pub fn client(&self) -> OrderServiceClient<GrpcService> {
        OrderServiceClient::new(self.service.clone())
    }

    /// A request for these SKUs and quantities, under an id of its own.
    pub fn order(&self, lines: &[(&str, i64)]) -> wire::PlaceOrderRequest {
        let line =
            |(sku, quantity): &(&str, i64)| wire::PlaceOrderLine { sku: (*sku).into(), quantity: *quantity };
        wire::PlaceOrderRequest {
            request_id: Uuid::now_v7().to_string(),
            lines: lines.iter().map(line).collect(),
            payment_token: "tok_success".into(),
            contact: Some(contact()),
            ..wire::PlaceOrderRequest::default()
        }
    }

    pub async fn place(&self, request: wire::PlaceOrderRequest) -> Result<wire::PlaceOrderResponse, Status> {
        Ok(self.client().place_order(request).await?.into_inner())
    }

    /// Places an order of one kettle; returns its id and access token.
    pub async fn placed(&self) -> (String, String) {
        let reply = self.place(self.order(&[("A-1", 1)])).await.unwrap();
        (reply.order.unwrap().order_id, reply.access_token)
    }

    pub async fn get(&self, order_id: &str, token: &str) -> Result<wire::Order, Status> {
        let request = wire::GetOrderRequest { order_id: order_id.into(), ..Default::default() };
        Ok(self.client().get_order(with(token, request)).await?.into_inner().order.unwrap())
    }

    pub async fn history(&self, order_id: &str, token: &str) -> Result<Vec<wire::OrderHistoryEntry>, Status> {
        let request = wire::GetOrderHistoryRequest { order_id: order_id.into(), ..Default::default() };
        Ok(self.client().get_order_history(with(token, request)).await?.into_inner().entries)
    }

    pub async fn watch(
        &self,
        order_id: &str,
        after: &str,
        token: &str,
    ) -> Result<tonic::Streaming<wire::WatchOrderResponse>, Status> {
        let request = wire::WatchOrderRequest { order_id: order_id.into(), after: after.into() };
        Ok(self.client().watch_order(with(token, request)).await?.into_inner())
    }

    pub async fn cancel(&self, order_id: &str, reason: &str, token: &str) -> Result<wire::Order, Status> {
        let request = wire::CancelOrderRequest {
            order_id: order_id.into(),
            reason: reason.into(),
            ..Default::default()
        };
        Ok(self.client().cancel_order(with(token, request)).await?.into_inner().order.unwrap())
    }

    pub async fn ship(&self, order_id: &str, etag: &str) -> Result<wire::Order, Status> {
        let request =
            wire::ShipOrderRequest { order_id: order_id.into(), etag: etag.into(), ..Default::default() };
        Ok(self.client().ship_order(with(OPERATOR, request)).await?.into_inner().order.unwrap())
    }

    pub async fn deliver(&self, order_id: &str) -> Result<wire::Order, Status> {
        let request = wire::DeliverOrderRequest { order_id: order_id.into(), ..Default::default() };
        Ok(self.client().deliver_order(with(OPERATOR, request)).await?.into_inner().order.unwrap())
    }

    pub async fn list(&self, request: wire::ListOrdersRequest) -> Result<wire::ListOrdersResponse, Status> {
        Ok(self.client().list_orders(with(OPERATOR, request)).await?.into_inner())
    }

    pub async fn forget(&self, person: wire::forget_person_request::Person) -> Result<i32, Status> {
        let request = wire::ForgetPersonRequest { person: Some(person) };
        Ok(self.client().forget_person(with(OPERATOR, request)).await?.into_inner().keys_deleted)
    }

    /// Waits until an order has this status.
    pub async fn until(&self, order_id: &str, status: wire::OrderStatus) -> wire::Order {
        eventually(&format!("the order is {status:?}"), SOON, || async {
            let order = self.get(order_id, OPERATOR).await.unwrap();
            (order.status() == status).then_some(order)
        })
        .await
    }

    /// Everything that the service has published.
    pub async fn published(&self) -> Vec<Published> {
        let page = read_everything(&*self.feed, 0).await.unwrap();
        let decode = |message: IntegrationEvent| OrderEvent::decode(message.data.as_slice()).unwrap().event;
        page.messages.into_iter().filter_map(decode).collect()
    }

    /// Waits until this many events of a kind are published.
    pub async fn until_published(&self, what: &str, count: usize, matches: impl Fn(&Published) -> bool) {
        eventually(what, SOON, || async {
            let found = self.published().await.iter().filter(|event| matches(event)).count();
            assert!(found <= count, "{what}: {found} and not {count}");
            (found == count).then_some(())
        })
        .await;
    }
}

/// A request under a credential.
pub fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Code and reason of a refusal.
pub fn refusal(status: &Status) -> (tonic::Code, String) {
    (status.code(), service_runtime::status::reason_of(status))
}

/// A fact that a refusal carries.
pub fn fact(status: &Status, key: &str) -> String {
    use tonic_types::StatusExt;
    let info = status.get_details_error_info().expect("every error has an ErrorInfo");
    info.metadata.get(key).cloned().unwrap_or_default()
}

pub fn message<T: Message>(message: T) -> Vec<u8> {
    message.encode_to_vec()
}
