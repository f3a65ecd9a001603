//! What other services learn, and what stays private.

use contracts::shop::inventory::v1 as wire;
use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::decider::encode;
use eventsourcing::{DomainEvent, StreamId};
use inventory_service::domain::reservation::{
    Answer, LackingLine, PinRefusal, Rejection, RejectionReason, Reservation, ReservationEvent,
};
use inventory_service::domain::stock::{Stock, StockEvent};

use crate::support::{at, delta, lines, note, order, pieces, public, sku};

fn of<E: DomainEvent>(stream: &StreamId, event: E) -> Option<Event> {
    public(stream, &encode(&event))
}

fn of_order(event: ReservationEvent) -> Event {
    of(&StreamId::of::<Reservation>(order(7)), event).expect("whatever happens to a reservation is public")
}

fn order_id() -> String {
    order(7).to_string()
}

#[test]
fn movements_of_pieces_are_private() {
    let stock = StreamId::of::<Stock>("a-1");
    let (order_id, quantity) = (order(1), pieces(1));
    for event in [
        StockEvent::StockReceived { quantity, reference: note("") },
        StockEvent::StockAdjusted { delta: delta(-1), reason: note("broken") },
        StockEvent::PiecesReserved { order_id, quantity },
        StockEvent::PiecesReleased { order_id, quantity },
        StockEvent::PiecesCommitted { order_id, quantity },
        StockEvent::PiecesRestocked { order_id, quantity },
    ] {
        assert_eq!(of(&stock, event), None);
    }
}

#[test]
fn what_a_sku_has_left_is_published_under_its_whole_name() {
    let stock = StreamId::of::<Stock>("a-1");
    let sku = || "a-1".to_owned();
    let changed = of(&stock, StockEvent::AvailabilityChanged { in_stock: true });
    let expected = wire::StockAvailabilityChanged { sku: sku(), in_stock: true };
    assert_eq!(changed, Some(Event::StockAvailabilityChanged(expected)));
    let opened = of(&stock, StockEvent::ShortfallOpened { missing: 3 });
    assert_eq!(
        opened,
        Some(Event::StockShortfallOpened(wire::StockShortfallOpened { sku: sku(), missing: 3 }))
    );
    let closed = of(&stock, StockEvent::ShortfallClosed {});
    assert_eq!(closed, Some(Event::StockShortfallClosed(wire::StockShortfallClosed { sku: sku() })));
}

#[test]
fn a_repeated_answer_looks_like_the_first_one() {
    let rejection = || Rejection {
        reason: RejectionReason::InsufficientStock,
        lacking: vec![LackingLine { sku: sku("a"), requested: pieces(3), available: 2 }],
    };
    let pairs = [
        (
            ReservationEvent::StockReserved { lines: lines(&[("a", 1)]), expires_at: at(9) },
            Answer::Reserved {},
            Event::StockReserved(wire::StockReserved { order_id: order_id() }),
        ),
        (
            ReservationEvent::StockReservationRejected(rejection()),
            Answer::ReservationRejected(rejection()),
            Event::StockReservationRejected(wire::StockReservationRejected {
                order_id: order_id(),
                reason: "INSUFFICIENT_STOCK".to_owned(),
                lacking: vec![wire::LackingLine { sku: "a".to_owned(), requested: 3, available: 2 }],
            }),
        ),
        (
            ReservationEvent::ReservationPinned {},
            Answer::Pinned {},
            Event::ReservationPinned(wire::ReservationPinned { order_id: order_id() }),
        ),
        (
            ReservationEvent::StockReleased {},
            Answer::Released { expired: false },
            Event::StockReleased(wire::StockReleased { order_id: order_id(), expired: false }),
        ),
        (
            ReservationEvent::ReservationExpired {},
            Answer::Released { expired: true },
            Event::StockReleased(wire::StockReleased { order_id: order_id(), expired: true }),
        ),
        (
            ReservationEvent::StockCommitted {},
            Answer::Committed {},
            Event::StockCommitted(wire::StockCommitted { order_id: order_id() }),
        ),
        (
            ReservationEvent::StockRestocked {},
            Answer::Restocked {},
            Event::StockRestocked(wire::StockRestocked { order_id: order_id() }),
        ),
    ];
    for (first, answer, expected) in pairs {
        assert_eq!(of_order(first), expected);
        assert_eq!(of_order(ReservationEvent::RequestAnswered { answer }), expected);
    }
}

#[test]
fn a_refused_pin_names_its_reason() {
    for (reason, name) in [
        (PinRefusal::ReservationExpired, "RESERVATION_EXPIRED"),
        (PinRefusal::ReservationReleased, "RESERVATION_RELEASED"),
        (PinRefusal::UnknownReservation, "UNKNOWN_RESERVATION"),
    ] {
        let expected = wire::ReservationPinRejected { order_id: order_id(), reason: name.to_owned() };
        let event = of_order(ReservationEvent::ReservationPinRejected { reason });
        assert_eq!(event, Event::ReservationPinRejected(expected));
    }
}

#[test]
fn events_of_other_categories_are_none_of_ours() {
    let event = StockEvent::AvailabilityChanged { in_stock: true };
    assert_eq!(of(&StreamId::from_name("stocktaking-1"), event), None);
}
