//! Reads, from the tables that follow the log. They may be a moment behind; who carries the position of a write
//! waits for it first.

use chrono::{DateTime, Utc};
use eventsourcing::SubscriptionHandle;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::domain::reservation::ReservationStatus;
use crate::domain::stock::StockState;
use crate::domain::{Line, OrderId, Sku};

/// Reads of stock and reservations.
#[derive(Clone)]
pub struct Queries {
    pool: PgPool,
    read_model: SubscriptionHandle,
}

/// The stock of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockLevel {
    pub sku: Sku,
    pub state: StockState,
    /// Version of its stream.
    pub version: u64,
    pub updated_at: DateTime<Utc>,
}

/// A page of stock levels, in the order of their SKUs.
#[derive(Clone, Debug)]
pub struct StockPage {
    pub levels: Vec<StockLevel>,
    /// Whether there are more behind it.
    pub more: bool,
}

/// A reservation as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationView {
    pub order_id: OrderId,
    pub status: ReservationStatus,
    pub lines: Vec<Line>,
    pub expires_at: Option<DateTime<Utc>>,
}

const SELECT_LEVELS: &str = "SELECT sku, received, restocked, adjusted, reserved, committed, shortfall_open, \
                             version, updated_at FROM stock_levels";

impl Queries {
    /// Reads through `pool` the tables that `read_model` keeps.
    pub fn new(pool: PgPool, read_model: SubscriptionHandle) -> Self {
        Self { pool, read_model }
    }

    /// What keeps the tables in step, to wait for.
    pub fn read_model(&self) -> &SubscriptionHandle {
        &self.read_model
    }

    /// The stock of one SKU, if pieces of it ever arrived.
    pub async fn stock(&self, sku: &Sku) -> Result<Option<StockLevel>, sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(format!("{SELECT_LEVELS} WHERE sku = $1"));
        let row = sqlx::query(sql).bind(sku.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(stock_level).transpose()
    }

    /// At most `size` stock levels behind the SKU `after`; with `shortfall_only` those with an open shortfall.
    pub async fn stock_page(
        &self,
        after: &str,
        size: u32,
        shortfall_only: bool,
    ) -> Result<StockPage, sqlx::Error> {
        // Two texts rather than a parameter, so that the partial index can serve the second.
        let filter = if shortfall_only { "AND shortfall_open" } else { "" };
        let sql = format!("{SELECT_LEVELS} WHERE sku > $1 {filter} ORDER BY sku LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after)
            .bind(i64::from(size) + 1)
            .fetch_all(&self.pool)
            .await?;
        let more = rows.len() > size as usize;
        let levels: Result<Vec<_>, _> = rows.iter().take(size as usize).map(stock_level).collect();
        Ok(StockPage { levels: levels?, more })
    }

    /// The reservation of one order, if the order was ever heard of.
    pub async fn reservation(&self, order_id: OrderId) -> Result<Option<ReservationView>, sqlx::Error> {
        let sql = "SELECT order_id, status, lines, expires_at FROM reservations WHERE order_id = $1";
        let row = sqlx::query(sql).bind(order_id.as_uuid()).fetch_optional(&self.pool).await?;
        row.as_ref().map(reservation).transpose()
    }
}

fn stock_level(row: &PgRow) -> Result<StockLevel, sqlx::Error> {
    let state = StockState {
        received: row.try_get("received")?,
        restocked: row.try_get("restocked")?,
        adjusted: row.try_get("adjusted")?,
        reserved: row.try_get("reserved")?,
        committed: row.try_get("committed")?,
        shortfall_open: row.try_get("shortfall_open")?,
    };
    Ok(StockLevel {
        sku: Sku::parse(row.try_get("sku")?).map_err(undecodable)?,
        state,
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        updated_at: row.try_get("updated_at")?,
    })
}

fn reservation(row: &PgRow) -> Result<ReservationView, sqlx::Error> {
    let status: &str = row.try_get("status")?;
    let known = ReservationStatus::from_name(status);
    Ok(ReservationView {
        order_id: row.try_get::<Uuid, _>("order_id")?.into(),
        status: known.ok_or_else(|| undecodable(UnknownStatus(status.to_owned())))?,
        lines: row.try_get::<Json<_>, _>("lines")?.0,
        expires_at: row.try_get("expires_at")?,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("a reservation has the unknown status {0}")]
struct UnknownStatus(String);

fn undecodable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
