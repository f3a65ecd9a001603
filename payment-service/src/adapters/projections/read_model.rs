//! Keeps the tables `payments` and `refunds`. A row is the domain's own fold, taken apart into columns: what a
//! status means is said once, there.

use eventsourcing::{Decider, HandlerError, Projection, RecordedEvent};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::order_of;
use crate::application::payments::RefundState;
use crate::domain::payment::{Payment, PaymentState, RefundStatus, Status};
use crate::domain::{OrderId, RefundId};

/// The projection.
pub struct ReadModel;

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "payment.read-model"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let Some(event) = recorded.decode::<Payment>()? else { return Ok(()) };
        let order_id = order_of(recorded)?;
        let before = sqlx::query("SELECT state FROM payments WHERE order_id = $1")
            .bind(order_id.0)
            .fetch_optional(&mut *connection)
            .await?;
        let before = match before {
            Some(row) => row.try_get::<Json<PaymentState>, _>(0)?.0,
            None => PaymentState::default(),
        };
        let state = Payment::evolve(before, &event);
        store_payment(connection, order_id, recorded, &state).await?;
        if let Some(refund_id) = event.refund_id() {
            store_refund(connection, order_id, refund_id, recorded, &state).await?;
        }
        Ok(())
    }
}

async fn store_payment(
    connection: &mut PgConnection,
    order_id: OrderId,
    recorded: &RecordedEvent,
    state: &PaymentState,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO payments (order_id, version, status, currency, amount, captured, refunded, reason, \
                               provider_reference, created_at, updated_at, state) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11) \
         ON CONFLICT (order_id) DO UPDATE \
            SET version = excluded.version, status = excluded.status, currency = excluded.currency, \
                amount = excluded.amount, captured = excluded.captured, refunded = excluded.refunded, \
                reason = excluded.reason, provider_reference = excluded.provider_reference, \
                updated_at = excluded.updated_at, state = excluded.state",
    )
    .bind(order_id.0)
    .bind(recorded.version as i64)
    .bind(state.status().map(Status::name))
    .bind(state.amount.as_ref().map(|amount| amount.currency.as_str()))
    .bind(state.amount.map(|amount| amount.minor_units))
    .bind(state.captured().map(|amount| amount.minor_units))
    .bind(state.refunded().map(|amount| amount.minor_units))
    .bind(state.reason().map(|reason| reason.as_str()))
    .bind(state.provider_reference().map(|reference| reference.0.as_str()))
    .bind(recorded.recorded_at)
    .bind(Json(state))
    .execute(connection)
    .await?;
    Ok(())
}

async fn store_refund(
    connection: &mut PgConnection,
    order_id: OrderId,
    refund_id: &RefundId,
    recorded: &RecordedEvent,
    state: &PaymentState,
) -> Result<(), sqlx::Error> {
    let Some(refund) = state.refunds.get(refund_id) else { return Ok(()) };
    let status = match refund.status {
        RefundStatus::Pending => RefundState::Pending,
        RefundStatus::Succeeded => RefundState::Succeeded,
        RefundStatus::Failed { .. } => RefundState::Failed,
    };
    sqlx::query(
        "INSERT INTO refunds (order_id, refund_id, amount, reason, status, requested_at) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (order_id, refund_id) DO UPDATE SET status = excluded.status",
    )
    .bind(order_id.0)
    .bind(refund_id.as_str())
    .bind(refund.amount.map(|amount| amount.minor_units))
    .bind(refund.reason.as_str())
    .bind(status.name())
    .bind(recorded.recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}
