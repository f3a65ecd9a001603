//! Turns every intent into a task for the worker that calls the provider. The event's id becomes the task's,
//! and so the idempotency key: an intent is one call, however often it is scheduled or carried out.

use eventsourcing::tasks::{NewTask, TaskQueue};
use eventsourcing::{
    EventLog, Feed, FeedError, HandlerError, Message, Page, Place, Projection, RecordedEvent,
};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use tokio::sync::watch;

use super::order_of;
use crate::application::{Action, ProviderCall};
use crate::domain::{Payment, PaymentEvent};

/// The payments' log without what leads to no call: half of all events, which would cost the projection a
/// transaction each where an order waits for the next.
pub struct Intents(pub EventLog);

impl Feed for Intents {
    type Message = RecordedEvent;

    fn log(&self) -> &str {
        Feed::log(&self.0)
    }

    fn incarnation(&self) -> i32 {
        Feed::incarnation(&self.0)
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<RecordedEvent>, FeedError>> {
        Box::pin(async move {
            let mut page = Feed::read(&self.0, partition, after, limit).await?;
            // What cannot be read is not passed over: the projection says what is wrong with it.
            page.messages.retain(|recorded| !matches!(call(recorded), Ok(None)));
            Ok(page)
        })
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.0.newest(partition)
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.0.watch_head()
    }
}

/// The projection.
pub struct ScheduleProviderCalls {
    pub queue: TaskQueue,
}

impl Projection for ScheduleProviderCalls {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "payment.provider-calls"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(recorded)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let calls: Result<Vec<_>, _> =
            page.iter().filter_map(|recorded| call(recorded).transpose()).collect();
        self.queue.schedule(connection, &calls?).await?;
        Ok(())
    }

    fn committed(&self) {
        self.queue.committed();
    }
}

/// The task for an intent; `None` for an event that is none.
fn call(recorded: &RecordedEvent) -> Result<Option<NewTask>, HandlerError> {
    let Some(action) = recorded.decode::<Payment>()?.and_then(action_of) else { return Ok(None) };
    let call = ProviderCall { order_id: order_of(recorded)?, action, started_at: recorded.recorded_at };
    let payload = serde_json::to_value(&call)
        .map_err(|error| HandlerError::Poison(format!("a call cannot be written down: {error}")))?;
    Ok(Some(NewTask {
        id: recorded.event_id,
        key: recorded.stream_id.as_str().to_owned(),
        payload,
        metadata: Message::metadata(recorded),
        due_at: recorded.recorded_at,
    }))
}

/// What the provider is to do because of an event; `None` for all but intents.
pub fn action_of(event: PaymentEvent) -> Option<Action> {
    match event {
        PaymentEvent::AuthorizationStarted { amount, payment_token } => {
            Some(Action::Authorize { amount, payment_token })
        }
        PaymentEvent::CaptureStarted { amount, provider_reference } => {
            Some(Action::Capture { amount, provider_reference })
        }
        PaymentEvent::VoidStarted { provider_reference } => Some(Action::Void { provider_reference }),
        PaymentEvent::RefundStarted { refund_id, amount, provider_reference, .. } => {
            Some(Action::Refund { refund_id, amount, provider_reference })
        }
        PaymentEvent::AuthorizationRefused { .. }
        | PaymentEvent::Authorized { .. }
        | PaymentEvent::Declined { .. }
        | PaymentEvent::CaptureRefused { .. }
        | PaymentEvent::Captured { .. }
        | PaymentEvent::CaptureFailed { .. }
        | PaymentEvent::VoidRequested {}
        | PaymentEvent::Voided {}
        | PaymentEvent::RefundRefused { .. }
        | PaymentEvent::Refunded { .. }
        | PaymentEvent::RefundFailed { .. }
        | PaymentEvent::OutcomeUnknown { .. }
        | PaymentEvent::AnswerRepeated { .. } => None,
    }
}
