//! Sagas, from the orchestrator's log. The lines and tokens that they carry are not kept.

use eventsourcing::RecordedEvent;
use saga_orchestrator::domain::{Event, Kind, Saga, Status, Step};
use uuid::Uuid;

use super::Keyed;

/// The projection behind `sagas`.
pub const READ_MODEL: &str = "saga.read-model";
/// The projection that sets sagas' deadlines, and their queue.
pub const TIMERS: &str = "saga.timers";

/// Names a saga.
pub type SagaKey = (Kind, Uuid);

/// All sagas.
pub struct Sagas {
    pub known: Keyed<SagaKey, SagaFacts>,
}

/// One saga.
#[derive(Clone, Default)]
pub struct SagaFacts {
    pub saga: Saga,
    pub version: u64,
    /// Position of its newest event.
    pub last: i64,
    /// Steps that a person did by hand: what became of them is not in the participants' logs.
    pub skipped: Vec<Step>,
}

impl Sagas {
    pub fn new(checkpoint: i64) -> Self {
        Self { known: Keyed::new(checkpoint) }
    }

    pub fn see(&mut self, event: &RecordedEvent, kind: Kind, order: Uuid, happened: &Event) {
        let facts = self.known.at((kind, order), event.position);
        if let Event::StepSkipped { step, .. } = happened {
            facts.skipped.push(*step);
        }
        facts.saga = std::mem::take(&mut facts.saga).evolve(happened);
        if let Some(subject) = &mut facts.saga.subject {
            subject.lines = Vec::new();
            subject.payment_token = String::new();
        }
        facts.version = event.version;
        facts.last = event.position;
    }

    pub fn get(&self, kind: Kind, order: Uuid) -> Option<&SagaFacts> {
        self.known.get(&(kind, order))
    }
}

impl SagaFacts {
    /// Nothing is waited for.
    pub fn is_ended(&self) -> bool {
        matches!(self.saga.status(), Some(Status::Completed | Status::Compensated))
    }

    pub fn is_stuck(&self) -> bool {
        self.saga.status() == Some(Status::Stuck)
    }
}

/// The stream of a saga.
pub fn stream(key: SagaKey) -> String {
    match key {
        (Kind::Checkout, order) => format!("checkout-{order}"),
        (Kind::Cancellation, order) => format!("cancellation-{order}"),
    }
}
