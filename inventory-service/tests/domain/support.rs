//! Shorthands for values, and the public side of events that an operation left.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::shop::inventory::v1::InventoryEvent;
use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::{EncodedEvent, Metadata, RecordedEvent, StreamId};
use inventory_service::adapters::publish;
use inventory_service::domain::operations::{HoldLimits, ReserveStock};
use inventory_service::domain::{Adjustment, Line, Note, OrderId, OrderLines, Quantity, Sku};
use prost::Message;
use uuid::Uuid;

pub fn order(number: u128) -> OrderId {
    OrderId::from(Uuid::from_u128(number))
}

pub fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub fn pieces(number: i64) -> Quantity {
    Quantity::new(number).unwrap()
}

pub fn delta(number: i64) -> Adjustment {
    Adjustment::new(number).unwrap()
}

pub fn note(text: &str) -> Note {
    Note::parse(text).unwrap()
}

pub fn lines(of: &[(&str, i64)]) -> OrderLines {
    OrderLines::sum(of.iter().copied()).unwrap()
}

pub fn line(text: &str, number: i64) -> Line {
    Line { sku: sku(text), quantity: pieces(number) }
}

/// So many seconds into the test's time.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

pub const LIMITS: HoldLimits =
    HoldLimits { minimum: TimeDelta::zero(), maximum: TimeDelta::seconds(100_000) };

pub fn reserve(number: u128, of: &[(&str, i64)]) -> ReserveStock {
    ReserveStock {
        order_id: order(number),
        lines: OrderLines::sum(of.iter().copied()),
        expires_at: at(100),
        now: at(0),
        limits: LIMITS,
    }
}

/// What the world learns of an event that was decided.
pub fn public(stream: &StreamId, event: &EncodedEvent) -> Option<Event> {
    let recorded = RecordedEvent {
        position: 1,
        stream_id: stream.clone(),
        version: 1,
        event_id: Uuid::nil(),
        command_id: Uuid::nil(),
        event_type: event.event_type.clone(),
        schema_version: event.schema_version,
        data: event.data.clone(),
        metadata: Metadata::default(),
        recorded_at: at(0),
    };
    let published = publish(&recorded).unwrap()?;
    let event = InventoryEvent::decode(published.data.as_slice()).unwrap().event.unwrap();
    let debug = format!("{event:?}");
    let variant = debug.split('(').next().unwrap();
    assert_eq!(published.event_type, format!("shop.inventory.v1.{variant}"), "the type names the message");
    Some(event)
}
