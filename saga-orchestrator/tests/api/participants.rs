//! Orders, inventory and payment as a saga sees them: they read its feed and answer with events. A test may put
//! another answer, or none, in the place of the usual one.

use std::sync::Arc;

use contracts::shop::inventory::v1 as inventory;
use contracts::shop::inventory::v1::inventory_event::Event as Inventory;
use contracts::shop::order::v1 as order;
use contracts::shop::order::v1::order_event::Event as Order;
use contracts::shop::payment::v1 as payment;
use contracts::shop::payment::v1::payment_event::Event as Payment;
use contracts::shop::saga::v1::SagaEvent;
use contracts::shop::saga::v1::saga_event::Event as Request;
use eventsourcing::{Feed, IntegrationFeed, Place};
use prost::Message;
use testkit::HandMadeFeed;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub enum Answer {
    Order(Order),
    Inventory(Inventory),
    Payment(Payment),
}

/// What to say to a request instead of the usual: `None` leaves it to the usual answer.
pub type Script = Arc<dyn Fn(&Request) -> Option<Vec<Answer>> + Send + Sync>;

/// The feeds that the saga orchestrator follows.
#[derive(Clone)]
pub struct Feeds {
    pub order: HandMadeFeed,
    pub inventory: HandMadeFeed,
    pub payment: HandMadeFeed,
}

impl Feeds {
    pub fn new() -> Self {
        let feed = HandMadeFeed::new;
        Self { order: feed("order"), inventory: feed("inventory"), payment: feed("payment") }
    }

    pub fn say(&self, order_id: Uuid, answer: Answer) {
        let (feed, data) = match answer {
            Answer::Order(event) => (&self.order, order::OrderEvent { event: Some(event) }.encode_to_vec()),
            Answer::Inventory(event) => {
                (&self.inventory, inventory::InventoryEvent { event: Some(event) }.encode_to_vec())
            }
            Answer::Payment(event) => {
                (&self.payment, payment::PaymentEvent { event: Some(event) }.encode_to_vec())
            }
        };
        feed.send(format!("{}-{order_id}", feed.log()), data);
    }
}

/// Answers the requests of a saga feed until `stop`.
pub async fn answer(feed: IntegrationFeed, feeds: Feeds, script: Script, stop: CancellationToken) {
    let (mut head, mut place) = (feed.head(), Place::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            read = feed.read(0, place, 100) => {
                let page = read.unwrap();
                place = page.up_to;
                for message in page.messages {
                    let request = SagaEvent::decode(message.data.as_slice()).unwrap().event.unwrap();
                    let order_id = order_of(&request).parse().unwrap();
                    for said in script(&request).unwrap_or_else(|| vec![usual(request)]) {
                        feeds.say(order_id, said);
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = head.wait_for(|head| *head > place.position) => {}
        }
    }
}

/// What a request is answered with when all goes well.
fn usual(request: Request) -> Answer {
    let order_id = order_of(&request).to_owned();
    match request {
        Request::StockReservationRequested(_) => {
            Answer::Inventory(Inventory::StockReserved(inventory::StockReserved { order_id }))
        }
        Request::StockReleaseRequested(_) => {
            let event = inventory::StockReleased { order_id, expired: false };
            Answer::Inventory(Inventory::StockReleased(event))
        }
        Request::ReservationPinRequested(_) => {
            Answer::Inventory(Inventory::ReservationPinned(inventory::ReservationPinned { order_id }))
        }
        Request::StockCommitRequested(_) => {
            Answer::Inventory(Inventory::StockCommitted(inventory::StockCommitted { order_id }))
        }
        Request::StockRestockRequested(_) => {
            Answer::Inventory(Inventory::StockRestocked(inventory::StockRestocked { order_id }))
        }
        Request::PaymentAuthorizationRequested(_) => {
            Answer::Payment(Payment::PaymentAuthorized(payment::PaymentAuthorized { order_id }))
        }
        Request::PaymentVoidRequested(_) => {
            Answer::Payment(Payment::PaymentVoided(payment::PaymentVoided { order_id }))
        }
        Request::PaymentCaptureRequested(_) => {
            Answer::Payment(Payment::PaymentCaptured(payment::PaymentCaptured { order_id, amount: None }))
        }
        Request::PaymentRefundRequested(r) => {
            let event = payment::PaymentRefunded { order_id, refund_id: r.refund_id, amount: None };
            Answer::Payment(Payment::PaymentRefunded(event))
        }
        Request::OrderConfirmationRequested(_) => {
            Answer::Order(Order::OrderConfirmed(order::OrderConfirmed { order_id }))
        }
        Request::OrderRejectionRequested(r) => {
            Answer::Order(Order::OrderRejected(order::OrderRejected { order_id, reason: r.reason }))
        }
        Request::OrderCancellationCompletionRequested(r) => {
            Answer::Order(Order::OrderCancelled(order::OrderCancelled { order_id, reason: r.reason }))
        }
    }
}

pub fn order_of(request: &Request) -> &str {
    match request {
        Request::StockReservationRequested(r) => &r.order_id,
        Request::StockReleaseRequested(r) => &r.order_id,
        Request::ReservationPinRequested(r) => &r.order_id,
        Request::StockCommitRequested(r) => &r.order_id,
        Request::StockRestockRequested(r) => &r.order_id,
        Request::PaymentAuthorizationRequested(r) => &r.order_id,
        Request::PaymentVoidRequested(r) => &r.order_id,
        Request::PaymentCaptureRequested(r) => &r.order_id,
        Request::PaymentRefundRequested(r) => &r.order_id,
        Request::OrderConfirmationRequested(r) => &r.order_id,
        Request::OrderRejectionRequested(r) => &r.order_id,
        Request::OrderCancellationCompletionRequested(r) => &r.order_id,
    }
}
