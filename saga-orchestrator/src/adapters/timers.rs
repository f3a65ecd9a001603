//! The deadlines of open steps, as durable timers. They are a projection of the sagas' events: a request sets one, and
//! takes the one before it back. A timer that fires too late changes nothing, since it carries step and attempt.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::tasks::{self, NewTask, Task, TaskHandler, TaskOutcome, TaskQueue};
use eventsourcing::{HandlerError, Message, Projection, RecordedEvent, StreamId};
use sqlx::PgConnection;

use super::event_of;
use crate::application::{SagaId, Sagas};
use crate::domain::{Awaiting, Event, Step, Timer};

/// The timers' queue.
pub const QUEUE: &str = "saga.timers";

/// How long timers wait for others to be set with. Deadlines are seconds away, and a saga that comes on before
/// that has no timer to set.
pub const LINGER: Duration = Duration::from_millis(200);
/// First pause after a failed run; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps the timers in step with the log.
pub struct SagaTimers {
    pub queue: TaskQueue,
}

impl Projection for SagaTimers {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "saga.timers"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    /// Only the last deadline of a saga needs to be set.
    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut timers: HashMap<String, Option<NewTask>> = HashMap::new();
        for recorded in page {
            let Some(event) = event_of(recorded)? else { continue };
            let timer = match deadline(&event) {
                Deadline::Unchanged => continue,
                Deadline::None => None,
                Deadline::At(due_at, timer) => Some(task(recorded, timer, due_at)?),
            };
            timers.insert(recorded.stream_id.to_string(), timer);
        }
        let (keys, tasks): (Vec<String>, Vec<Option<NewTask>>) = timers.into_iter().unzip();
        let tasks: Vec<NewTask> = tasks.into_iter().flatten().collect();
        self.queue.replace(connection, &keys, &tasks).await?;
        Ok(())
    }

    fn committed(&self) {
        self.queue.committed();
    }
}

/// What an event means for the timer of its saga; there is one at most.
pub enum Deadline {
    At(DateTime<Utc>, Timer),
    None,
    /// Nothing, or another event follows in the same append that says.
    Unchanged,
}

/// The deadline that an event sets or takes back.
pub fn deadline(event: &Event) -> Deadline {
    match event {
        Event::StepRequested { request, attempt, answer_by, .. } => {
            let timer = Timer { step: request.step(), attempt: *attempt, awaiting: Awaiting::Answer };
            Deadline::At(*answer_by, timer)
        }
        Event::OutcomeUnknown { step, attempt, answer_by } => {
            let timer = Timer { step: *step, attempt: *attempt, awaiting: Awaiting::Outcome };
            Deadline::At(*answer_by, timer)
        }
        Event::RefundRefused { attempt, again_at, .. } => {
            let step = Step::RefundPayment;
            Deadline::At(*again_at, Timer { step, attempt: *attempt, awaiting: Awaiting::Answer })
        }
        Event::SagaStuck { .. } | Event::SagaEnded { .. } => Deadline::None,
        Event::CheckoutStarted { .. }
        | Event::CancellationStarted { .. }
        | Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepSkipped { .. }
        | Event::CancellationNoted { .. }
        | Event::TurnedBack { .. }
        | Event::CaptureTurnedOutLate {} => Deadline::Unchanged,
    }
}

fn task(recorded: &RecordedEvent, timer: Timer, due_at: DateTime<Utc>) -> Result<NewTask, HandlerError> {
    let payload = serde_json::to_value(timer).map_err(|error| HandlerError::Poison(error.to_string()))?;
    Ok(NewTask {
        id: recorded.event_id,
        key: recorded.stream_id.as_str().to_owned(),
        payload,
        metadata: recorded.metadata(),
        due_at,
    })
}

/// Tells a saga that its deadline has passed.
pub struct FireTimers {
    sagas: Sagas,
}

impl FireTimers {
    /// A timer is one command.
    const COMMAND: u32 = 0;

    pub fn new(sagas: Sagas) -> Self {
        Self { sagas }
    }

    async fn fire(&self, task: &Task) -> Result<(), HandlerError> {
        let timer: Timer = serde_json::from_value(task.payload.clone())
            .map_err(|error| HandlerError::Poison(format!("a timer's payload: {error}")))?;
        let saga = SagaId::of_stream(&StreamId::from_name(task.key.as_str()))
            .ok_or_else(|| HandlerError::Poison("a timer's key names no saga".to_owned()))?;
        self.sagas.fire(saga, timer, task.context(Self::COMMAND)).await?;
        Ok(())
    }
}

impl TaskHandler for FireTimers {
    async fn run(&self, task: &Task) -> TaskOutcome {
        match self.fire(task).await {
            Ok(()) => TaskOutcome::Done,
            Err(error) => {
                tracing::warn!(timer = %task.id, saga = task.key, %error, "a timer could not fire and is tried again");
                tasks::retry(&error, task.attempts, FIRST_PAUSE, LONGEST_PAUSE)
            }
        }
    }
}
