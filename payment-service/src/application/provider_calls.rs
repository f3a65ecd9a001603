//! The calls to the provider: a leased worker takes what was intended, calls outside of any transaction, and
//! reports what the provider did. While that is unknown it keeps asking, ever more rarely and without end:
//! nothing else may happen to the payment before it is definite.

use std::future::Future;
use std::time::Duration;

use chrono::Utc;
use eventsourcing::tasks::{Task, TaskHandler, TaskOptions, TaskOutcome};
use eventsourcing::{ExecuteError, fault};
use uuid::Uuid;

use super::payments::Payments;
use super::provider::{CallError, Found, Outcome, PaymentProvider, ProviderCall};
use crate::domain::payment::PaymentCommand;

/// The queue of calls. One task for each intent, its id the idempotency key.
pub const QUEUE: &str = "payment.provider-calls";

/// Ordinals of the commands that a task issues: each gets one durable answer.
const REPORT_UNKNOWN: u32 = 0;
const REPORT_OUTCOME: u32 = 1;

/// Time for storing what a call led to, beyond the calls themselves.
const REPORT_TIME: Duration = Duration::from_secs(15);

/// Limits of the calls to the provider.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// How long the provider may take to answer before the outcome counts as unknown.
    pub timeout: Duration,
    /// The pause after the first failure. It doubles up to `longest_pause`, and each is spread by a half.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// Attempts after which a person has to look. Asking goes on, with `slow_pause` in between.
    pub budget: i32,
    pub slow_pause: Duration,
    /// How long the provider remembers an idempotency key. An older call is not sent again, only asked about.
    pub key_lifetime: Duration,
    /// Calls that run at the same time.
    pub concurrency: usize,
}

impl CallOptions {
    /// Above what a healthy provider needs by far.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    pub const FIRST_PAUSE: Duration = Duration::from_millis(500);
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);
    /// With the pauses above, about a quarter of an hour.
    pub const BUDGET: i32 = 20;
    pub const SLOW_PAUSE: Duration = Duration::from_secs(15 * 60);
    /// The shortest time for which a provider keeps keys, as far as we know of.
    pub const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
    pub const CONCURRENCY: usize = 64;

    /// What the worker of the queue needs to know. A call belongs to the worker that took it for as long as the timeouts
    /// may take; after a crash another takes it then.
    pub fn task_options(&self) -> TaskOptions {
        TaskOptions { concurrency: self.concurrency, lease: self.timeout * 2 + REPORT_TIME }
    }

    /// The pause after this many attempts; `chance` is from 0 to 1.
    fn pause(&self, attempts: i32, chance: f64) -> Duration {
        let doublings = attempts.clamp(1, 31) as u32 - 1;
        let pause = match attempts > self.budget {
            true => self.slow_pause,
            false => self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause),
        };
        pause.mul_f64(0.5 + chance / 2.0)
    }

    async fn limit<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Unknown(format!("nothing came within {:?}", self.timeout))),
        }
    }

    fn is_key_good(&self, call: &ProviderCall) -> bool {
        let age = (Utc::now() - call.started_at).to_std().unwrap_or_default();
        age < self.key_lifetime
    }
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            timeout: Self::TIMEOUT,
            first_pause: Self::FIRST_PAUSE,
            longest_pause: Self::LONGEST_PAUSE,
            budget: Self::BUDGET,
            slow_pause: Self::SLOW_PAUSE,
            key_lifetime: Self::KEY_LIFETIME,
            concurrency: Self::CONCURRENCY,
        }
    }
}

/// The worker's hands.
pub struct ProviderCalls<P> {
    pub provider: P,
    pub payments: Payments,
    pub options: CallOptions,
}

impl<P: PaymentProvider> TaskHandler for ProviderCalls<P> {
    async fn run(&self, task: &Task) -> TaskOutcome {
        let call: ProviderCall = match serde_json::from_value(task.payload.clone()) {
            Ok(call) => call,
            Err(error) => return self.later(task, format!("the task cannot be read: {error}")),
        };
        let operation = call.action.call().operation();
        fault::point("outside.before");
        let consulted = consult(&self.provider, &self.options, &call, task.id, task.attempts).await;
        fault::point("outside.after");
        let result = match &consulted {
            Ok(_) => "definite",
            Err(CallError::NotDone(_)) => "not_done",
            Err(CallError::Unknown(_)) => "unknown",
        };
        metrics::counter!("payment_provider_calls_total", "operation" => operation, "result" => result)
            .increment(1);
        match consulted {
            Ok(outcome) => self.report(task, &call, outcome).await,
            Err(error) => self.report_unknown(task, &call, error).await,
        }
    }
}

/// Finds out what the provider did, or has it do it. `attempts` counts this one too.
///
/// The first attempt calls. Every later one asks first, for the attempt before may have been sent and never
/// answered, by a worker that is gone now; only what never arrived is sent again, under the same key.
pub async fn consult<P: PaymentProvider>(
    provider: &P,
    options: &CallOptions,
    call: &ProviderCall,
    idempotency_key: Uuid,
    attempts: i32,
) -> Result<Outcome, CallError> {
    if attempts <= 1 {
        return options.limit(provider.perform(call, idempotency_key)).await;
    }
    match options.limit(provider.ask(call)).await {
        Ok(Found::Definite(outcome)) => Ok(outcome),
        Ok(Found::Pending) => Err(CallError::Unknown("it is not decided there yet".into())),
        Ok(Found::Nothing) if options.is_key_good(call) => {
            options.limit(provider.perform(call, idempotency_key)).await
        }
        Ok(Found::Nothing) => {
            Err(CallError::Unknown("it is not known there, and too old to be sent again".into()))
        }
        Err(CallError::NotDone(error) | CallError::Unknown(error)) => Err(CallError::Unknown(error)),
    }
}

impl<P: PaymentProvider> ProviderCalls<P> {
    async fn report(&self, task: &Task, call: &ProviderCall, outcome: Outcome) -> TaskOutcome {
        let context = task.context(REPORT_OUTCOME);
        match self.payments.execute(call.order_id, outcome.record(), context).await {
            Ok(_) => TaskOutcome::Done,
            Err(ExecuteError::Rejected { rejection, .. }) => {
                // What was recorded first stands, and was told; only a person can find out which is true.
                tracing::error!(order_id = %call.order_id, operation = call.action.call().operation(),
                    error = %rejection, "the provider's answer does not fit what is recorded");
                metrics::counter!("payment_provider_contradictions_total").increment(1);
                TaskOutcome::Done
            }
            Err(error) => self.later(task, error.to_string()),
        }
    }

    async fn report_unknown(&self, task: &Task, call: &ProviderCall, error: CallError) -> TaskOutcome {
        let operation = call.action.call().operation();
        tracing::warn!(order_id = %call.order_id, operation, attempt = task.attempts, %error,
            "a call to the payment provider has no outcome yet");
        if task.attempts == self.options.budget + 1 {
            tracing::error!(order_id = %call.order_id, operation,
                "a payment stays unknown: look it up at the provider; it is asked on, rarely");
            metrics::counter!("payment_provider_budgets_exhausted_total", "operation" => operation)
                .increment(1);
        }
        if matches!(error, CallError::Unknown(_)) {
            let unknown = PaymentCommand::RecordOutcomeUnknown { call: call.action.call() };
            let context = task.context(REPORT_UNKNOWN);
            if let Err(error) = self.payments.execute(call.order_id, unknown, context).await {
                tracing::warn!(order_id = %call.order_id, %error, "an unknown outcome could not be recorded");
            }
        }
        self.later(task, error.to_string())
    }

    fn later(&self, task: &Task, error: String) -> TaskOutcome {
        TaskOutcome::Retry { after: self.options.pause(task.attempts, rand::random()), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_then_stay_long_and_become_slow_beyond_the_budget() {
        let options = CallOptions::default();
        let seconds = |attempts| options.pause(attempts, 1.0).as_secs_f64();
        assert_eq!([seconds(1), seconds(2), seconds(3)], [0.5, 1.0, 2.0]);
        assert_eq!(seconds(CallOptions::BUDGET), CallOptions::LONGEST_PAUSE.as_secs_f64());
        assert_eq!(seconds(CallOptions::BUDGET + 1), CallOptions::SLOW_PAUSE.as_secs_f64());
        assert_eq!(seconds(i32::MAX), CallOptions::SLOW_PAUSE.as_secs_f64());
        assert_eq!(options.pause(1, 0.0), CallOptions::FIRST_PAUSE / 2, "half of a pause is chance");
    }

    #[test]
    fn a_lease_is_longer_than_asking_and_calling_may_take() {
        let options = CallOptions::default();
        assert!(options.task_options().lease > options.timeout * 2 + Duration::from_secs(2));
    }
}
