//! What other services learn of this one's events. Movements of single pieces stay private; whoever reserves
//! learns what became of the order's reservation, and everybody when a SKU is sold out or back.

use contracts::shop::inventory::v1 as wire;
use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::{DecodeError, Published, RecordedEvent};
use prost::Message;

use crate::domain::reservation::{Answer, LackingLine, Rejection, Reservation, ReservationEvent};
use crate::domain::stock::{Stock, StockEvent};

/// The CloudEvents source of everything published here.
pub const SOURCE: &str = "/shop/inventory";

/// The published form of an event of this service's log; `None` when it is private.
pub fn publish(event: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let key = event.stream_id.key();
    if let Some(event) = event.decode::<Stock>()? {
        return Ok(of_stock(key, event).map(published));
    }
    if let Some(event) = event.decode::<Reservation>()? {
        return Ok(Some(published(of_reservation(key, event))));
    }
    Ok(None)
}

fn of_stock(sku: &str, event: StockEvent) -> Option<Event> {
    let sku = sku.to_owned();
    match event {
        StockEvent::ShortfallOpened { missing } => {
            Some(Event::StockShortfallOpened(wire::StockShortfallOpened { sku, missing }))
        }
        StockEvent::ShortfallClosed {} => {
            Some(Event::StockShortfallClosed(wire::StockShortfallClosed { sku }))
        }
        StockEvent::AvailabilityChanged { in_stock } => {
            Some(Event::StockAvailabilityChanged(wire::StockAvailabilityChanged { sku, in_stock }))
        }
        StockEvent::StockReceived { .. }
        | StockEvent::StockAdjusted { .. }
        | StockEvent::PiecesReserved { .. }
        | StockEvent::PiecesReleased { .. }
        | StockEvent::PiecesCommitted { .. }
        | StockEvent::PiecesRestocked { .. } => None,
    }
}

fn of_reservation(order_id: &str, event: ReservationEvent) -> Event {
    match event {
        ReservationEvent::StockReserved { .. } => answer(order_id, Answer::Reserved {}),
        ReservationEvent::StockReservationRejected(rejection) => {
            answer(order_id, Answer::ReservationRejected(rejection))
        }
        ReservationEvent::ReservationPinned {} => answer(order_id, Answer::Pinned {}),
        ReservationEvent::ReservationPinRejected { reason } => {
            let (order_id, reason) = (order_id.to_owned(), reason.as_str().to_owned());
            Event::ReservationPinRejected(wire::ReservationPinRejected { order_id, reason })
        }
        ReservationEvent::StockReleased {} => answer(order_id, Answer::Released { expired: false }),
        ReservationEvent::ReservationExpired {} => answer(order_id, Answer::Released { expired: true }),
        ReservationEvent::StockCommitted {} => answer(order_id, Answer::Committed {}),
        ReservationEvent::StockRestocked {} => answer(order_id, Answer::Restocked {}),
        ReservationEvent::RequestAnswered { answer: again } => answer(order_id, again),
    }
}

/// The same for the first answer and for every repetition of it.
fn answer(order_id: &str, answer: Answer) -> Event {
    let order_id = order_id.to_owned();
    match answer {
        Answer::Reserved {} => Event::StockReserved(wire::StockReserved { order_id }),
        Answer::ReservationRejected(Rejection { reason, lacking }) => {
            let lacking = lacking.into_iter().map(lacking_line).collect();
            let reason = reason.as_str().to_owned();
            Event::StockReservationRejected(wire::StockReservationRejected { order_id, reason, lacking })
        }
        Answer::Pinned {} => Event::ReservationPinned(wire::ReservationPinned { order_id }),
        Answer::Released { expired } => Event::StockReleased(wire::StockReleased { order_id, expired }),
        Answer::Committed {} => Event::StockCommitted(wire::StockCommitted { order_id }),
        Answer::Restocked {} => Event::StockRestocked(wire::StockRestocked { order_id }),
    }
}

fn lacking_line(line: LackingLine) -> wire::LackingLine {
    wire::LackingLine {
        sku: line.sku.as_str().to_owned(),
        requested: line.requested.get(),
        available: line.available,
    }
}

fn published(event: Event) -> Published {
    let event_type = match &event {
        Event::StockReserved(_) => "shop.inventory.v1.StockReserved",
        Event::StockReservationRejected(_) => "shop.inventory.v1.StockReservationRejected",
        Event::StockReleased(_) => "shop.inventory.v1.StockReleased",
        Event::ReservationPinned(_) => "shop.inventory.v1.ReservationPinned",
        Event::ReservationPinRejected(_) => "shop.inventory.v1.ReservationPinRejected",
        Event::StockCommitted(_) => "shop.inventory.v1.StockCommitted",
        Event::StockRestocked(_) => "shop.inventory.v1.StockRestocked",
        Event::StockAvailabilityChanged(_) => "shop.inventory.v1.StockAvailabilityChanged",
        Event::StockShortfallOpened(_) => "shop.inventory.v1.StockShortfallOpened",
        Event::StockShortfallClosed(_) => "shop.inventory.v1.StockShortfallClosed",
    };
    Published { event_type, data: wire::InventoryEvent { event: Some(event) }.encode_to_vec() }
}
