//! What the order service's events mean: an order that is placed starts a checkout; the others answer requests.

use contracts::shop::order::v1::order_event::Event;
use contracts::shop::order::v1::{OrderEvent, OrderPlaced};
use prost::Message;

use super::{Meaning, poison};
use crate::domain::{Answer, Input, InvalidValue, Line, Money, OrderId, Reply, Start};

/// What an event of the order service says, read from its protobuf message.
pub fn meaning(data: &[u8]) -> Meaning {
    // An event of a newer order service is none of ours.
    let Some(event) = OrderEvent::decode(data).map_err(poison)?.event else { return Ok(None) };
    let about = |order_id: &str, input| Ok(Some((order_id.parse().map_err(poison)?, input)));
    let answered = |answer| Input::Reply(Reply::plain(answer));
    match event {
        Event::OrderPlaced(e) => {
            let order_id = e.order_id.parse().map_err(poison)?;
            Ok(Some((order_id, Input::Start(checkout(order_id, e).map_err(poison)?))))
        }
        // Whether the order was pending then is of no interest: its checkout knows what it is now.
        Event::OrderCancellationRequested(e) => {
            about(&e.order_id, Input::CancellationRequested { reason: e.reason })
        }
        Event::OrderConfirmed(e) => about(&e.order_id, answered(Answer::OrderConfirmed)),
        Event::OrderRejected(e) => about(&e.order_id, answered(Answer::OrderRejected)),
        Event::OrderCancelled(e) => about(&e.order_id, answered(Answer::OrderCancelled)),
        Event::OrderShipped(_) | Event::OrderDelivered(_) => Ok(None),
    }
}

fn checkout(order_id: OrderId, placed: OrderPlaced) -> Result<Start, InvalidValue> {
    let lines: Result<Vec<Line>, _> = placed.lines.iter().map(|l| Line::new(&l.sku, l.quantity)).collect();
    let lines = lines?;
    if lines.is_empty() {
        return Err(InvalidValue::Lines);
    }
    let total = placed.total.ok_or(InvalidValue::Currency)?;
    let total = Money::new(&total.currency_code, total.minor_units)?;
    Ok(Start::Checkout { order_id, lines, total, payment_token: placed.payment_token })
}
