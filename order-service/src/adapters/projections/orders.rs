//! Orders as they are listed and read, one row each. Contacts stay sealed here too.

use chrono::{DateTime, Utc};
use eventsourcing::{HandlerError, Projection, RecordedEvent};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::order::{OrderEvent, OrderPlaced, Status};
use crate::domain::{CustomerId, Order, OrderId, ReasonCode};

pub struct OrdersProjection;

/// What an event changes in a row, besides its version.
#[derive(Default)]
struct Change {
    status: Option<Status>,
    reason: Option<ReasonCode>,
    cancellation_requested: Option<bool>,
    /// `None` when nothing happened that a reader would notice.
    at: Option<DateTime<Utc>>,
}

impl Projection for OrdersProjection {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "order.orders"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let Some(event) = recorded.decode::<Order>()? else { return Ok(()) };
        let at = Some(recorded.recorded_at);
        let ended = |status, reason| Change {
            status: Some(status),
            reason: Some(reason),
            cancellation_requested: Some(false),
            at,
        };
        let change = match event {
            OrderEvent::OrderPlaced(placed) => return insert(connection, recorded.version, &placed).await,
            OrderEvent::OrderCancellationRequested { .. } => {
                Change { cancellation_requested: Some(true), at, ..Change::default() }
            }
            OrderEvent::OrderConfirmed {} => {
                Change { status: Some(Status::Confirmed), at, ..Change::default() }
            }
            OrderEvent::OrderShipped {} => Change { status: Some(Status::Shipped), at, ..Change::default() },
            OrderEvent::OrderDelivered {} => {
                Change { status: Some(Status::Delivered), at, ..Change::default() }
            }
            OrderEvent::OrderRejected { reason } => ended(Status::Rejected, reason),
            OrderEvent::OrderCancelled { reason } => ended(Status::Cancelled, reason),
            OrderEvent::OrderOutcomeReaffirmed { .. } => Change::default(),
        };
        let order_id = OrderId::parse(recorded.stream_id.key()).ok_or_else(|| {
            HandlerError::Poison(format!("stream {} is not named by an order id", recorded.stream_id))
        })?;
        update(connection, order_id.uuid(), recorded.version, change).await
    }
}

async fn insert(
    connection: &mut PgConnection,
    version: u64,
    placed: &OrderPlaced,
) -> Result<(), HandlerError> {
    sqlx::query(
        "INSERT INTO orders (order_id, version, status, customer_id, lines, amounts, currency, total, \
                             sealed_contact, key_subject, placed_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
    )
    .bind(placed.order_id.uuid())
    .bind(version as i64)
    .bind(Status::Pending.name())
    .bind(placed.customer_id.as_ref().map(CustomerId::as_str))
    .bind(Json(&placed.lines))
    .bind(Json(&placed.amounts))
    .bind(placed.total.currency.code())
    .bind(placed.total.minor_units)
    .bind(&placed.contact.0)
    .bind(placed.key_subject().as_str())
    .bind(placed.placed_at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    order_id: Uuid,
    version: u64,
    change: Change,
) -> Result<(), HandlerError> {
    let updated = sqlx::query(
        "UPDATE orders SET version = $2, status = coalesce($3, status), reason = coalesce($4, reason), \
                cancellation_requested = coalesce($5, cancellation_requested), \
                updated_at = coalesce($6, updated_at) \
          WHERE order_id = $1",
    )
    .bind(order_id)
    .bind(version as i64)
    .bind(change.status.map(Status::name))
    .bind(change.reason.as_ref().map(ReasonCode::as_str))
    .bind(change.cancellation_requested)
    .bind(change.at)
    .execute(connection)
    .await?;
    if updated.rows_affected() == 0 {
        return Err(HandlerError::Poison(format!("order {order_id} changed before it was placed")));
    }
    Ok(())
}
