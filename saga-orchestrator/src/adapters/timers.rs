//! The deadlines of open steps, as durable timers. They are a projection of the sagas' events: a request sets one, and
//! takes the one before it back. A timer that fires too late changes nothing, since it carries step and attempt.

use chrono::{DateTime, Utc};
use eventsourcing::tasks::timers::{self, Set, Timing};
use eventsourcing::tasks::{Task, TaskHandler, TaskOutcome};
use eventsourcing::{HandlerError, RecordedEvent, StreamId};

use super::event_of;
use crate::application::{SagaId, Sagas};
use crate::domain::{Awaiting, Event, Step, Timer};

/// The timers' queue.
pub const QUEUE: &str = "saga.timers";

/// A timer's key is the saga's stream, its payload the [`Timer`].
pub struct SagaTiming;

impl Timing for SagaTiming {
    const NAME: &'static str = "saga.timers";

    fn of(recorded: &RecordedEvent) -> Result<Vec<(String, Set)>, HandlerError> {
        let Some(event) = event_of(recorded)? else { return Ok(Vec::new()) };
        let set = match deadline(&event) {
            Deadline::Unchanged => return Ok(Vec::new()),
            Deadline::None => Set::Back,
            Deadline::At(due_at, timer) => {
                let timer = serde_json::to_value(timer);
                Set::At(due_at, timer.map_err(|error| HandlerError::Poison(error.to_string()))?)
            }
        };
        Ok(vec![(recorded.stream_id.to_string(), set)])
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
                timers::retry(&error, task.attempts)
            }
        }
    }
}
