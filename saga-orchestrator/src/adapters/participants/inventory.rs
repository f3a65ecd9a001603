//! What the inventory service's events mean: answers about an order's reservation. How much of a SKU there is does
//! not concern a saga.

use contracts::shop::inventory::v1::InventoryEvent;
use contracts::shop::inventory::v1::inventory_event::Event;
use prost::Message;

use super::{Meaning, poison};
use crate::domain::{Answer, Input, Reply};

/// What an event of the inventory service says, read from its protobuf message.
pub fn meaning(data: &[u8]) -> Meaning {
    // An event of a newer inventory service is none of ours.
    let Some(event) = InventoryEvent::decode(data).map_err(poison)?.event else { return Ok(None) };
    let (order_id, reply) = match event {
        Event::StockReserved(e) => (e.order_id, Reply::plain(Answer::StockReserved)),
        Event::StockReservationRejected(e) => {
            (e.order_id, Reply::because(Answer::StockReservationRejected, e.reason))
        }
        Event::StockReleased(e) => (e.order_id, Reply::plain(Answer::StockReleased)),
        Event::ReservationPinned(e) => (e.order_id, Reply::plain(Answer::ReservationPinned)),
        Event::ReservationPinRejected(e) => {
            (e.order_id, Reply::because(Answer::ReservationPinRejected, e.reason))
        }
        Event::StockCommitted(e) => (e.order_id, Reply::plain(Answer::StockCommitted)),
        Event::StockRestocked(e) => (e.order_id, Reply::plain(Answer::StockRestocked)),
        Event::StockAvailabilityChanged(_)
        | Event::StockShortfallOpened(_)
        | Event::StockShortfallClosed(_) => return Ok(None),
    };
    Ok(Some((order_id.parse().map_err(poison)?, Input::Reply(reply))))
}
