//! What the simulated provider remembers: payments, and every call that reached it. Receiving a call is one
//! statement, a function in the database: what the token's script makes of it is told with the authorization and
//! remembered with the payment. The rules of the script itself are not here.

use sqlx::types::Json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::script::Script;
use crate::application::{Action, Outcome, ProviderCall};
use crate::domain::payment::Call;
use crate::domain::{Money, OrderId, ProviderReference, Reason};

/// What became of a call that was sent.
pub(super) struct Received {
    pub token: String,
    /// How often it was sent, this time included.
    pub sends: u32,
    /// `None`: nothing was done yet.
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

/// Takes a call in: answers a known key as before, does a new one as the script of its payment says. The script
/// counts when a payment is authorized, and is not asked afterwards.
pub(super) async fn receive(
    memory: &PgPool,
    call: &ProviderCall,
    key: Uuid,
    script_of: impl Fn(&str) -> Script,
) -> Result<Received, sqlx::Error> {
    let (operation, refund_id) = metadata(&call.action);
    let (reference, token) = match &call.action {
        Action::Authorize { payment_token, .. } => (reference(key).0, Some(payment_token.as_str())),
        Action::Capture { provider_reference, .. }
        | Action::Void { provider_reference }
        | Action::Refund { provider_reference, .. } => (provider_reference.0.clone(), None),
    };
    let script = token.map(script_of).filter(|script| !script.is_plain()).map(Json);
    let amount = amount(&call.action);
    let row = sqlx::query(
        "SELECT token, sends, newly_done, outcome, reason \
           FROM simulator_receive($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(key)
    .bind(call.order_id.0)
    .bind(operation)
    .bind(&refund_id)
    .bind(reference)
    .bind(amount.map(|amount| amount.minor_units))
    .bind(amount.map(|amount| amount.currency.as_str().to_owned()))
    .bind(token)
    .bind(script)
    .fetch_one(memory)
    .await?;
    Ok(Received {
        token: row.try_get(0)?,
        sends: row.try_get::<i32, _>(1)?.unsigned_abs(),
        newly_done: row.try_get(2)?,
        outcome: outcome(&call.action, key, row.try_get(3)?, row.try_get(4)?)?,
    })
}

/// What became of the newest call with this metadata.
pub(super) async fn ask(memory: &PgPool, call: &ProviderCall) -> Result<Option<Asked>, sqlx::Error> {
    let (operation, refund_id) = metadata(&call.action);
    let row = sqlx::query(
        "UPDATE simulator_calls SET asks = asks + 1 \
          WHERE idempotency_key = (SELECT idempotency_key FROM simulator_calls \
                                    WHERE order_id = $1 AND operation = $2 AND refund_id = $3 \
                                    ORDER BY received_at DESC LIMIT 1) \
      RETURNING token, asks, idempotency_key, outcome, reason",
    )
    .bind(call.order_id.0)
    .bind(operation)
    .bind(refund_id)
    .fetch_optional(memory)
    .await?;
    row.map(|row| {
        let asks: i32 = row.try_get(1)?;
        let outcome = outcome(&call.action, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?)?;
        Ok(Asked { token: row.try_get(0)?, asks: asks.unsigned_abs(), outcome })
    })
    .transpose()
}

/// The key and the outcome of an order's newest authorization.
pub(super) async fn authorization_of(
    memory: &PgPool,
    order_id: OrderId,
) -> Result<Option<(Uuid, Outcome)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT idempotency_key, reason FROM simulator_calls \
          WHERE order_id = $1 AND operation = 'authorize' AND outcome IS NOT NULL \
          ORDER BY received_at DESC LIMIT 1",
    )
    .bind(order_id.0)
    .fetch_optional(memory)
    .await?;
    row.map(|row| {
        let key: Uuid = row.try_get(0)?;
        let reason: Option<&str> = row.try_get(1)?;
        Ok((key, authorized(key, reason)))
    })
    .transpose()
}

/// The payment that a call under this key opens.
fn reference(key: Uuid) -> ProviderReference {
    ProviderReference(format!("sim_{}", key.simple()))
}

fn authorized(key: Uuid, refusal: Option<&str>) -> Outcome {
    match refusal {
        Some(reason) => Outcome::Declined { reason: Reason::of(reason) },
        None => Outcome::Authorized { provider_reference: reference(key) },
    }
}

/// The stored outcome of a call; `None` when nothing was done.
fn outcome(
    action: &Action,
    key: Uuid,
    name: Option<&str>,
    reason: Option<&str>,
) -> Result<Option<Outcome>, sqlx::Error> {
    let Some(name) = name else { return Ok(None) };
    let refused = || Reason::of(reason.unwrap_or_default());
    Ok(Some(match (action, name) {
        (Action::Authorize { .. }, "authorized" | "declined") => authorized(key, reason),
        (Action::Capture { .. } | Action::Void { .. }, "captured") => Outcome::Captured,
        (Action::Capture { .. }, "capture_failed") => Outcome::CaptureFailed { reason: refused() },
        (Action::Void { .. }, "voided") => Outcome::Voided,
        (Action::Refund { refund_id, .. }, "refunded") => Outcome::Refunded { refund_id: refund_id.clone() },
        (Action::Refund { refund_id, .. }, "refund_failed") => {
            Outcome::RefundFailed { refund_id: refund_id.clone(), reason: refused() }
        }
        _ => {
            return Err(sqlx::Error::Decode(
                format!("the simulator has no outcome {name} of this call").into(),
            ));
        }
    }))
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
