//! A running service with a saga in the test's hands.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::shop::inventory::v1::inventory_event::Event as Answer;
use contracts::shop::inventory::v1::inventory_service_client::InventoryServiceClient;
use contracts::shop::inventory::v1::{self as wire, InventoryEvent};
use contracts::shop::saga::v1::saga_event::Event as Ask;
use contracts::shop::saga::v1::{self as saga, SagaEvent};
use eventsourcing::{IntegrationFeed, Subscriptions};
use inventory_service::{InventoryService, LOG, MIGRATIONS, Options, Upstream};
use prost::Message;
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions};
use service_runtime::{Secret, Shutdown};
use testkit::{HandMadeFeed, SOON, TestDatabase, eventually, read_everything};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};
use uuid::Uuid;

const OPERATOR: &str = "operator-0123456789abcdef0123456789abcdef";
const SERVICE: &str = "service-0123456789abcdef0123456789abcdef";

/// The saga, in the hands of the test.
pub struct Saga {
    pub feed: HandMadeFeed,
}

impl Saga {
    pub fn new() -> Self {
        Self { feed: HandMadeFeed::new("saga") }
    }

    /// Sends a request for an order, as a message of its own.
    pub fn ask(&self, order: Uuid, ask: Ask) {
        self.feed.send(format!("saga-checkout-{order}"), SagaEvent { event: Some(ask) }.encode_to_vec());
    }

    pub fn reserve(&self, order: Uuid, lines: &[(&str, i64)], expires_at: DateTime<Utc>) {
        let line = |(sku, quantity): &(&str, i64)| saga::RequestedLine {
            sku: (*sku).to_owned(),
            quantity: *quantity,
        };
        self.ask(
            order,
            Ask::StockReservationRequested(saga::StockReservationRequested {
                order_id: order.to_string(),
                lines: lines.iter().map(line).collect(),
                expires_at: Some(prost_types::Timestamp {
                    seconds: expires_at.timestamp(),
                    nanos: expires_at.timestamp_subsec_nanos() as i32,
                }),
            }),
        );
    }

    pub fn pin(&self, order: Uuid) {
        let order_id = order.to_string();
        self.ask(order, Ask::ReservationPinRequested(saga::ReservationPinRequested { order_id }));
    }

    pub fn release(&self, order: Uuid) {
        let order_id = order.to_string();
        self.ask(order, Ask::StockReleaseRequested(saga::StockReleaseRequested { order_id }));
    }

    pub fn commit(&self, order: Uuid) {
        let order_id = order.to_string();
        self.ask(order, Ask::StockCommitRequested(saga::StockCommitRequested { order_id }));
    }

    pub fn restock(&self, order: Uuid) {
        let order_id = order.to_string();
        self.ask(order, Ask::StockRestockRequested(saga::StockRestockRequested { order_id }));
    }
}

/// One replica of the service.
pub struct App {
    pub feed: IntegrationFeed,
    pub subscriptions: Subscriptions,
    service: GrpcService,
    seen: tokio::sync::Mutex<Seen>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// What was read of the feed.
#[derive(Default)]
struct Seen {
    events: Vec<(String, Answer)>,
    up_to: i64,
}

/// A database, a saga and one replica.
pub async fn start() -> (TestDatabase, Saga, App) {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let saga = Saga::new();
    let app = App::start(Options::new(database.url()), &saga).await;
    (database, saga, app)
}

impl App {
    pub async fn start(options: Options, saga: &Saga) -> Self {
        let service = InventoryService::open(options).await.expect("the log opens");
        let feed = service.feed();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let upstream = Upstream { saga: Arc::new(saga.feed.clone()) };
        let running =
            service.start(upstream, stop.clone(), tracker.clone()).await.expect("the service starts");
        let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[Secret::new(SERVICE)]).unwrap();
        let shutdown = Shutdown::new();
        let server = GrpcServer::new(running.services, tokens, ServerOptions::default(), &shutdown).unwrap();
        Self {
            feed,
            subscriptions: running.subscriptions,
            service: server.service(),
            seen: Default::default(),
            stop,
            tracker,
        }
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        let ended = tokio::time::timeout(SOON, self.tracker.wait()).await;
        ended.expect("everything ends with the token");
    }

    pub fn client(&self) -> InventoryServiceClient<GrpcService> {
        InventoryServiceClient::new(self.service.clone())
    }

    /// Receives pieces; returns the reply.
    pub async fn receive(&self, sku: &str, quantity: i64) -> wire::ReceiveStockResponse {
        let request = wire::ReceiveStockRequest { sku: sku.to_owned(), quantity, ..Default::default() };
        self.client().receive_stock(operator(request)).await.expect("the goods are received").into_inner()
    }

    pub async fn adjust(&self, sku: &str, delta: i64) -> Result<wire::AdjustStockResponse, Status> {
        let (sku, reason) = (sku.to_owned(), "count".to_owned());
        let request = wire::AdjustStockRequest { sku, delta, reason, ..Default::default() };
        Ok(self.client().adjust_stock(operator(request)).await?.into_inner())
    }

    pub async fn stock(&self, sku: &str, min_position: &str) -> Result<wire::StockLevel, Status> {
        let (sku, min_position) = (sku.to_owned(), min_position.to_owned());
        let reply = self.client().get_stock(operator(wire::GetStockRequest { sku, min_position })).await?;
        Ok(reply.into_inner().stock.expect("a reply has the stock"))
    }

    pub async fn reservation(&self, order: Uuid, min_position: &str) -> Result<wire::Reservation, Status> {
        let (order_id, min_position) = (order.to_string(), min_position.to_owned());
        let request = wire::GetReservationRequest { order_id, min_position };
        let reply = self.client().get_reservation(operator(request)).await?;
        Ok(reply.into_inner().reservation.expect("a reply has the reservation"))
    }

    /// Everything that was published, with the keys. What was read before is not read again.
    pub async fn published(&self) -> Vec<(String, Answer)> {
        let mut seen = self.seen.lock().await;
        let news = read_everything(&*self.feed, seen.up_to).await.expect("the feed is read");
        seen.up_to = news.up_to.position;
        for message in news.messages {
            let event = InventoryEvent::decode(message.data.as_slice()).unwrap().event.unwrap();
            seen.events.push((message.subject, event));
        }
        seen.events.clone()
    }

    /// What the saga of an order was told.
    pub async fn answers(&self, order: Uuid) -> Vec<Answer> {
        let key = format!("reservation-{order}");
        let all = self.published().await;
        all.into_iter().filter(|(subject, _)| *subject == key).map(|(_, answer)| answer).collect()
    }

    /// Waits for so many answers about an order.
    pub async fn await_answers(&self, order: Uuid, count: usize) -> Vec<Answer> {
        eventually("the saga's requests are answered", SOON, || async {
            let answers = self.answers(order).await;
            (answers.len() >= count).then_some(answers)
        })
        .await
    }

    /// A position that covers everything so far.
    pub async fn now(&self) -> String {
        let number = self.feed.newest(0).await.expect("the head is read");
        let incarnation = self.feed.incarnation();
        eventsourcing::Position { log: LOG.to_owned(), incarnation, number }.to_string()
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

pub fn in_a_while() -> DateTime<Utc> {
    Utc::now() + Duration::from_secs(600)
}

pub fn reserved(order: Uuid) -> Answer {
    Answer::StockReserved(wire::StockReserved { order_id: order.to_string() })
}

pub fn rejected(order: Uuid, reason: &str, lacking: &[(&str, i64, i64)]) -> Answer {
    let lacking = lacking
        .iter()
        .map(|(sku, requested, available)| wire::LackingLine {
            sku: (*sku).to_owned(),
            requested: *requested,
            available: *available,
        })
        .collect();
    let (order_id, reason) = (order.to_string(), reason.to_owned());
    Answer::StockReservationRejected(wire::StockReservationRejected { order_id, reason, lacking })
}

pub fn pinned(order: Uuid) -> Answer {
    Answer::ReservationPinned(wire::ReservationPinned { order_id: order.to_string() })
}

pub fn pin_rejected(order: Uuid, reason: &str) -> Answer {
    let (order_id, reason) = (order.to_string(), reason.to_owned());
    Answer::ReservationPinRejected(wire::ReservationPinRejected { order_id, reason })
}

pub fn released(order: Uuid, expired: bool) -> Answer {
    Answer::StockReleased(wire::StockReleased { order_id: order.to_string(), expired })
}

pub fn committed(order: Uuid) -> Answer {
    Answer::StockCommitted(wire::StockCommitted { order_id: order.to_string() })
}

pub fn restocked(order: Uuid) -> Answer {
    Answer::StockRestocked(wire::StockRestocked { order_id: order.to_string() })
}
