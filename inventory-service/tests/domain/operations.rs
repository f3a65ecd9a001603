//! Operations over a reservation and the stock of its lines, all or nothing.

use chrono::TimeDelta;
use eventsourcing::{Halt, InMemoryStreams, StreamId};
use inventory_service::domain::operations::{
    ChangeStock, HoldLimits, ReservationRefused, ReserveStock, SettleReservation,
};
use inventory_service::domain::reservation::{
    RejectionReason, Reservation, ReservationError, ReservationState, ReservationStatus,
};
use inventory_service::domain::stock::{Stock, StockCommand, StockError, StockEvent, StockState};
use inventory_service::domain::{InvalidLines, MAX_LINES, MAX_QUANTITY, OrderLines};

use crate::support::{at, delta, line, note, order, pieces, reserve, sku};

fn stocked(of: &[(&str, i64)]) -> InMemoryStreams {
    of.iter().fold(InMemoryStreams::default(), |streams, (name, number)| {
        let received = StockEvent::StockReceived { quantity: pieces(*number), reference: note("") };
        streams.given::<Stock>(&StreamId::of::<Stock>(name), &[received])
    })
}

fn stock(streams: &InMemoryStreams, name: &str) -> StockState {
    streams.state::<Stock>(&StreamId::of::<Stock>(name))
}

fn reservation(streams: &InMemoryStreams, number: u128) -> ReservationState {
    streams.state::<Reservation>(&StreamId::of::<Reservation>(order(number)))
}

fn run(streams: &mut InMemoryStreams, operation: &SettleReservation) -> ReservationStatus {
    streams.run(operation).expect("the operation is allowed").0
}

#[test]
fn all_lines_are_held_in_one_step() {
    let mut streams = stocked(&[("a", 5), ("b", 5)]);
    let (status, events) = streams.run(&reserve(1, &[("a", 2), ("b", 3)])).unwrap();
    assert_eq!(status, ReservationStatus::Held);
    assert_eq!((stock(&streams, "a").reserved, stock(&streams, "b").reserved), (2, 3));
    assert_eq!(reservation(&streams, 1).lines, [line("a", 2), line("b", 3)]);
    assert_eq!(events.len(), 3, "one for each stock and one for the reservation");
}

#[test]
fn one_lacking_line_holds_nothing_and_every_lacking_line_is_named() {
    let mut streams = stocked(&[("a", 5), ("b", 1), ("c", 1)]);
    let (status, events) = streams.run(&reserve(1, &[("a", 2), ("b", 3), ("c", 2)])).unwrap();
    assert_eq!(status, ReservationStatus::Rejected);
    assert_eq!((stock(&streams, "a").reserved, stock(&streams, "b").reserved), (0, 0));
    assert_eq!(events.len(), 1, "only the reservation records it");
    let rejection = reservation(&streams, 1).rejection.unwrap();
    assert_eq!(rejection.reason, RejectionReason::InsufficientStock);
    let lacking: Vec<_> =
        rejection.lacking.iter().map(|l| (l.sku.as_str(), l.requested.get(), l.available)).collect();
    assert_eq!(lacking, [("b", 3, 1), ("c", 2, 1)]);
}

#[test]
fn the_pieces_of_a_sku_are_summed_over_lines_before_they_are_compared() {
    let mut streams = stocked(&[("a", 5)]);
    let (status, _) = streams.run(&reserve(1, &[("a", 3), ("a", 3)])).unwrap();
    assert_eq!(status, ReservationStatus::Rejected);
    assert_eq!(reservation(&streams, 1).rejection.unwrap().lacking[0].requested, pieces(6));
    let (status, _) = streams.run(&reserve(2, &[("a", 3), ("a", 2)])).unwrap();
    assert_eq!(status, ReservationStatus::Held);
    assert_eq!(stock(&streams, "a").available(), 0);
}

#[test]
fn an_unknown_sku_rejects_the_order_under_its_own_reason() {
    let mut streams = stocked(&[("a", 5)]);
    streams.run(&reserve(1, &[("a", 9), ("nowhere", 1)])).unwrap();
    let rejection = reservation(&streams, 1).rejection.unwrap();
    assert_eq!(rejection.reason, RejectionReason::UnknownSku);
    assert_eq!(rejection.lacking.len(), 2);
    assert_eq!(stock(&streams, "nowhere"), StockState::default());
}

#[test]
fn lines_that_nobody_could_deliver_are_answered_with_a_rejection() {
    let too_many = vec![("a", 1); MAX_LINES + 1];
    let hostile: [&[(&str, i64)]; 7] = [
        &[],
        &[("a", 0)],
        &[("a", -1)],
        &[("a", i64::MAX)],
        &[("a", MAX_QUANTITY), ("a", 1)],
        &[("a\0", 1)],
        &too_many,
    ];
    for lines in hostile {
        let mut streams = stocked(&[("a", 5)]);
        let request = reserve(1, lines);
        assert_eq!(request.lines, Err(InvalidLines), "{lines:?}");
        let (status, _) = streams.run(&request).unwrap();
        assert_eq!(status, ReservationStatus::Rejected);
        assert_eq!(reservation(&streams, 1).rejection.unwrap().reason, RejectionReason::InvalidLines);
        assert_eq!(stock(&streams, "a").reserved, 0);
    }
}

#[test]
fn the_rest_of_the_largest_stock_can_be_reserved_without_overflow() {
    let mut streams = stocked(&[("a", MAX_QUANTITY)]);
    let (status, _) = streams.run(&reserve(1, &[("a", MAX_QUANTITY)])).unwrap();
    assert_eq!(status, ReservationStatus::Held);
    assert_eq!(stock(&streams, "a").available(), 0);
}

#[test]
fn a_reservation_repeated_holds_once() {
    let mut streams = stocked(&[("a", 5)]);
    for _ in 0..3 {
        let (status, events) = streams.run(&reserve(1, &[("a", 2)])).unwrap();
        assert_eq!(status, ReservationStatus::Held);
        assert!(!events.is_empty(), "each is answered");
    }
    assert_eq!(stock(&streams, "a").reserved, 2);
}

#[test]
fn a_rejected_order_stays_rejected_when_goods_arrive() {
    let mut streams = stocked(&[("a", 1)]);
    streams.run(&reserve(1, &[("a", 2)])).unwrap();
    let receive = StockCommand::Receive { quantity: pieces(9), reference: note("") };
    streams
        .run(&ChangeStock { sku: sku("a"), command: receive, expected_version: None, now: at(0) })
        .unwrap();
    let (status, _) = streams.run(&reserve(1, &[("a", 2)])).unwrap();
    assert_eq!(status, ReservationStatus::Rejected);
    assert_eq!(stock(&streams, "a").reserved, 0);
}

#[test]
fn a_release_before_the_reservation_leaves_a_tombstone() {
    let mut streams = stocked(&[("a", 5)]);
    assert_eq!(run(&mut streams, &SettleReservation::release(order(1))), ReservationStatus::Released);
    let (status, events) = streams.run(&reserve(1, &[("a", 2)])).unwrap();
    assert_eq!(status, ReservationStatus::Released, "the late request does not bring it back");
    assert_eq!(events.len(), 1);
    assert!(events[0].1.data.contains("RELEASED_BEFORE"), "{}", events[0].1.data);
    assert_eq!(stock(&streams, "a").reserved, 0);
}

#[test]
fn a_release_gives_every_line_back_once() {
    let mut streams = stocked(&[("a", 5), ("b", 5)]);
    streams.run(&reserve(1, &[("a", 2), ("b", 3)])).unwrap();
    streams.run(&reserve(2, &[("a", 1)])).unwrap();
    for _ in 0..3 {
        assert_eq!(run(&mut streams, &SettleReservation::release(order(1))), ReservationStatus::Released);
    }
    assert_eq!((stock(&streams, "a").reserved, stock(&streams, "b").reserved), (1, 0));
}

#[test]
fn a_sale_and_its_return_move_every_line_once() {
    let mut streams = stocked(&[("a", 5), ("b", 5)]);
    streams.run(&reserve(1, &[("a", 2), ("b", 3)])).unwrap();
    run(&mut streams, &SettleReservation::pin(order(1), at(1)));
    for _ in 0..2 {
        assert_eq!(run(&mut streams, &SettleReservation::commit(order(1))), ReservationStatus::Committed);
    }
    let a = stock(&streams, "a");
    assert_eq!((a.reserved, a.committed, a.available()), (0, 2, 3));
    for _ in 0..2 {
        assert_eq!(run(&mut streams, &SettleReservation::restock(order(1))), ReservationStatus::Restocked);
    }
    let b = stock(&streams, "b");
    assert_eq!((b.committed, b.restocked, b.available()), (3, 3, 5));
}

#[test]
fn an_expired_reservation_gives_its_pieces_back_and_cannot_be_pinned() {
    let mut streams = stocked(&[("a", 5)]);
    streams.run(&reserve(1, &[("a", 2)])).unwrap();
    let early = streams.run(&SettleReservation::expire(order(1), at(99)));
    let not_due = ReservationError::NotDue { expires_at: at(100) };
    assert_eq!(early.unwrap_err(), Halt::Rejected(ReservationRefused::Reservation(not_due)));
    assert_eq!(run(&mut streams, &SettleReservation::expire(order(1), at(100))), ReservationStatus::Expired);
    assert_eq!(stock(&streams, "a").reserved, 0);
    assert_eq!(run(&mut streams, &SettleReservation::pin(order(1), at(1))), ReservationStatus::Expired);
}

#[test]
fn a_pinned_reservation_outlives_its_time() {
    let mut streams = stocked(&[("a", 5)]);
    streams.run(&reserve(1, &[("a", 2)])).unwrap();
    run(&mut streams, &SettleReservation::pin(order(1), at(99)));
    assert_eq!(run(&mut streams, &SettleReservation::expire(order(1), at(1000))), ReservationStatus::Pinned);
    assert_eq!(stock(&streams, "a").reserved, 2);
}

#[test]
fn a_refused_step_moves_nothing() {
    let mut streams = stocked(&[("a", 5)]);
    let refused = streams.run(&SettleReservation::commit(order(1))).unwrap_err();
    let status = ReservationStatus::Unknown;
    let error = ReservationError::NothingHeld { status };
    assert_eq!(refused, Halt::Rejected(ReservationRefused::Reservation(error)));
    assert_eq!(stock(&streams, "a").committed, 0);
}

#[test]
fn a_hold_is_never_shorter_or_longer_than_its_limits() {
    let limits = HoldLimits { minimum: TimeDelta::seconds(60), maximum: TimeDelta::seconds(600) };
    for (asked, granted) in [(-5000, 60), (0, 60), (59, 60), (61, 61), (600, 600), (9_000_000, 600)] {
        let mut streams = stocked(&[("a", 5)]);
        let request = ReserveStock { expires_at: at(asked), limits, ..reserve(1, &[("a", 1)]) };
        streams.run(&request).unwrap();
        assert_eq!(reservation(&streams, 1).expires_at, Some(at(granted)), "asked for {asked}");
    }
}

#[test]
fn a_hold_ends_at_a_whole_millisecond() {
    let mut streams = stocked(&[("a", 5)]);
    let expires_at = at(100) + TimeDelta::nanoseconds(1_234_567);
    streams.run(&ReserveStock { expires_at, ..reserve(1, &[("a", 1)]) }).unwrap();
    assert_eq!(reservation(&streams, 1).expires_at, Some(at(100) + TimeDelta::milliseconds(1)));
}

#[test]
fn a_change_is_refused_when_the_stock_is_not_as_expected() {
    let mut streams = stocked(&[("a", 5)]);
    let adjust = |expected_version| ChangeStock {
        sku: sku("a"),
        command: StockCommand::Adjust { delta: delta(-1), reason: note("count") },
        expected_version,
        now: at(7),
    };
    let stale = streams.run(&adjust(Some(7))).unwrap_err();
    assert!(matches!(stale, Halt::StaleVersion { expected: 7, actual: 1, .. }), "{stale:?}");
    let (changed, _) = streams.run(&adjust(Some(1))).unwrap();
    assert_eq!((changed.version, changed.state.available(), changed.at), (2, 4, at(7)));
}

#[test]
fn a_stock_that_does_not_hold_what_a_reservation_says_refuses_the_step_whole() {
    // History as only a fault could leave it: the reservation holds two SKUs, the stock of one knows nothing.
    let reserved = inventory_service::domain::reservation::ReservationEvent::StockReserved {
        lines: OrderLines::sum([("a", 1), ("b", 1)]).unwrap(),
        expires_at: at(100),
    };
    let held = StockEvent::PiecesReserved { order_id: order(1), quantity: pieces(1) };
    let mut streams = stocked(&[("a", 5), ("b", 5)])
        .given::<Stock>(&StreamId::of::<Stock>("a"), &[held])
        .given::<Reservation>(&StreamId::of::<Reservation>(order(1)), &[reserved]);
    let refused = streams.run(&SettleReservation::release(order(1))).unwrap_err();
    let error = ReservationRefused::Stock(StockError::NotReserved { reserved: 0 });
    assert_eq!(refused, Halt::Rejected(error));
    assert_eq!(stock(&streams, "a").reserved, 1, "the first line is not given back alone");
}
