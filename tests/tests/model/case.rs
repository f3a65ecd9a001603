//! The one case that is searched: an order of two lines, the goods that are there when it is placed, and another
//! shopper who may want the last piece. Ids and moments are fixed, so that equal situations are equal.

use chrono::{DateTime, TimeDelta, Utc};
use eventsourcing::StreamId;
use inventory_service::domain as inventory;
use order_service::domain as order;
use order_service::domain::order::{MAX_OPEN_ORDERS, Offer, PlaceOrder, RequestedLine};
use uuid::Uuid;

pub const ORDER: Uuid = Uuid::from_u128(0x0190_f3c2_0000_7000_8000_0000_0000_0001);
/// The order of another shopper, who pays at once.
pub const RIVAL: Uuid = Uuid::from_u128(0x0190_f3c2_0000_7000_8000_0000_0000_0002);

/// SKU, pieces ordered, price of one in cents, pieces that are there at first.
pub const GOODS: [(&str, i64, i64, i64); 2] = [("linen-apron", 2, 2_000, 2), ("mug", 1, 990, 1)];
/// What the rival wants one of, and what the clerk books and misses: the last piece counts.
pub const SCARCE: &str = GOODS[1].0;

/// The clock stands still, except that a reservation's time may be up: an hour is longer than it is held.
pub fn at(hour: u8) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::hours(hour.into())
}

/// What the order comes to, in cents; a free one costs nothing.
pub fn total(free: bool) -> i64 {
    if free { 0 } else { GOODS.iter().map(|(_, pieces, price, _)| pieces * price).sum() }
}

pub fn sku(name: &str) -> inventory::Sku {
    inventory::Sku::parse(name).unwrap()
}

pub fn pieces(number: i64) -> inventory::Quantity {
    inventory::Quantity::new(number).unwrap()
}

/// The stream of a decider for the order that is searched.
pub fn stream<D: eventsourcing::Decider>() -> StreamId {
    StreamId::of::<D>(ORDER)
}

pub fn place_order(free: bool) -> PlaceOrder {
    let price =
        |cents| order::Money::new(if free { 0 } else { cents }, order::Currency::parse("EUR").unwrap());
    let line = |(sku, pieces, cents, _): (&str, i64, i64, i64)| RequestedLine {
        sku: order::Sku::parse(sku).unwrap(),
        quantity: order::Quantity::new(pieces).unwrap(),
        offer: Offer::Sold { name: sku.to_owned(), unit_price: price(cents) },
    };
    PlaceOrder {
        order_id: order::OrderId::new(ORDER),
        customer_id: None,
        lines: GOODS.map(line).to_vec(),
        expected_total: None,
        payment_token: order::PaymentToken::parse("tok_success"),
        contact: order::SealedText("sealed".into()),
        open_orders: 0,
        max_open_orders: MAX_OPEN_ORDERS,
        placed_at: at(0),
    }
}
