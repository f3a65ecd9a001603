//! A payment provider that is not there: scripted by the payment token, so that every turn a real one can take
//! happens on demand. It behaves like a remote system with a memory of its own, which survives restarts and
//! remembers idempotency keys. No money moves: whoever runs it gives goods away.

mod memory;
mod script;

pub use script::Script;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::application::{Action, CallError, Found, Notification, Outcome, PaymentProvider, ProviderCall};
use crate::domain::OrderId;
use script::{Answering, Behaviour, Webhooks};

/// How the simulator takes its time.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// How long an answer takes for `tok_slow`.
    pub slow: Duration,
    /// How often a call is pending when it is asked about, for `tok_unknown_...`.
    pub pending_asks: u32,
    /// How often a call fails before it succeeds, for `tok_error_then_success`.
    pub failures: u32,
    /// Connections to its memory.
    pub max_connections: u32,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self { slow: Duration::from_millis(800), pending_asks: 3, failures: 2, max_connections: 8 }
    }
}

/// The simulated provider.
pub struct Simulator {
    memory: PgPool,
    options: SimulatorOptions,
    notifications: mpsc::Sender<Notification>,
}

impl Simulator {
    /// Connects to its memory. Notifications go to `notifications`; what nobody takes is lost, as in reality.
    pub async fn connect(
        database_url: &str,
        options: SimulatorOptions,
        notifications: mpsc::Sender<Notification>,
    ) -> Result<Self, sqlx::Error> {
        let connect = PgConnectOptions::from_str(database_url)?.application_name("payment-simulator");
        let pool =
            PgPoolOptions::new().max_connections(options.max_connections).connect_with(connect).await?;
        Ok(Self { memory: pool, options, notifications })
    }

    fn behaviour(&self, token: &str, action: &Action) -> Behaviour {
        Script::of(token, &self.options).behaviour(action)
    }

    async fn notify(&self, call: &ProviderCall, key: Uuid, token: &str, outcome: &Outcome) {
        let notification = Notification { id: key, order_id: call.order_id, outcome: outcome.clone() };
        match Script::of(token, &self.options).webhooks {
            Webhooks::Lost => {}
            Webhooks::Twice => {
                self.deliver(notification.clone());
                self.deliver(notification);
            }
            // The news of the authorization waits until there is newer news.
            Webhooks::Reordered if matches!(call.action, Action::Authorize { .. }) => {}
            Webhooks::Reordered => {
                self.deliver(notification);
                let earlier = memory::authorization_of(&self.memory, call.order_id).await;
                if let Ok(Some((id, outcome))) = earlier {
                    self.deliver(Notification { id, order_id: call.order_id, outcome });
                }
            }
        }
    }

    fn deliver(&self, notification: Notification) {
        let OrderId(order_id) = notification.order_id;
        if self.notifications.try_send(notification).is_err() {
            tracing::debug!(%order_id, "a notification found nobody who takes it");
        }
    }
}

impl PaymentProvider for Simulator {
    async fn perform(&self, call: &ProviderCall, idempotency_key: Uuid) -> Result<Outcome, CallError> {
        let script_of = |token: &str| Script::of(token, &self.options);
        let received = memory::receive(&self.memory, call, idempotency_key, script_of)
            .await
            .map_err(|error| CallError::Unknown(error.to_string()))?;
        let behaviour = self.behaviour(&received.token, &call.action);
        match received.outcome {
            Some(outcome) if received.newly_done => {
                self.notify(call, idempotency_key, &received.token, &outcome).await;
                match behaviour.answering {
                    Answering::Prompt => {}
                    Answering::Slow => tokio::time::sleep(self.options.slow).await,
                    Answering::Never => std::future::pending().await,
                }
                Ok(outcome)
            }
            Some(outcome) => Ok(outcome),
            None if behaviour.is_lost(received.sends) => std::future::pending().await,
            None => Err(CallError::NotDone("500 Internal Server Error".into())),
        }
    }

    async fn ask(&self, call: &ProviderCall) -> Result<Found, CallError> {
        let asked = memory::ask(&self.memory, call).await;
        let asked = asked.map_err(|error| CallError::Unknown(error.to_string()))?;
        Ok(match asked {
            Some(asked) => match asked.outcome {
                Some(_) if asked.asks <= self.behaviour(&asked.token, &call.action).pending_asks => {
                    Found::Pending
                }
                Some(outcome) => Found::Definite(outcome),
                None => Found::Nothing,
            },
            None => Found::Nothing,
        })
    }
}
