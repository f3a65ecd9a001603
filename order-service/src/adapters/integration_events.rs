//! Which public event a domain event becomes. Nothing personal leaves: sealed texts stay inside, and public
//! events carry ids, codes and amounts.

use contracts::shop::order::v1 as wire;
use contracts::shop::order::v1::order_event::Event;
use contracts::shop::r#type::v1 as wire_type;
use eventsourcing::{DecodeError, Published, RecordedEvent};
use prost::Message;

use crate::domain::order::{OrderEvent, OrderPlaced, Outcome};
use crate::domain::{Money, Order, PaymentToken};

/// CloudEvents source of the order service's feed.
pub const SOURCE: &str = "/shop/order";

/// What is published of an event. Every event of an order is public.
pub fn publish(recorded: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let Some(event) = recorded.decode::<Order>()? else { return Ok(None) };
    let (event_type, event) = public(recorded.stream_id.key(), event);
    let data = wire::OrderEvent { event: Some(event) }.encode_to_vec();
    Ok(Some(Published { event_type, data }))
}

fn public(order_id: &str, event: OrderEvent) -> (&'static str, Event) {
    let order_id = order_id.to_owned();
    match event {
        OrderEvent::OrderPlaced(placed) => {
            ("shop.order.v1.OrderPlaced", Event::OrderPlaced(order_placed(placed)))
        }
        OrderEvent::OrderCancellationRequested { reason, note: _, while_pending } => {
            let reason = reason.to_string();
            let requested = wire::OrderCancellationRequested { order_id, reason, while_pending };
            ("shop.order.v1.OrderCancellationRequested", Event::OrderCancellationRequested(requested))
        }
        OrderEvent::OrderConfirmed {} => outcome(order_id, Outcome::Confirmed {}),
        OrderEvent::OrderRejected { reason } => outcome(order_id, Outcome::Rejected { reason }),
        OrderEvent::OrderCancelled { reason } => outcome(order_id, Outcome::Cancelled { reason }),
        OrderEvent::OrderShipped {} => {
            ("shop.order.v1.OrderShipped", Event::OrderShipped(wire::OrderShipped { order_id }))
        }
        OrderEvent::OrderDelivered {} => {
            ("shop.order.v1.OrderDelivered", Event::OrderDelivered(wire::OrderDelivered { order_id }))
        }
        OrderEvent::OrderOutcomeReaffirmed { outcome: reaffirmed } => outcome(order_id, reaffirmed),
    }
}

fn outcome(order_id: String, outcome: Outcome) -> (&'static str, Event) {
    match outcome {
        Outcome::Confirmed {} => {
            ("shop.order.v1.OrderConfirmed", Event::OrderConfirmed(wire::OrderConfirmed { order_id }))
        }
        Outcome::Rejected { reason } => {
            let rejected = wire::OrderRejected { order_id, reason: reason.to_string() };
            ("shop.order.v1.OrderRejected", Event::OrderRejected(rejected))
        }
        Outcome::Cancelled { reason } => {
            let cancelled = wire::OrderCancelled { order_id, reason: reason.to_string() };
            ("shop.order.v1.OrderCancelled", Event::OrderCancelled(cancelled))
        }
    }
}

fn order_placed(placed: OrderPlaced) -> wire::OrderPlaced {
    let lines = placed.lines.into_iter();
    wire::OrderPlaced {
        order_id: placed.order_id.to_string(),
        lines: lines
            .map(|line| wire::OrderedLine { sku: line.sku.to_string(), quantity: line.quantity.get() })
            .collect(),
        total: Some(money(placed.total)),
        payment_token: placed.payment_token.as_ref().map(PaymentToken::expose).unwrap_or_default().to_owned(),
    }
}

fn money(money: Money) -> wire_type::Money {
    wire_type::Money { currency_code: money.currency.to_string(), minor_units: money.minor_units }
}
