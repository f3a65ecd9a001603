//! Keeps the tables that reads answer from in step with the log. They hold nothing that the log does not. Events
//! that wait together are added up, so that a row is written once however much happened to it.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::{EventLog, HandlerError, Projection, RecordedEvent};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::reservation::{Reservation, ReservationEvent, ReservationStatus};
use crate::domain::stock::{Stock, StockEvent};
use crate::domain::{Line, OrderId};

/// How long events wait for others to be written with, while nobody waits to read them.
pub const LINGER: Duration = Duration::from_millis(100);

/// The read model behind all reads.
pub const MODEL: &str = "inventory.read-model";
/// Every table of this service that its projection writes or reads. A new one goes here, too.
pub const TABLES: &[&str] = &["stock_levels", "reservations"];

/// What can be rebuilt.
pub fn rebuildable(log: &EventLog) -> Vec<eventsourcing::ReadModel> {
    vec![eventsourcing::ReadModel::new(MODEL, TABLES).fed_by(Arc::new(log.clone()), ReadModel)]
}

/// The tables `stock_levels` and `reservations`.
pub struct ReadModel;

/// What the events of a page change, by the keys of the rows and in their order, as every writer takes them.
#[derive(Default)]
struct Page {
    levels: BTreeMap<String, Step>,
    reservations: BTreeMap<Uuid, Outcome>,
}

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        MODEL
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        events: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut page = Page::default();
        for event in events {
            if let Some(happened) = event.decode::<Stock>()? {
                page.move_level(event, &happened);
            }
            if let Some(happened) = event.decode::<Reservation>()? {
                page.set_reservation(event, happened)?;
            }
        }
        move_levels(connection, &page.levels).await?;
        set_shortfalls(connection, &page.levels).await?;
        set_reservations(connection, &page.reservations).await?;
        Ok(())
    }
}

/// What events add to the counters of a stock level.
#[derive(Default)]
struct Step {
    received: i64,
    restocked: i64,
    adjusted: i64,
    reserved: i64,
    committed: i64,
    shortfall_open: Option<bool>,
    /// Every event moves the version, since the etag is made of it.
    version: u64,
    updated_at: DateTime<Utc>,
}

impl Step {
    fn add(&mut self, event: &StockEvent) {
        match event {
            StockEvent::StockReceived { quantity, .. } => self.received += quantity.get(),
            StockEvent::StockAdjusted { delta, .. } => self.adjusted += delta.get(),
            StockEvent::PiecesReserved { quantity, .. } => self.reserved += quantity.get(),
            StockEvent::PiecesReleased { quantity, .. } => self.reserved -= quantity.get(),
            StockEvent::PiecesCommitted { quantity, .. } => {
                self.reserved -= quantity.get();
                self.committed += quantity.get();
            }
            StockEvent::PiecesRestocked { quantity, .. } => self.restocked += quantity.get(),
            StockEvent::ShortfallOpened { .. } => self.shortfall_open = Some(true),
            StockEvent::ShortfallClosed {} => self.shortfall_open = Some(false),
            StockEvent::AvailabilityChanged { .. } => {}
        }
    }
}

/// How far events bring a reservation.
struct Outcome {
    status: ReservationStatus,
    /// What the first of them held; the row keeps what was held first.
    lines: Vec<Line>,
    expires_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

impl Page {
    fn move_level(&mut self, event: &RecordedEvent, happened: &StockEvent) {
        let step = self.levels.entry(event.stream_id.key().to_owned()).or_default();
        step.add(happened);
        (step.version, step.updated_at) = (event.version, event.recorded_at);
    }

    fn set_reservation(
        &mut self,
        event: &RecordedEvent,
        happened: ReservationEvent,
    ) -> Result<(), HandlerError> {
        let nothing = Vec::new();
        let (status, lines, expires_at) = match happened {
            ReservationEvent::StockReserved { lines, expires_at } => {
                (ReservationStatus::Held, lines.as_slice().to_vec(), Some(expires_at))
            }
            ReservationEvent::StockReservationRejected(_) => (ReservationStatus::Rejected, nothing, None),
            ReservationEvent::ReservationPinned {} => (ReservationStatus::Pinned, nothing, None),
            ReservationEvent::StockReleased {} => (ReservationStatus::Released, nothing, None),
            ReservationEvent::ReservationExpired {} => (ReservationStatus::Expired, nothing, None),
            ReservationEvent::StockCommitted {} => (ReservationStatus::Committed, nothing, None),
            ReservationEvent::StockRestocked {} => (ReservationStatus::Restocked, nothing, None),
            ReservationEvent::ReservationPinRejected { .. } | ReservationEvent::RequestAnswered { .. } => {
                return Ok(());
            }
        };
        let order_id = OrderId::parse(event.stream_id.key())
            .map_err(|error| HandlerError::Poison(format!("stream {}: the key {error}", event.stream_id)))?;
        let updated_at = event.recorded_at;
        match self.reservations.entry(order_id.as_uuid()) {
            Entry::Vacant(place) => _ = place.insert(Outcome { status, lines, expires_at, updated_at }),
            // A request that is refused after the reservation's end does not change how it ended.
            Entry::Occupied(_) if status == ReservationStatus::Rejected => {}
            Entry::Occupied(known) => {
                let known = known.into_mut();
                (known.status, known.updated_at) = (status, updated_at);
            }
        }
        Ok(())
    }
}

async fn move_levels(
    connection: &mut PgConnection,
    levels: &BTreeMap<String, Step>,
) -> Result<(), sqlx::Error> {
    if levels.is_empty() {
        return Ok(());
    }
    let sum = |of: fn(&Step) -> i64| levels.values().map(of).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO stock_levels AS level \
           (sku, received, restocked, adjusted, reserved, committed, shortfall_open, version, updated_at) \
         SELECT s.sku, s.received, s.restocked, s.adjusted, s.reserved, s.committed, false, s.version, s.updated_at \
           FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
                       $7::bigint[], $8::timestamptz[]) \
                AS s(sku, received, restocked, adjusted, reserved, committed, version, updated_at) \
         ON CONFLICT (sku) DO UPDATE SET \
           received = level.received + excluded.received, restocked = level.restocked + excluded.restocked, \
           adjusted = level.adjusted + excluded.adjusted, reserved = level.reserved + excluded.reserved, \
           committed = level.committed + excluded.committed, \
           version = excluded.version, updated_at = excluded.updated_at",
    )
    .bind(levels.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(sum(|step| step.received))
    .bind(sum(|step| step.restocked))
    .bind(sum(|step| step.adjusted))
    .bind(sum(|step| step.reserved))
    .bind(sum(|step| step.committed))
    .bind(sum(|step| step.version.cast_signed()))
    .bind(levels.values().map(|step| step.updated_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Shortfalls are rare: one statement for each.
async fn set_shortfalls(
    connection: &mut PgConnection,
    levels: &BTreeMap<String, Step>,
) -> Result<(), sqlx::Error> {
    for (sku, step) in levels {
        let Some(open) = step.shortfall_open else { continue };
        sqlx::query("UPDATE stock_levels SET shortfall_open = $2 WHERE sku = $1")
            .bind(sku)
            .bind(open)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn set_reservations(
    connection: &mut PgConnection,
    reservations: &BTreeMap<Uuid, Outcome>,
) -> Result<(), sqlx::Error> {
    if reservations.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(reservations: &'a BTreeMap<Uuid, Outcome>, of: impl Fn(&'a Outcome) -> T) -> Vec<T> {
        reservations.values().map(of).collect()
    }
    // Only a page that begins with a refusal ends with it; see above.
    sqlx::query(
        "INSERT INTO reservations (order_id, status, lines, expires_at, updated_at) \
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::timestamptz[], $5::timestamptz[]) \
         ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at \
          WHERE excluded.status <> $6",
    )
    .bind(reservations.keys().copied().collect::<Vec<_>>())
    .bind(column(reservations, |outcome| outcome.status.as_str()))
    .bind(column(reservations, |outcome| Json(&outcome.lines)))
    .bind(column(reservations, |outcome| outcome.expires_at))
    .bind(column(reservations, |outcome| outcome.updated_at))
    .bind(ReservationStatus::Rejected.as_str())
    .execute(connection)
    .await?;
    Ok(())
}
