//! The whole catalogue as it was at one moment, for `shop export`. It is read page by page in one transaction, which sees
//! nothing of what is changed meanwhile; how long that may last and how many do it at once is bounded, since the database
//! cannot clean up behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventsourcing::rebuild::NO_SWITCH;
use eventsourcing::{EventLog, NotReached, Position};
use sqlx::{Postgres, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::queries::{Queries, products_by_id};
use super::views::ProductView;

/// Exports at a time: each holds a connection.
const AT_ONCE: usize = 2;
/// Products of one page.
const PAGE: i64 = 500;
/// A page ends before it becomes larger than this, unless it is a single product.
const MAX_PAGE_BYTES: i64 = 1024 * 1024;
/// An export that takes longer is broken off: no rebuilt model takes the place of the one it reads meanwhile.
const MAX_DURATION: Duration = Duration::from_secs(10 * 60);
/// How long the reader may take for a page; PostgreSQL ends the transaction then.
const SET_PATIENCE: &str = "SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// Makes exports.
#[derive(Clone)]
pub struct Exports {
    log: EventLog,
    queries: Queries,
    slots: Arc<Semaphore>,
}

/// Why there is no export, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("at most {AT_ONCE} exports can be made at a time")]
    TooMany,
    #[error("the read model is too far behind the log")]
    Behind(#[from] NotReached),
    #[error("an export takes at most {} minutes", MAX_DURATION.as_secs() / 60)]
    TooLong,
    #[error(transparent)]
    Read(#[from] sqlx::Error),
}

/// The catalogue at one moment.
pub struct Export {
    /// How far the log had come then.
    pub position: Position,
    /// Products in all pages.
    pub products: i64,
    transaction: Transaction<'static, Postgres>,
    after: String,
    begun: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Exports {
    pub fn new(log: EventLog, queries: Queries) -> Self {
        Self { log, queries, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The catalogue with everything that is in the log now. Waits `patience` for the read model.
    pub async fn begin(&self, patience: Duration) -> Result<Export, ExportError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| ExportError::TooMany)?;
        let head = self.log.head().await?;
        let read_model = self.queries.read_model();
        read_model.wait_for(&self.log.position(head), patience).await?;
        let mut transaction =
            self.log.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        sqlx::query(NO_SWITCH).execute(&mut *transaction).await?;
        sqlx::query(SET_PATIENCE).execute(&mut *transaction).await?;
        // The read model's checkpoint moves with its tables. Behind it up to the head there is nothing for it.
        let checkpoint: Option<i64> = sqlx::query_scalar(
            "SELECT position FROM eventsourcing.checkpoints WHERE subscription = $1 AND log = $2",
        )
        .bind(read_model.status().name)
        .bind(self.log.name())
        .fetch_optional(&mut *transaction)
        .await?;
        let products =
            sqlx::query_scalar("SELECT count(*) FROM products").fetch_one(&mut *transaction).await?;
        Ok(Export {
            position: self.log.position(checkpoint.unwrap_or_default().max(head)),
            products,
            transaction,
            after: String::new(),
            begun: Instant::now(),
            _slot: slot,
        })
    }
}

impl Export {
    /// The next products in the order of their handles; none when there are no more.
    pub async fn next(&mut self) -> Result<Vec<ProductView>, ExportError> {
        if self.begun.elapsed() > MAX_DURATION {
            return Err(ExportError::TooLong);
        }
        let found: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT product_id, (octet_length(description) + variant_count * 256)::bigint \
               FROM products WHERE handle > $1 ORDER BY handle LIMIT $2",
        )
        .bind(&self.after)
        .bind(PAGE)
        .fetch_all(&mut *self.transaction)
        .await?;
        let mut bytes = 0;
        let fitting = found.iter().take_while(|(_, weight)| {
            let first = bytes == 0;
            bytes += (*weight).max(1);
            first || bytes <= MAX_PAGE_BYTES
        });
        let ids: Vec<Uuid> = fitting.map(|(id, _)| *id).collect();
        let mut products = products_by_id(&mut *self.transaction, &ids).await?;
        // As the table has it: byte by byte.
        products.sort_by(|a, b| a.handle.cmp(&b.handle));
        if let Some(last) = products.last() {
            self.after = last.handle.to_string();
        }
        Ok(products)
    }
}
