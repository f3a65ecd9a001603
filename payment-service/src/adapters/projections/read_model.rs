//! Keeps the tables `payments` and `refunds`. A row is the domain's own fold, taken apart into columns: what a
//! status means is said once, there. Events that wait together are folded together, so that only what the last
//! of them leaves behind is written.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::slice;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::{Decider, HandlerError, Projection, RecordedEvent};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::order_of;
use crate::application::payments::RefundState;
use crate::domain::RefundId;
use crate::domain::payment::{Payment, PaymentState, RefundStatus, Status};

/// How long events wait for others to be written with, while nobody waits to read them: a payment that is
/// authorized and captured meanwhile is written once.
pub const LINGER: Duration = Duration::from_millis(200);

/// The projection.
pub struct ReadModel;

/// What the events of a page make of one payment.
#[derive(Default)]
struct Change {
    state: PaymentState,
    version: u64,
    /// Of the first event of the page; the row keeps an earlier one.
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Refunds that changed, and when.
    refunds: Vec<(RefundId, DateTime<Utc>)>,
}

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        super::MODEL
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        self.apply_page(connection, slice::from_ref(recorded)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut known = load(connection, page).await?;
        // In the order of their keys, as every writer of these rows takes them.
        let mut changes: BTreeMap<Uuid, Change> = BTreeMap::new();
        for recorded in page {
            let Some(event) = recorded.decode::<Payment>()? else { continue };
            let order_id = order_of(recorded)?.0;
            let change = match changes.entry(order_id) {
                Entry::Occupied(change) => change.into_mut(),
                Entry::Vacant(place) => {
                    let state = known.remove(&order_id).unwrap_or_default();
                    place.insert(Change { state, created_at: recorded.recorded_at, ..Change::default() })
                }
            };
            change.state = Payment::evolve(std::mem::take(&mut change.state), &event);
            change.version = recorded.version;
            change.updated_at = recorded.recorded_at;
            change.refunds.extend(event.refund_id().map(|id| (id.clone(), recorded.recorded_at)));
        }
        store_payments(connection, &changes).await?;
        for (order_id, change) in &changes {
            store_refunds(connection, *order_id, change).await?;
        }
        Ok(())
    }
}

async fn load(
    connection: &mut PgConnection,
    page: &[RecordedEvent],
) -> Result<BTreeMap<Uuid, PaymentState>, HandlerError> {
    let ids: BTreeSet<Uuid> =
        page.iter().map(|recorded| Ok(order_of(recorded)?.0)).collect::<Result<_, HandlerError>>()?;
    // Not `= ANY`: the statement keeps the plan that was good while the table was empty.
    let rows = sqlx::query(
        "SELECT p.order_id, p.state FROM unnest($1::uuid[]) AS wanted(order_id), \
                LATERAL (SELECT order_id, state FROM payments WHERE order_id = wanted.order_id LIMIT 1) p",
    )
    .bind(ids.into_iter().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let entries = rows.into_iter().map(|row| Ok((row.try_get(0)?, row.try_get::<Json<_>, _>(1)?.0)));
    Ok(entries.collect::<Result<_, sqlx::Error>>()?)
}

async fn store_payments(
    connection: &mut PgConnection,
    changes: &BTreeMap<Uuid, Change>,
) -> Result<(), HandlerError> {
    if changes.is_empty() {
        return Ok(());
    }
    let state = |change: &Change| serde_json::to_string(&change.state);
    let states: Vec<String> = changes
        .values()
        .map(state)
        .collect::<Result<_, _>>()
        .map_err(|error| HandlerError::Poison(format!("a payment cannot be written down: {error}")))?;
    fn column<'a, T>(changes: &'a BTreeMap<Uuid, Change>, of: impl Fn(&'a Change) -> T) -> Vec<T> {
        changes.values().map(of).collect()
    }
    sqlx::query(
        "INSERT INTO payments (order_id, version, status, currency, amount, captured, refunded, reason, \
                               provider_reference, created_at, updated_at, state) \
         SELECT r.order_id, r.version, r.status, r.currency, r.amount, r.captured, r.refunded, r.reason, \
                r.provider_reference, r.created_at, r.updated_at, r.state::json \
           FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], \
                       $7::bigint[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[]) \
                AS r(order_id, version, status, currency, amount, captured, refunded, reason, provider_reference, \
                     created_at, updated_at, state) \
         ON CONFLICT (order_id) DO UPDATE \
            SET version = excluded.version, status = excluded.status, currency = excluded.currency, \
                amount = excluded.amount, captured = excluded.captured, refunded = excluded.refunded, \
                reason = excluded.reason, provider_reference = excluded.provider_reference, \
                updated_at = excluded.updated_at, state = excluded.state",
    )
    .bind(changes.keys().copied().collect::<Vec<_>>())
    .bind(column(changes, |change| change.version as i64))
    .bind(column(changes, |change| change.state.status().map(Status::name)))
    .bind(column(changes, |change| change.state.amount.as_ref().map(|amount| amount.currency.as_str())))
    .bind(column(changes, |change| change.state.amount.map(|amount| amount.minor_units)))
    .bind(column(changes, |change| change.state.captured().map(|amount| amount.minor_units)))
    .bind(column(changes, |change| change.state.refunded().map(|amount| amount.minor_units)))
    .bind(column(changes, |change| change.state.reason().map(|reason| reason.as_str())))
    .bind(column(changes, |change| change.state.provider_reference().map(|reference| reference.0.as_str())))
    .bind(column(changes, |change| change.created_at))
    .bind(column(changes, |change| change.updated_at))
    .bind(states)
    .execute(connection)
    .await?;
    Ok(())
}

async fn store_refunds(
    connection: &mut PgConnection,
    order_id: Uuid,
    change: &Change,
) -> Result<(), sqlx::Error> {
    for (refund_id, changed_at) in &change.refunds {
        let Some(refund) = change.state.refunds.get(refund_id) else { continue };
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
        .bind(order_id)
        .bind(refund_id.as_str())
        .bind(refund.amount.map(|amount| amount.minor_units))
        .bind(refund.reason.as_str())
        .bind(status.name())
        .bind(changed_at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
