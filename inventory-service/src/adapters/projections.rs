//! Keeps the tables that reads answer from in step with the log. They hold nothing that the log does not.

use eventsourcing::{HandlerError, Projection, RecordedEvent};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::domain::reservation::{Reservation, ReservationEvent, ReservationStatus};
use crate::domain::stock::{Stock, StockEvent};
use crate::domain::{Line, OrderId};

/// The tables `stock_levels` and `reservations`.
pub struct ReadModel;

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "inventory.read-model"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        if let Some(happened) = event.decode::<Stock>()? {
            move_level(connection, event, &happened).await?;
        }
        if let Some(happened) = event.decode::<Reservation>()? {
            set_reservation(connection, event, &happened).await?;
        }
        Ok(())
    }
}

/// What an event adds to the counters of a stock level.
#[derive(Default)]
struct Step {
    received: i64,
    restocked: i64,
    adjusted: i64,
    reserved: i64,
    committed: i64,
    shortfall_open: Option<bool>,
}

impl From<&StockEvent> for Step {
    fn from(event: &StockEvent) -> Self {
        let none = Self::default();
        match event {
            StockEvent::StockReceived { quantity, .. } => Self { received: quantity.get(), ..none },
            StockEvent::StockAdjusted { delta, .. } => Self { adjusted: delta.get(), ..none },
            StockEvent::PiecesReserved { quantity, .. } => Self { reserved: quantity.get(), ..none },
            StockEvent::PiecesReleased { quantity, .. } => Self { reserved: -quantity.get(), ..none },
            StockEvent::PiecesCommitted { quantity, .. } => {
                Self { reserved: -quantity.get(), committed: quantity.get(), ..none }
            }
            StockEvent::PiecesRestocked { quantity, .. } => Self { restocked: quantity.get(), ..none },
            StockEvent::ShortfallOpened { .. } => Self { shortfall_open: Some(true), ..none },
            StockEvent::ShortfallClosed {} => Self { shortfall_open: Some(false), ..none },
            StockEvent::AvailabilityChanged { .. } => none,
        }
    }
}

async fn move_level(
    connection: &mut PgConnection,
    event: &RecordedEvent,
    happened: &StockEvent,
) -> Result<(), HandlerError> {
    let step = Step::from(happened);
    // Every event moves the version, since the etag is made of it.
    sqlx::query(
        "INSERT INTO stock_levels AS level \
           (sku, received, restocked, adjusted, reserved, committed, shortfall_open, version, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, false), $8, $9) \
         ON CONFLICT (sku) DO UPDATE SET \
           received = level.received + $2, restocked = level.restocked + $3, adjusted = level.adjusted + $4, \
           reserved = level.reserved + $5, committed = level.committed + $6, \
           shortfall_open = coalesce($7, level.shortfall_open), version = $8, updated_at = $9",
    )
    .bind(event.stream_id.key())
    .bind(step.received)
    .bind(step.restocked)
    .bind(step.adjusted)
    .bind(step.reserved)
    .bind(step.committed)
    .bind(step.shortfall_open)
    .bind(event.version.cast_signed())
    .bind(event.recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_reservation(
    connection: &mut PgConnection,
    event: &RecordedEvent,
    happened: &ReservationEvent,
) -> Result<(), HandlerError> {
    let nothing: &[Line] = &[];
    let (status, lines, expires_at) = match happened {
        ReservationEvent::StockReserved { lines, expires_at } => {
            (ReservationStatus::Held, lines.as_slice(), Some(*expires_at))
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
    // A request that is refused after the reservation's end does not change how it ended.
    let keep_end = status == ReservationStatus::Rejected;
    sqlx::query(
        "INSERT INTO reservations AS known (order_id, status, lines, expires_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (order_id) DO UPDATE SET status = $2, updated_at = $5 WHERE NOT $6",
    )
    .bind(order_id.as_uuid())
    .bind(status.as_str())
    .bind(Json(lines))
    .bind(expires_at)
    .bind(event.recorded_at)
    .bind(keep_end)
    .execute(connection)
    .await?;
    Ok(())
}
