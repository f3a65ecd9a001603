//! A recorded event as its service's domain knows it. Which categories a log has is said here.

use eventsourcing::{Decider, DecodeError, RecordedEvent};
use inventory_service::domain::reservation::{Reservation, ReservationEvent};
use inventory_service::domain::stock::{Stock, StockEvent};
use order_service::domain::Order;
use order_service::domain::order::OrderEvent;
use payment_service::domain::{Payment, PaymentEvent};
use product_service::domain::claims::{HandleClaim, SkuClaim, SkuEvent};
use product_service::domain::product::{Product, ProductEvent};
use saga_orchestrator::domain::{Cancellation, Checkout, Event as SagaEvent, Kind};
use uuid::Uuid;

use crate::audit::cut::Log;

/// An event, with the key of its stream.
pub enum Fact {
    Product(Uuid, ProductEvent),
    Sku(String, SkuEvent),
    Handle,
    Stock(String, StockEvent),
    Reservation(Uuid, ReservationEvent),
    Order(Uuid, OrderEvent),
    Payment(Uuid, PaymentEvent),
    Saga(Kind, Uuid, SagaEvent),
}

/// Why an event is none that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    #[error(transparent)]
    Event(#[from] DecodeError),
    #[error("the log has no such category")]
    Category,
    #[error("the stream's key is no id")]
    Key,
}

/// Reads an event of a log.
pub fn decode(log: Log, event: &RecordedEvent) -> Result<Fact, Undecodable> {
    let id = || Uuid::try_parse(event.stream_id.key()).map_err(|_| Undecodable::Key);
    let key = || event.stream_id.key().to_owned();
    Ok(match (log, event.stream_id.category()) {
        (Log::Product, Product::CATEGORY) => Fact::Product(id()?, domain::<Product>(event)?),
        (Log::Product, SkuClaim::CATEGORY) => Fact::Sku(key(), domain::<SkuClaim>(event)?),
        (Log::Product, HandleClaim::CATEGORY) => {
            domain::<HandleClaim>(event)?;
            Fact::Handle
        }
        (Log::Inventory, Stock::CATEGORY) => Fact::Stock(key(), domain::<Stock>(event)?),
        (Log::Inventory, Reservation::CATEGORY) => Fact::Reservation(id()?, domain::<Reservation>(event)?),
        (Log::Order, Order::CATEGORY) => Fact::Order(id()?, domain::<Order>(event)?),
        (Log::Payment, Payment::CATEGORY) => Fact::Payment(id()?, domain::<Payment>(event)?),
        (Log::Saga, Checkout::CATEGORY) => Fact::Saga(Kind::Checkout, id()?, domain::<Checkout>(event)?),
        (Log::Saga, Cancellation::CATEGORY) => {
            Fact::Saga(Kind::Cancellation, id()?, domain::<Cancellation>(event)?)
        }
        _ => return Err(Undecodable::Category),
    })
}

fn domain<D: Decider>(event: &RecordedEvent) -> Result<D::Event, Undecodable> {
    event.decode::<D>()?.ok_or(Undecodable::Category)
}
