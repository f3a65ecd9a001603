//! What the simulated provider remembers: payments, and every call that reached it. Receiving a call is one
//! transaction under the lock of its idempotency key, so the same call sent twice at once is done once.

use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::script::{Arrival, Behaviour};
use crate::application::{Action, Outcome, ProviderCall};
use crate::domain::payment::Call;
use crate::domain::{Money, OrderId, ProviderReference, Reason};

/// What became of a call that was sent.
pub(super) struct Received {
    pub token: String,
    pub behaviour: Behaviour,
    pub arrival: Arrival,
    pub outcome: Option<Outcome>,
    /// It was done by this send, and not by one before.
    pub newly_done: bool,
}

/// What is known of a call that is asked about.
pub(super) struct Asked {
    pub token: String,
    /// This time included.
    pub asks: u32,
    pub outcome: Option<Outcome>,
}

/// A payment as the provider knows it.
struct Account {
    reference: String,
    token: String,
    amount: i64,
    status: String,
    refunded: i64,
}

/// Takes a call in: answers a known key as before, does a new one as `behaviour_of` its token says.
pub(super) async fn receive(
    memory: &PgPool,
    call: &ProviderCall,
    key: Uuid,
    behaviour_of: impl Fn(&str) -> Behaviour + Send,
) -> Result<Received, sqlx::Error> {
    let mut transaction = memory.begin().await?;
    let account = account(&mut transaction, &call.action).await?;
    let token = match (&call.action, &account) {
        (Action::Authorize { payment_token, .. }, _) => payment_token.as_str().to_owned(),
        (_, Some(account)) => account.token.clone(),
        (_, None) => String::new(),
    };
    let (sends, known) = register(&mut transaction, call, key, &token).await?;
    let behaviour = behaviour_of(&token);
    let arrival = behaviour.arrival(sends);
    if known.is_some() || arrival != Arrival::Done {
        transaction.commit().await?;
        return Ok(Received { token, behaviour, arrival, outcome: known, newly_done: false });
    }
    let outcome = carry_out(&mut transaction, call, key, &token, account, behaviour.refusal.clone()).await?;
    sqlx::query("UPDATE simulator_calls SET outcome = $2 WHERE idempotency_key = $1")
        .bind(key)
        .bind(Json(&outcome))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Received { token, behaviour, arrival, outcome: Some(outcome), newly_done: true })
}

/// What became of the newest call with this metadata.
pub(super) async fn ask(memory: &PgPool, call: &ProviderCall) -> Result<Option<Asked>, sqlx::Error> {
    let (operation, refund_id) = metadata(&call.action);
    let row = sqlx::query(
        "UPDATE simulator_calls SET asks = asks + 1 \
          WHERE idempotency_key = (SELECT idempotency_key FROM simulator_calls \
                                    WHERE order_id = $1 AND operation = $2 AND refund_id = $3 \
                                    ORDER BY received_at DESC LIMIT 1) \
      RETURNING token, asks, outcome",
    )
    .bind(call.order_id.0)
    .bind(operation)
    .bind(refund_id)
    .fetch_optional(memory)
    .await?;
    row.map(|row| {
        let outcome: Option<Json<Outcome>> = row.try_get(2)?;
        let asks: i32 = row.try_get(1)?;
        Ok(Asked { token: row.try_get(0)?, asks: asks.unsigned_abs(), outcome: outcome.map(|json| json.0) })
    })
    .transpose()
}

/// The key and the outcome of an order's newest authorization.
pub(super) async fn authorization_of(
    memory: &PgPool,
    order_id: OrderId,
) -> Result<Option<(Uuid, Outcome)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT idempotency_key, outcome FROM simulator_calls \
          WHERE order_id = $1 AND operation = 'authorize' AND outcome IS NOT NULL \
          ORDER BY received_at DESC LIMIT 1",
    )
    .bind(order_id.0)
    .fetch_optional(memory)
    .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get::<Json<Outcome>, _>(1)?.0))).transpose()
}

/// Counts a send. Returns how many there were, and the outcome if it is known already.
async fn register(
    connection: &mut PgConnection,
    call: &ProviderCall,
    key: Uuid,
    token: &str,
) -> Result<(u32, Option<Outcome>), sqlx::Error> {
    let (operation, refund_id) = metadata(&call.action);
    let row = sqlx::query(
        "INSERT INTO simulator_calls AS c (idempotency_key, order_id, operation, refund_id, token, amount, sends) \
         VALUES ($1, $2, $3, $4, $5, $6, 1) \
         ON CONFLICT (idempotency_key) DO UPDATE SET sends = c.sends + 1 \
      RETURNING sends, outcome",
    )
    .bind(key)
    .bind(call.order_id.0)
    .bind(operation)
    .bind(refund_id)
    .bind(token)
    .bind(amount(&call.action).map(|amount| amount.minor_units))
    .fetch_one(connection)
    .await?;
    let outcome: Option<Json<Outcome>> = row.try_get(1)?;
    Ok((row.try_get::<i32, _>(0)?.unsigned_abs(), outcome.map(|json| json.0)))
}

async fn account(connection: &mut PgConnection, action: &Action) -> Result<Option<Account>, sqlx::Error> {
    let (Action::Capture { provider_reference, .. }
    | Action::Void { provider_reference }
    | Action::Refund { provider_reference, .. }) = action
    else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT reference, token, amount, status, refunded FROM simulator_payments \
          WHERE reference = $1 FOR UPDATE",
    )
    .bind(&provider_reference.0)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Account {
            reference: row.try_get(0)?,
            token: row.try_get(1)?,
            amount: row.try_get(2)?,
            status: row.try_get(3)?,
            refunded: row.try_get(4)?,
        })
    })
    .transpose()
}

async fn carry_out(
    connection: &mut PgConnection,
    call: &ProviderCall,
    key: Uuid,
    token: &str,
    account: Option<Account>,
    refusal: Option<Reason>,
) -> Result<Outcome, sqlx::Error> {
    match (&call.action, account) {
        (Action::Authorize { amount, .. }, _) => {
            authorize(connection, call.order_id, key, token, *amount, refusal).await
        }
        (Action::Capture { amount, .. }, account) => capture(connection, account, *amount, refusal).await,
        (Action::Void { .. }, account) => void(connection, account).await,
        (Action::Refund { refund_id, amount, .. }, account) => {
            let refund_id = refund_id.clone();
            let reason = refund(connection, account, *amount, refusal).await?;
            Ok(match reason {
                Some(reason) => Outcome::RefundFailed { refund_id, reason },
                None => Outcome::Refunded { refund_id },
            })
        }
    }
}

async fn authorize(
    connection: &mut PgConnection,
    order_id: OrderId,
    key: Uuid,
    token: &str,
    amount: Money,
    refusal: Option<Reason>,
) -> Result<Outcome, sqlx::Error> {
    let reference = format!("sim_{}", key.simple());
    sqlx::query(
        "INSERT INTO simulator_payments (reference, order_id, token, currency, amount, status) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&reference)
    .bind(order_id.0)
    .bind(token)
    .bind(amount.currency.as_str())
    .bind(amount.minor_units)
    .bind(if refusal.is_some() { "declined" } else { "authorized" })
    .execute(connection)
    .await?;
    Ok(match refusal {
        Some(reason) => Outcome::Declined { reason },
        None => Outcome::Authorized { provider_reference: ProviderReference(reference) },
    })
}

async fn capture(
    connection: &mut PgConnection,
    account: Option<Account>,
    amount: Money,
    refusal: Option<Reason>,
) -> Result<Outcome, sqlx::Error> {
    let failed = |code: &str| Ok(Outcome::CaptureFailed { reason: Reason::of(code) });
    match account {
        None => failed("NO_SUCH_PAYMENT"),
        Some(account) if account.status != "authorized" => failed(&format!("PAYMENT_{}", account.status)),
        Some(account) if account.amount != amount.minor_units => failed("AMOUNT_MISMATCH"),
        Some(account) => match refusal {
            Some(reason) => Ok(Outcome::CaptureFailed { reason }),
            None => {
                set_status(connection, &account, "captured").await?;
                Ok(Outcome::Captured)
            }
        },
    }
}

async fn void(connection: &mut PgConnection, account: Option<Account>) -> Result<Outcome, sqlx::Error> {
    match account {
        Some(account) if account.status == "captured" => Ok(Outcome::Captured),
        Some(account) if account.status == "authorized" => {
            set_status(connection, &account, "voided").await?;
            Ok(Outcome::Voided)
        }
        _ => Ok(Outcome::Voided),
    }
}

/// Why the refund is refused; `None` when it is paid.
async fn refund(
    connection: &mut PgConnection,
    account: Option<Account>,
    amount: Money,
    refusal: Option<Reason>,
) -> Result<Option<Reason>, sqlx::Error> {
    let Some(account) = account.filter(|account| account.status == "captured") else {
        return Ok(Some(Reason::of("NOTHING_CAPTURED")));
    };
    if refusal.is_some() {
        return Ok(refusal);
    }
    if amount.minor_units > account.amount - account.refunded {
        return Ok(Some(Reason::of("AMOUNT_EXCEEDS_CAPTURE")));
    }
    sqlx::query("UPDATE simulator_payments SET refunded = refunded + $2 WHERE reference = $1")
        .bind(&account.reference)
        .bind(amount.minor_units)
        .execute(connection)
        .await?;
    Ok(None)
}

async fn set_status(
    connection: &mut PgConnection,
    account: &Account,
    status: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE simulator_payments SET status = $2 WHERE reference = $1")
        .bind(&account.reference)
        .bind(status)
        .execute(connection)
        .await?;
    Ok(())
}

fn metadata(action: &Action) -> (&'static str, String) {
    let call = action.call();
    let refund_id = match &call {
        Call::Refund(refund_id) => refund_id.as_str().to_owned(),
        Call::Authorize | Call::Capture | Call::Void => String::new(),
    };
    (call.operation(), refund_id)
}

fn amount(action: &Action) -> Option<Money> {
    match action {
        Action::Authorize { amount, .. } | Action::Capture { amount, .. } | Action::Refund { amount, .. } => {
            Some(*amount)
        }
        Action::Void { .. } => None,
    }
}
