//! Reading orders from their read model, with contacts opened for whoever may see them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::{EventLog, NotReached, Position, StreamId, SubscriptionHandle};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Row};

use super::StoreError;
use super::personal_data::{Field, PersonalData, WrappedKey};
use super::timeline::{Entry, Timeline};
use crate::domain::order::{Amount, OrderLine, OrderPlaced, Status};
use crate::domain::{Contact, Currency, CustomerId, KeySubject, Money, Order, OrderId, SealedText};

/// An order as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderView {
    pub order_id: OrderId,
    pub version: u64,
    pub status: Status,
    pub customer_id: Option<String>,
    pub lines: Vec<OrderLine>,
    pub amounts: Vec<Amount>,
    pub total: Money,
    /// `None` when the person was forgotten.
    pub contact: Option<Contact>,
    pub reason: Option<String>,
    pub cancellation_requested: bool,
    pub placed_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl OrderView {
    /// An order as it is at its first event, which its reader need not wait for.
    pub fn just_placed(placed: OrderPlaced, contact: Contact) -> Self {
        Self {
            order_id: placed.order_id,
            version: 1,
            status: Status::Pending,
            customer_id: placed.customer_id.map(|id| id.to_string()),
            lines: placed.lines,
            amounts: placed.amounts,
            total: placed.total,
            contact: Some(contact),
            reason: None,
            cancellation_requested: false,
            placed_at: placed.placed_at,
            updated_at: placed.placed_at,
        }
    }
}

/// Which orders to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub customer_id: Option<CustomerId>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model has not come as far as it was asked to be.
    #[error(transparent)]
    Behind(#[from] NotReached),
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct ReadOrders {
    log: EventLog,
    read_model: SubscriptionHandle,
    personal_data: PersonalData,
}

const SELECT: &str = "SELECT o.order_id, o.version, o.status, o.customer_id, o.lines, o.amounts, o.currency, o.total, \
                             o.sealed_contact, o.key_subject, o.reason, o.cancellation_requested, o.placed_at, \
                             o.updated_at, k.master_key, k.sealed_key \
                        FROM orders o LEFT JOIN personal_data_keys k ON k.subject = o.key_subject WHERE true";

impl ReadOrders {
    pub fn new(log: EventLog, read_model: SubscriptionHandle, personal_data: PersonalData) -> Self {
        Self { log, read_model, personal_data }
    }

    /// What keeps the read model up to date.
    pub fn model(&self) -> &SubscriptionHandle {
        &self.read_model
    }

    /// Waits until reads show everything up to `position`, for as long as `patience`.
    pub async fn wait_for(&self, position: &Position, patience: Duration) -> Result<(), NotReached> {
        self.read_model.wait_for(position, patience).await
    }

    /// One order; `None` when there is none. It is never behind what the order's history or a watch of it has
    /// shown: while the read model is, it is waited for.
    pub async fn get(&self, order_id: OrderId, patience: Duration) -> Result<Option<OrderView>, ReadError> {
        // In this order: what is appended in between makes the row newer, and not older.
        let newest = self.newest_version(order_id).await?;
        match self.find(order_id).await? {
            Some(order) if order.version >= newest => return Ok(Some(order)),
            None if newest == 0 => return Ok(None),
            _ => {}
        }
        let head = self.log.position(self.log.head().await?);
        self.wait_for(&head, patience).await?;
        self.find(order_id).await
    }

    async fn newest_version(&self, order_id: OrderId) -> Result<u64, sqlx::Error> {
        let newest = "SELECT version FROM eventlog.events WHERE stream_id = $1 ORDER BY version DESC LIMIT 1";
        let newest: Option<i64> = sqlx::query_scalar(newest)
            .bind(StreamId::of::<Order>(order_id).as_str())
            .fetch_optional(self.log.pool())
            .await?;
        Ok(newest.map_or(0, |version| version as u64))
    }

    async fn find(&self, order_id: OrderId) -> Result<Option<OrderView>, ReadError> {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        query.push(" AND o.order_id = ").push_bind(order_id.uuid());
        let row = query.build().fetch_optional(self.log.pool()).await?;
        Ok(row.map(|row| self.view(&row)).transpose()?)
    }

    /// Orders, newest first, after one of an earlier page.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<OrderView>, ReadError> {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        if let Some(status) = filter.status {
            query.push(" AND o.status = ").push_bind(status.name());
        }
        if let Some(customer_id) = &filter.customer_id {
            query.push(" AND o.customer_id = ").push_bind(customer_id.as_str());
        }
        if let Some(after) = after {
            query.push(" AND o.order_id < ").push_bind(after.uuid());
        }
        query.push(" ORDER BY o.order_id DESC LIMIT ").push_bind(i64::from(limit));
        let rows = query.build().fetch_all(self.log.pool()).await?;
        Ok(rows.iter().map(|row| self.view(row)).collect::<Result<_, _>>()?)
    }

    /// What happened to an order, oldest first; nothing when there is none. It comes from the log itself, so it
    /// is never behind.
    pub async fn history(&self, order_id: OrderId) -> Result<Vec<Entry>, StoreError> {
        Timeline::of(order_id).read_on(&self.log, &self.personal_data).await
    }

    fn view(&self, row: &PgRow) -> Result<OrderView, StoreError> {
        let order_id = OrderId::new(row.try_get(0)?);
        let malformed =
            |what: &str| StoreError::Fault(format!("the read model of order {order_id} has no valid {what}"));
        let status: String = row.try_get(2)?;
        let currency: String = row.try_get(6)?;
        let currency = Currency::parse(&currency).ok_or_else(|| malformed("currency"))?;
        Ok(OrderView {
            order_id,
            version: u64::try_from(row.try_get::<i64, _>(1)?).map_err(|_| malformed("version"))?,
            status: Status::from_name(&status).ok_or_else(|| malformed("status"))?,
            customer_id: row.try_get(3)?,
            lines: row.try_get::<Json<_>, _>(4)?.0,
            amounts: row.try_get::<Json<_>, _>(5)?.0,
            total: Money::new(row.try_get(7)?, currency),
            contact: self.contact(order_id, row)?,
            reason: row.try_get(10)?,
            cancellation_requested: row.try_get(11)?,
            placed_at: row.try_get(12)?,
            updated_at: row.try_get(13)?,
        })
    }

    fn contact(&self, order_id: OrderId, row: &PgRow) -> Result<Option<Contact>, StoreError> {
        let (Some(master_key), Some(sealed_key)) = (row.try_get(14)?, row.try_get(15)?) else {
            return Ok(None);
        };
        let subject = KeySubject::from_name(row.try_get::<String, _>(9)?);
        let key = self.personal_data.unwrap(&subject, &WrappedKey { master_key, sealed_key })?;
        let Some(plaintext) = key.open(order_id, Field::Contact, &SealedText(row.try_get(8)?))? else {
            return Ok(None);
        };
        serde_json::from_slice(&plaintext)
            .map(Some)
            .map_err(|_| StoreError::Fault("a sealed contact is malformed".into()))
    }
}
