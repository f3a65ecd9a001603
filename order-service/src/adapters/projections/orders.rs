//! Orders as they are listed and read, one row each. Contacts stay sealed here too. Events that wait together are
//! folded together, so that only what the last of them leaves behind is written.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::slice;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::{HandlerError, Projection, RecordedEvent};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::order::{OrderEvent, OrderPlaced, Status};
use crate::domain::{CustomerId, Order, OrderId, ReasonCode};

/// How long events wait for others to be written with, while nobody waits to read them: an order that is placed
/// and confirmed meanwhile is written once.
pub const LINGER: Duration = Duration::from_millis(100);

pub struct OrdersProjection;

/// What the events of a page change in a row.
struct Change {
    version: u64,
    status: Option<Status>,
    reason: Option<ReasonCode>,
    cancellation_requested: Option<bool>,
    /// `None` when nothing happened that a reader would notice.
    updated_at: Option<DateTime<Utc>>,
}

/// The rows that a page makes or changes, in the order of their keys, as every writer of rows takes them.
#[derive(Default)]
struct Page {
    placed: BTreeMap<Uuid, (OrderPlaced, Change)>,
    changed: BTreeMap<Uuid, Change>,
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
        self.apply_page(connection, slice::from_ref(recorded)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        recorded: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut page = Page::default();
        for recorded in recorded {
            page.take(recorded)?;
        }
        insert(connection, &page.placed).await?;
        update(connection, &page.changed).await
    }
}

impl Page {
    fn take(&mut self, recorded: &RecordedEvent) -> Result<(), HandlerError> {
        let Some(event) = recorded.decode::<Order>()? else { return Ok(()) };
        let order_id = OrderId::parse(recorded.stream_id.key()).ok_or_else(|| {
            HandlerError::Poison(format!("stream {} is not named by an order id", recorded.stream_id))
        })?;
        let order_id = order_id.uuid();
        let change = Change::of(recorded, &event);
        if let OrderEvent::OrderPlaced(placed) = event {
            let earlier = self.placed.insert(order_id, (placed, change));
            if earlier.is_some() || self.changed.contains_key(&order_id) {
                return Err(HandlerError::Poison(format!("order {order_id} was placed twice")));
            }
            return Ok(());
        }
        match self.placed.get_mut(&order_id) {
            Some((_, row)) => row.then(change),
            None => match self.changed.entry(order_id) {
                Entry::Occupied(row) => row.into_mut().then(change),
                Entry::Vacant(place) => _ = place.insert(change),
            },
        }
        Ok(())
    }
}

impl Change {
    fn of(recorded: &RecordedEvent, event: &OrderEvent) -> Self {
        let changed = || Self {
            version: recorded.version,
            status: None,
            reason: None,
            cancellation_requested: None,
            updated_at: Some(recorded.recorded_at),
        };
        let at = |status| Self { status: Some(status), ..changed() };
        let ended = |status, reason: &ReasonCode| Self {
            reason: Some(reason.clone()),
            cancellation_requested: Some(false),
            ..at(status)
        };
        match event {
            OrderEvent::OrderPlaced(placed) => {
                Self { updated_at: Some(placed.placed_at), ..at(Status::Pending) }
            }
            OrderEvent::OrderCancellationRequested { .. } => {
                Self { cancellation_requested: Some(true), ..changed() }
            }
            OrderEvent::OrderConfirmed {} => at(Status::Confirmed),
            OrderEvent::OrderShipped {} => at(Status::Shipped),
            OrderEvent::OrderDelivered {} => at(Status::Delivered),
            OrderEvent::OrderRejected { reason } => ended(Status::Rejected, reason),
            OrderEvent::OrderCancelled { reason } => ended(Status::Cancelled, reason),
            OrderEvent::OrderOutcomeReaffirmed { .. } => Self { updated_at: None, ..changed() },
        }
    }

    /// Adds what a later event changes.
    fn then(&mut self, later: Self) {
        self.version = later.version;
        self.status = later.status.or(self.status);
        self.reason = later.reason.or(self.reason.take());
        self.cancellation_requested = later.cancellation_requested.or(self.cancellation_requested);
        self.updated_at = later.updated_at.or(self.updated_at);
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_ref().map(ReasonCode::as_str)
    }
}

async fn insert(
    connection: &mut PgConnection,
    rows: &BTreeMap<Uuid, (OrderPlaced, Change)>,
) -> Result<(), HandlerError> {
    if rows.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(
        rows: &'a BTreeMap<Uuid, (OrderPlaced, Change)>,
        of: impl Fn(&'a OrderPlaced, &'a Change) -> T,
    ) -> Vec<T> {
        rows.values().map(|(placed, change)| of(placed, change)).collect()
    }
    sqlx::query(
        "INSERT INTO orders (order_id, version, status, customer_id, lines, amounts, currency, total, \
                             sealed_contact, key_subject, reason, cancellation_requested, placed_at, updated_at) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], \
                              $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::boolean[], \
                              $13::timestamptz[], $14::timestamptz[])",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column(rows, |_, change| change.version as i64))
    .bind(column(rows, |_, change| change.status.map(Status::name)))
    .bind(column(rows, |placed, _| placed.customer_id.as_ref().map(CustomerId::as_str)))
    .bind(column(rows, |placed, _| Json(&placed.lines)))
    .bind(column(rows, |placed, _| Json(&placed.amounts)))
    .bind(column(rows, |placed, _| placed.total.currency.code()))
    .bind(column(rows, |placed, _| placed.total.minor_units))
    .bind(column(rows, |placed, _| placed.contact.0.as_str()))
    .bind(column(rows, |placed, _| placed.key_subject().as_str().to_owned()))
    .bind(column(rows, |_, change| change.reason()))
    .bind(column(rows, |_, change| change.cancellation_requested.unwrap_or(false)))
    .bind(column(rows, |placed, _| placed.placed_at))
    .bind(column(rows, |_, change| change.updated_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// An upsert of rows that are there, because that goes by the key whatever the planner believes the size of the
/// table to be: a prepared statement keeps the plan that was good while the table was small.
async fn update(connection: &mut PgConnection, rows: &BTreeMap<Uuid, Change>) -> Result<(), HandlerError> {
    if rows.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(rows: &'a BTreeMap<Uuid, Change>, of: impl Fn(&'a Change) -> T) -> Vec<T> {
        rows.values().map(of).collect()
    }
    let updated = sqlx::query_scalar(
        "INSERT INTO orders AS o (order_id, version, status, customer_id, lines, amounts, currency, total, \
                                  sealed_contact, key_subject, reason, cancellation_requested, placed_at, updated_at) \
         SELECT o.order_id, c.version, coalesce(c.status, o.status), o.customer_id, o.lines, o.amounts, o.currency, \
                o.total, o.sealed_contact, o.key_subject, coalesce(c.reason, o.reason), \
                coalesce(c.cancellation_requested, o.cancellation_requested), o.placed_at, \
                coalesce(c.updated_at, o.updated_at) \
           FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::boolean[], $6::timestamptz[]) \
                AS c(order_id, version, status, reason, cancellation_requested, updated_at), \
                LATERAL (SELECT * FROM orders WHERE orders.order_id = c.order_id LIMIT 1) o \
         ON CONFLICT (order_id) DO UPDATE \
            SET version = excluded.version, status = excluded.status, reason = excluded.reason, \
                cancellation_requested = excluded.cancellation_requested, updated_at = excluded.updated_at \
      RETURNING o.order_id",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column(rows, |change| change.version as i64))
    .bind(column(rows, |change| change.status.map(Status::name)))
    .bind(column(rows, |change| change.reason()))
    .bind(column(rows, |change| change.cancellation_requested))
    .bind(column(rows, |change| change.updated_at))
    .fetch_all(connection)
    .await?;
    let updated: BTreeSet<Uuid> = updated.into_iter().collect();
    match rows.keys().find(|order_id| !updated.contains(order_id)) {
        Some(order_id) => Err(HandlerError::Poison(format!("order {order_id} changed before it was placed"))),
        None => Ok(()),
    }
}
