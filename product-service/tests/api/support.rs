//! A running service with inventory in the test's hands.

use std::sync::Arc;

use contracts::shop::inventory::v1 as inventory;
use contracts::shop::product::v1 as wire;
use contracts::shop::product::v1::product_service_client::ProductServiceClient;
use contracts::shop::r#type::v1::Money;
use eventsourcing::{IntegrationFeed, Position};
use product_service::{LOG, MIGRATIONS, Options, ProductService, Upstream};
use prost::Message;
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions};
use service_runtime::{Secret, Shutdown};
use testkit::{HandMadeFeed, SOON, TestDatabase};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

const OPERATOR: &str = "operator-0123456789abcdef0123456789abcdef";
const SERVICE: &str = "service-0123456789abcdef0123456789abcdef";

/// Inventory, in the hands of the test.
pub struct Inventory {
    pub feed: HandMadeFeed,
}

impl Inventory {
    /// Publishes whether a SKU is in stock. Returns the position to carry.
    pub fn publish(&self, sku: &str, in_stock: bool) -> String {
        let changed = inventory::StockAvailabilityChanged { sku: sku.to_owned(), in_stock };
        let event = inventory::inventory_event::Event::StockAvailabilityChanged(changed);
        let event = inventory::InventoryEvent { event: Some(event) };
        self.feed.send(format!("stock-{sku}"), event.encode_to_vec())
    }
}

/// One replica of the service.
pub struct App {
    pub feed: IntegrationFeed,
    service: GrpcService,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// A database, an inventory and one replica.
pub async fn start() -> (TestDatabase, Inventory, App) {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let inventory = Inventory { feed: HandMadeFeed::new("inventory") };
    let app = App::start(&database, &inventory).await;
    (database, inventory, app)
}

impl App {
    pub async fn start(database: &TestDatabase, inventory: &Inventory) -> Self {
        Self::start_with(Options::new(database.url()), inventory).await
    }

    pub async fn start_with(options: Options, inventory: &Inventory) -> Self {
        let service = ProductService::open(options).await.expect("the log opens");
        let feed = service.feed();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let upstream = Upstream { inventory: Arc::new(inventory.feed.clone()) };
        let running =
            service.start(upstream, stop.clone(), tracker.clone()).await.expect("the service starts");
        let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[Secret::new(SERVICE)]).unwrap();
        let shutdown = Shutdown::new();
        let server = GrpcServer::new(running.services, tokens, ServerOptions::default(), &shutdown).unwrap();
        Self { feed, service: server.service(), stop, tracker }
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        let ended = tokio::time::timeout(SOON, self.tracker.wait()).await;
        ended.expect("everything ends with the token");
    }

    pub fn client(&self) -> ProductServiceClient<GrpcService> {
        ProductServiceClient::new(self.service.clone())
    }

    pub async fn create(
        &self,
        request: wire::CreateProductRequest,
    ) -> Result<wire::CreateProductResponse, Status> {
        Ok(self.client().create_product(operator(request)).await?.into_inner())
    }

    /// A product as anybody sees it.
    pub async fn get(&self, product_id: &str, min_position: &str) -> Result<wire::Product, Status> {
        let (product_id, min_position) = (product_id.to_owned(), min_position.to_owned());
        let request = wire::GetProductRequest { product_id, min_position };
        let reply = self.client().get_product(Request::new(request)).await?.into_inner();
        Ok(reply.product.expect("a reply has the product"))
    }

    pub async fn change_price(
        &self,
        product_id: &str,
        sku: &str,
        minor_units: i64,
    ) -> wire::ChangePriceResponse {
        let request = wire::ChangePriceRequest {
            product_id: product_id.to_owned(),
            sku: sku.to_owned(),
            price: eur(minor_units),
            reason: "season".to_owned(),
            ..Default::default()
        };
        self.client().change_price(operator(request)).await.expect("the price changes").into_inner()
    }

    /// The number of the newest event.
    pub async fn head(&self) -> i64 {
        self.feed.newest(0).await.expect("the head is read")
    }

    /// A position that covers everything so far.
    pub async fn now(&self) -> String {
        let (incarnation, number) = (self.feed.incarnation(), self.head().await);
        Position { log: LOG.to_owned(), incarnation, number }.to_string()
    }
}

/// A request with the operator's token.
pub fn operator<T>(message: T) -> Request<T> {
    with_token(message, OPERATOR)
}

pub fn service<T>(message: T) -> Request<T> {
    with_token(message, SERVICE)
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub fn eur(minor_units: i64) -> Option<Money> {
    Some(Money { currency_code: "EUR".to_owned(), minor_units })
}

/// A variant without options.
pub fn plain(sku: &str, price: i64) -> wire::Variant {
    wire::Variant { sku: sku.to_owned(), price: eur(price), ..Default::default() }
}

/// A variant with a size.
pub fn sized(sku: &str, size: &str, price: i64) -> wire::Variant {
    let option = wire::OptionValue { name: "Size".to_owned(), value: size.to_owned() };
    wire::Variant { options: vec![option], ..plain(sku, price) }
}

/// A product of one plain variant, whose SKU is its name.
pub fn named(name: &str) -> wire::CreateProductRequest {
    let (name, variants) = (name.to_owned(), vec![plain(name, 1000)]);
    wire::CreateProductRequest { name, variants, ..Default::default() }
}

/// The fields that a request was refused for.
pub fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("it says which fields").field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

/// The broken rule, with one fact about it.
pub fn rule(status: &Status, fact: &str) -> (String, String) {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let info = status.get_details_error_info().expect("it says why");
    (info.reason, info.metadata.get(fact).cloned().unwrap_or_default())
}
