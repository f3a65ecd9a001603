//! Payments as use cases: put a command to one, look at one, list them. Looking reads the read model, which
//! follows the log; a caller that must see its own write waits for its position first.

use chrono::{DateTime, Utc};
use eventsourcing::{
    CommandContext, CommandProcessor, Committed, ExecuteError, Halt, Operation, StreamId, View,
};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

use crate::domain::payment::Status;
use crate::domain::{OrderId, Payment, PaymentCommand, PaymentError};

/// A cheap handle to all payments.
#[derive(Clone)]
pub struct Payments {
    processor: CommandProcessor,
    pool: PgPool,
}

/// A command to a payment. It answers with the stream's version afterwards.
struct Tell {
    stream: StreamId,
    command: PaymentCommand,
}

impl Operation for Tell {
    type Reply = u64;
    type Rejection = PaymentError;

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<PaymentError>> {
        if matches!(self.command, PaymentCommand::Authorize { .. }) {
            // A payment begins with this, unless its cancellation overtook it.
            view.presume_new::<Payment>(&self.stream);
        }
        view.decide::<Payment>(&self.stream, &self.command)
    }
}

/// A payment as people see it. Amounts are in `currency`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentView {
    pub order_id: OrderId,
    /// The stream's version that it shows.
    pub version: u64,
    pub status: Status,
    pub currency: Option<String>,
    pub amount: Option<i64>,
    pub captured: Option<i64>,
    pub refunded: Option<i64>,
    pub reason: Option<String>,
    pub provider_reference: Option<String>,
    pub refunds: Vec<ListedRefund>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A refund of a payment, in the payment's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRefund {
    pub refund_id: String,
    pub amount: Option<i64>,
    pub reason: String,
    pub status: RefundState,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    Pending,
    Succeeded,
    Failed,
}

impl RefundState {
    /// Its name, as it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Result<Self, sqlx::Error> {
        let all = [Self::Pending, Self::Succeeded, Self::Failed];
        all.into_iter().find(|state| state.name() == name).ok_or_else(|| unknown_name("refund", name))
    }
}

fn unknown_name(of: &str, name: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("no status of a {of}: {name}").into())
}

const SELECT: &str = "SELECT order_id, version, status, currency, amount, captured, refunded, reason, \
                      provider_reference, created_at, updated_at FROM payments";

impl Payments {
    pub fn new(processor: CommandProcessor) -> Self {
        let pool = processor.log().pool().clone();
        Self { processor, pool }
    }

    /// Puts a command to the payment of an order. The reply is the stream's version afterwards.
    pub async fn execute(
        &self,
        order_id: OrderId,
        command: PaymentCommand,
        context: CommandContext,
    ) -> Result<Committed<u64>, ExecuteError<PaymentError>> {
        self.processor.execute(Tell { stream: StreamId::of::<Payment>(order_id), command }, context).await
    }

    /// The payment of an order.
    pub async fn find(&self, order_id: OrderId) -> Result<Option<PaymentView>, sqlx::Error> {
        let sql = format!("{SELECT} WHERE order_id = $1 AND status IS NOT NULL");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(order_id.0).fetch_optional(&self.pool).await?;
        let mut found: Vec<_> = row.as_ref().map(view).transpose()?.into_iter().collect();
        self.add_refunds(&mut found).await?;
        Ok(found.pop())
    }

    /// Payments, newest first: of one status or of all, after the one that was begun at this time for this
    /// order.
    pub async fn list(
        &self,
        status: Option<Status>,
        after: Option<(DateTime<Utc>, OrderId)>,
        limit: u32,
    ) -> Result<Vec<PaymentView>, sqlx::Error> {
        let by_status =
            if status.is_some() { "status = $1" } else { "$1::text IS NULL AND status IS NOT NULL" };
        let sql = format!(
            "{SELECT} WHERE {by_status} AND ($2::timestamptz IS NULL OR (created_at, order_id) < ($2, $3)) \
              ORDER BY created_at DESC, order_id DESC LIMIT $4"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(status.map(Status::name))
            .bind(after.map(|(created_at, _)| created_at))
            .bind(after.map(|(_, order_id)| order_id.0))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let mut found = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
        self.add_refunds(&mut found).await?;
        Ok(found)
    }

    async fn add_refunds(&self, payments: &mut [PaymentView]) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = payments.iter().map(|payment| payment.order_id.0).collect();
        let rows = sqlx::query(
            "SELECT order_id, refund_id, amount, reason, status FROM refunds WHERE order_id = ANY($1) \
              ORDER BY order_id, requested_at, refund_id",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let order_id = OrderId(row.try_get(0)?);
            let refund = ListedRefund {
                refund_id: row.try_get(1)?,
                amount: row.try_get(2)?,
                reason: row.try_get(3)?,
                status: RefundState::from_name(row.try_get(4)?)?,
            };
            let payment = payments.iter_mut().find(|payment| payment.order_id == order_id);
            payment.into_iter().for_each(|payment| payment.refunds.push(refund.clone()));
        }
        Ok(())
    }
}

fn view(row: &PgRow) -> Result<PaymentView, sqlx::Error> {
    let status = row.try_get(2)?;
    Ok(PaymentView {
        order_id: OrderId(row.try_get(0)?),
        version: row.try_get::<i64, _>(1)? as u64,
        status: Status::from_name(status).ok_or_else(|| unknown_name("payment", status))?,
        currency: row.try_get(3)?,
        amount: row.try_get(4)?,
        captured: row.try_get(5)?,
        refunded: row.try_get(6)?,
        reason: row.try_get(7)?,
        provider_reference: row.try_get(8)?,
        refunds: Vec::new(),
        created_at: row.try_get(9)?,
        updated_at: row.try_get(10)?,
    })
}
