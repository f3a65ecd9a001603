//! What the provider tells by itself. A notification only makes known earlier what asking would find out: it is
//! recorded by the same commands, so it may come twice, late or in another order, and one that is lost is no
//! loss.

use eventsourcing::{CommandContext, ExecuteError, Metadata};
use tokio::sync::mpsc;

use super::payments::Payments;
use super::provider::Notification;
use crate::domain::PaymentError;

/// The scope of the commands that notifications lead to. It never changes.
pub const SCOPE: &str = "payment.provider-webhooks";

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is recorded, now or before.
    Recorded,
    /// It does not fit what is known, and was dropped.
    Dropped(PaymentError),
}

/// Handles one notification.
///
/// # Errors
/// What is worth another delivery: the log is away or full.
pub async fn receive(
    payments: &Payments,
    notification: Notification,
) -> Result<Received, ExecuteError<PaymentError>> {
    let metadata = Metadata {
        correlation_id: notification.order_id.to_string(),
        causation_id: Some(notification.id),
        actor: SCOPE.to_owned(),
        traceparent: None,
    };
    let context = CommandContext::derived(SCOPE, notification.id, 0, metadata);
    match payments.execute(notification.order_id, notification.outcome.record(), context).await {
        Ok(_) => Ok(Received::Recorded),
        Err(ExecuteError::Rejected { rejection, .. }) => Ok(Received::Dropped(rejection)),
        Err(error) => Err(error),
    }
}

/// Handles notifications until there is nobody left who sends any.
pub async fn receive_all(payments: Payments, mut notifications: mpsc::Receiver<Notification>) {
    while let Some(notification) = notifications.recv().await {
        let order_id = notification.order_id;
        match receive(&payments, notification).await {
            Ok(Received::Recorded) => {}
            Ok(Received::Dropped(error)) => {
                tracing::warn!(%order_id, %error, "a notification of the provider does not fit and is dropped");
            }
            Err(error) => {
                tracing::warn!(%order_id, %error, "a notification of the provider is lost; it will be asked");
            }
        }
    }
}
