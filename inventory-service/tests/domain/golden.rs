//! The stored form of every event. What is in `tests/golden` was written by a released program and is never
//! edited; this program must read it, and write the same.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use eventsourcing::DomainEvent;
use eventsourcing::decider::{decode, encode};
use inventory_service::domain::reservation::{
    Answer, LackingLine, PinRefusal, Rejection, RejectionReason, ReservationEvent,
};
use inventory_service::domain::stock::StockEvent;
use serde_json::{Value, json};

use crate::support::{at, delta, lines, note, order, pieces, sku};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn stock_events() -> Vec<(&'static str, StockEvent)> {
    let (order_id, quantity) = (order(0x7001), pieces(3));
    vec![
        ("stock_received", StockEvent::StockReceived { quantity, reference: note("delivery 17") }),
        ("stock_adjusted", StockEvent::StockAdjusted { delta: delta(-2), reason: note("broken") }),
        ("pieces_reserved", StockEvent::PiecesReserved { order_id, quantity }),
        ("pieces_released", StockEvent::PiecesReleased { order_id, quantity }),
        ("pieces_committed", StockEvent::PiecesCommitted { order_id, quantity }),
        ("pieces_restocked", StockEvent::PiecesRestocked { order_id, quantity }),
        ("shortfall_opened", StockEvent::ShortfallOpened { missing: 4 }),
        ("shortfall_closed", StockEvent::ShortfallClosed {}),
        ("availability_changed", StockEvent::AvailabilityChanged { in_stock: true }),
    ]
}

fn reservation_events() -> Vec<(&'static str, ReservationEvent)> {
    use ReservationEvent as E;
    let rejection = |reason| Rejection {
        reason,
        lacking: vec![LackingLine { sku: sku("mug-blue"), requested: pieces(5), available: 2 }],
    };
    let rejected = |reason| E::StockReservationRejected(Rejection { reason, lacking: vec![] });
    let pin_rejected = |reason| E::ReservationPinRejected { reason };
    let answered = |answer| E::RequestAnswered { answer };
    let short = RejectionReason::InsufficientStock;
    vec![
        (
            "stock_reserved",
            E::StockReserved { lines: lines(&[("mug-blue", 2), ("tea", 1)]), expires_at: at(900) },
        ),
        ("stock_reservation_rejected", E::StockReservationRejected(rejection(short))),
        ("stock_reservation_rejected.unknown_sku", rejected(RejectionReason::UnknownSku)),
        ("stock_reservation_rejected.released_before", rejected(RejectionReason::ReleasedBefore)),
        ("stock_reservation_rejected.invalid_lines", rejected(RejectionReason::InvalidLines)),
        ("reservation_pinned", E::ReservationPinned {}),
        ("reservation_pin_rejected", pin_rejected(PinRefusal::ReservationExpired)),
        ("reservation_pin_rejected.released", pin_rejected(PinRefusal::ReservationReleased)),
        ("reservation_pin_rejected.unknown", pin_rejected(PinRefusal::UnknownReservation)),
        ("stock_released", E::StockReleased {}),
        ("reservation_expired", E::ReservationExpired {}),
        ("stock_committed", E::StockCommitted {}),
        ("stock_restocked", E::StockRestocked {}),
        ("request_answered", answered(Answer::Reserved {})),
        ("request_answered.rejected", answered(Answer::ReservationRejected(rejection(short)))),
        ("request_answered.pinned", answered(Answer::Pinned {})),
        ("request_answered.released", answered(Answer::Released { expired: true })),
        ("request_answered.committed", answered(Answer::Committed {})),
        ("request_answered.restocked", answered(Answer::Restocked {})),
    ]
}

fn check<E: DomainEvent + Debug + PartialEq>(samples: Vec<(&'static str, E)>) {
    for (name, event) in samples {
        let stored = encode(&event);
        let data: Value = serde_json::from_str(&stored.data).unwrap();
        let written =
            json!({ "type": stored.event_type, "schema_version": stored.schema_version, "data": data });
        let path = folder().join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; a new event is stored as\n{written:#}", path.display())
        });
        let golden: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written, golden, "{name}: the stored form has changed; give it a new schema version");
        let version = golden["schema_version"].as_i64().unwrap().try_into().unwrap();
        let read: E = decode(golden["type"].as_str().unwrap(), version, &golden["data"].to_string()).unwrap();
        assert_eq!(read, event, "{name}");
    }
}

/// The variants of an event enum, as serde lists them when it finds none of them.
fn event_types<E: DomainEvent>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<E>(r#"{"?":{}}"#) else { panic!("`?` is no event") };
    let text = error.to_string();
    let (_, known) = text.split_once("expected one of").expect("serde names what it knows");
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn stored_stock_events_are_read_and_written_unchanged() {
    check(stock_events());
}

#[test]
fn stored_reservation_events_are_read_and_written_unchanged() {
    check(reservation_events());
}

#[test]
fn every_event_type_has_a_golden_file() {
    let golden: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|text| serde_json::from_str::<Value>(&text).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    let types: BTreeSet<String> =
        event_types::<StockEvent>().union(&event_types::<ReservationEvent>()).cloned().collect();
    assert_eq!(golden, types);
}
