//! The machine that drives a saga through its definition: one input, the events it leads to. Whatever it does not
//! expect at this point (a late answer, an outdated timer, a repeat) leads to none.

use super::definition::{Answer, Definition, Failure, Needed, Row};
use super::{
    Awaiting, Command, Event, Input, OpenStep, Outcome, Refusal, Reply, Saga, Start, Step, Subject, Timer,
};

/// Why a saga turned back when somebody wanted the order cancelled.
const CANCELLATION_REQUESTED: &str = "CANCELLATION_REQUESTED";
/// Why a saga turned back when an operator wanted it to. The order is rejected with this reason.
const COMPENSATED_BY_OPERATOR: &str = "COMPENSATED_BY_OPERATOR";
/// Why a saga is stuck: nobody answered within the budget.
const NO_ANSWER: &str = "NO_ANSWER";
/// Why a saga is stuck: the provider did not say what became of a call.
const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// What `command` leads to. `definitions` are all versions of the process, oldest first: a new saga takes the
/// last, a running one keeps its own. The two deciders put their tables here; a search may put others.
pub fn react(
    definitions: &'static [Definition],
    saga: &Saga,
    command: &Command,
) -> Result<Vec<Event>, Refusal> {
    if saga.subject.is_none() {
        return match (&command.input, definitions.last()) {
            (Input::Start(start), Some(newest)) => Ok(Turn::new(newest, saga, command).start(start)),
            (Input::Retry | Input::Skip { .. } | Input::Compensate { .. }, _) => Err(Refusal::NotStarted),
            _ => Ok(Vec::new()),
        };
    }
    let known = definitions.iter().find(|definition| definition.version == saga.definition);
    let definition = known.ok_or(Refusal::UnknownDefinition { version: saga.definition })?;
    let mut turn = Turn::new(definition, saga, command);
    match &command.input {
        Input::Start(_) => {}
        Input::CancellationRequested { reason } => turn.note_cancellation(reason),
        Input::Reply(reply) => turn.take_reply(reply),
        Input::TimerFired(timer) => turn.take_timer(timer),
        Input::Retry => turn.retry()?,
        Input::Skip { reason } => turn.skip(reason)?,
        Input::Compensate { note } => turn.compensate(note)?,
    }
    Ok(turn.events)
}

/// One decision: the state as it becomes, and the events that make it so.
struct Turn<'a> {
    definition: &'static Definition,
    command: &'a Command,
    saga: Saga,
    events: Vec<Event>,
}

impl<'a> Turn<'a> {
    fn new(definition: &'static Definition, saga: &Saga, command: &'a Command) -> Self {
        Self { definition, command, saga: saga.clone(), events: Vec::new() }
    }

    fn emit(&mut self, event: Event) {
        self.saga = std::mem::take(&mut self.saga).evolve(&event);
        self.events.push(event);
    }

    fn start(mut self, start: &Start) -> Vec<Event> {
        let (at, definition) = (self.command.at, self.definition.version);
        let event = match start.clone() {
            Start::Checkout { order_id, lines, total, payment_token } => {
                let reserve_until = self.command.policy.reserve_until(at);
                Event::CheckoutStarted {
                    order_id,
                    lines,
                    total,
                    payment_token,
                    reserve_until,
                    definition,
                    at,
                }
            }
            Start::Cancellation { order_id, total, reason } => {
                Event::CancellationStarted { order_id, total, reason, definition, at }
            }
        };
        self.emit(event);
        self.advance();
        self.events
    }

    /// Opens the next step, or ends the saga when there is none.
    fn advance(&mut self) {
        match self.next() {
            Some(row) => self.send(row, 1, 1),
            None => {
                let undone = self.saga.turned_back.is_some();
                let outcome = if undone { Outcome::Compensated } else { Outcome::Completed };
                self.emit(Event::SagaEnded { outcome });
            }
        }
    }

    fn next(&self) -> Option<&'static Row> {
        let definition = self.definition;
        if self.saga.turned_back.is_none() {
            return definition.forward.iter().find(|row| self.is_due(row));
        }
        let happened =
            |row: &&Row| self.saga.done.contains(&row.step) || self.saga.given_up == Some(row.step);
        let undone = |step: &Step| !self.saga.done.contains(step);
        let compensation =
            definition.forward.iter().rev().filter(happened).filter_map(|row| row.compensation).find(undone);
        match compensation {
            Some(step) => definition.row(step),
            None => definition.ends.iter().find(|row| self.is_due(row)),
        }
    }

    fn is_due(&self, row: &Row) -> bool {
        let needed = match row.needed {
            Needed::Always => true,
            Needed::Paid => self.saga.subject.as_ref().is_some_and(|subject| !subject.total.is_zero()),
            Needed::Undoing => false,
            Needed::LateCapture => self.saga.late_capture,
            Needed::Refused => self.saga.cancellation.is_none(),
            Needed::Cancelled => self.saga.cancellation.is_some(),
        };
        needed && !self.saga.done.contains(&row.step)
    }

    fn send(&mut self, row: &Row, attempt: u32, tries: u32) {
        let Some(subject) = &self.saga.subject else { return };
        let Subject { order_id, .. } = *subject;
        let Command { at, policy, .. } = self.command;
        let answer_by = policy.answer_by(*at, row.deadline, order_id, row.step, attempt, tries);
        let request = self.saga.request(subject, row.step);
        self.emit(Event::StepRequested { request, attempt, tries, answer_by });
    }

    fn open(&self) -> Option<(OpenStep, &'static Row)> {
        let open = self.saga.open.clone()?;
        let row = self.definition.row(open.step)?;
        Some((open, row))
    }

    fn take_reply(&mut self, reply: &Reply) {
        if reply.answer == Answer::PaymentCaptured && self.saga.turned_back.is_some() {
            return self.take_late_capture();
        }
        let Some((open, row)) = self.open() else { return };
        let step = row.step;
        // People refund too. A refund of this saga that succeeds is as good as another, also when it failed at
        // first and a later one is under way; its failure counts once.
        let is_refund = step == Step::RefundPayment;
        let ours = !is_refund || self.saga.asked_for_refund(reply.refund_id);
        let current = !is_refund || reply.refund_id == self.saga.refund_id();
        let reason = reply.detail.clone();
        match row.failure {
            _ if reply.answer == row.success && ours => {
                self.emit(Event::StepSucceeded { step });
                self.advance();
            }
            _ if reply.answer == Answer::PaymentOutcomeUnknown => self.take_unknown(&open, &reply.detail),
            Failure::TurnsBack(failure) if reply.answer == failure => {
                self.emit(Event::StepFailed { step, reason });
                self.advance();
            }
            Failure::IsRetried(failure) if reply.answer == failure && current => {
                let Some(again_at) = self.again_at(&open, row) else { return };
                self.emit(Event::RefundRefused { reason, attempt: open.attempt, again_at });
            }
            _ => {}
        }
    }

    fn again_at(&self, open: &OpenStep, row: &Row) -> Option<chrono::DateTime<chrono::Utc>> {
        let order_id = self.saga.subject.as_ref()?.order_id;
        let Command { at, policy, .. } = self.command;
        Some(policy.answer_by(*at, row.deadline, order_id, row.step, open.attempt, open.tries))
    }

    /// Whatever the saga waits for, this money has to go back, once.
    fn take_late_capture(&mut self) {
        if self.saga.late_capture {
            return;
        }
        self.emit(Event::CaptureTurnedOutLate {});
        if self.saga.open.is_none() {
            self.advance();
        }
    }

    /// The provider is being asked about the open step; a void may also find an earlier call unanswered.
    fn take_unknown(&mut self, open: &OpenStep, operation: &str) {
        let step = open.step;
        let concerns_it = match step.payment_operation() {
            None => false,
            Some(own) => own == operation || step == Step::VoidAuthorization,
        };
        if concerns_it && open.awaiting != Awaiting::Outcome {
            let answer_by = self.command.policy.outcome_by(self.command.at);
            self.emit(Event::OutcomeUnknown { step, attempt: open.attempt, answer_by });
        }
    }

    fn take_timer(&mut self, timer: &Timer) {
        let Some((open, row)) = self.open() else { return };
        let current = Timer { step: open.step, attempt: open.attempt, awaiting: open.awaiting };
        if current != *timer || open.stuck.is_some() {
            return;
        }
        let step = open.step;
        if open.awaiting == Awaiting::Outcome {
            self.emit(Event::SagaStuck { step, reason: OUTCOME_UNKNOWN.to_owned() });
        } else if open.tries >= self.command.policy.attempts {
            let reason = open.refused.unwrap_or_else(|| NO_ANSWER.to_owned());
            self.emit(Event::SagaStuck { step, reason });
        } else {
            self.send(row, open.attempt + 1, open.tries + 1);
        }
    }

    fn note_cancellation(&mut self, reason: &str) {
        if self.saga.cancellation.is_some() {
            return;
        }
        let reason = reason.to_owned();
        match self.saga.open.as_ref().map(|open| open.step) {
            // Confirmed: the cancellation saga takes over.
            None if self.saga.turned_back.is_none() => self.emit(Event::CancellationNoted { reason }),
            None => {}
            Some(_) if self.order_is_being_rejected() => {}
            Some(step) => {
                self.emit(Event::CancellationNoted { reason });
                if self.saga.turned_back.is_none() && self.definition.is_before_pivot(step) {
                    self.turn_back(CANCELLATION_REQUESTED, "", None);
                }
            }
        }
    }

    /// The order service was asked to end the order already; a second end would contradict the first.
    fn order_is_being_rejected(&self) -> bool {
        let asked = |step: Step| {
            self.saga.done.contains(&step) || self.saga.open.as_ref().is_some_and(|open| open.step == step)
        };
        self.definition.ends.iter().any(|row| row.needed == Needed::Refused && asked(row.step))
    }

    fn turn_back(&mut self, reason: &str, note: &str, given_up: Option<Step>) {
        let (reason, note) = (reason.to_owned(), note.to_owned());
        self.emit(Event::TurnedBack { reason, note, given_up });
    }

    fn stuck(&self) -> Result<(OpenStep, &'static Row), Refusal> {
        let (open, row) = self.open().ok_or(Refusal::Ended)?;
        if open.stuck.is_some() { Ok((open, row)) } else { Err(Refusal::NotStuck) }
    }

    fn retry(&mut self) -> Result<(), Refusal> {
        let (open, row) = self.stuck()?;
        self.send(row, open.attempt + 1, 1);
        Ok(())
    }

    fn skip(&mut self, reason: &str) -> Result<(), Refusal> {
        let (open, _) = self.stuck()?;
        self.emit(Event::StepSkipped { step: open.step, reason: reason.to_owned() });
        self.advance();
        Ok(())
    }

    /// A saga that goes on waits for the open step's answer, as with a cancellation. One that is stuck would
    /// wait for ever: its step is given up and compensated, which is safe because the participants refuse what
    /// comes after its compensation, and a capture that did happen is told and refunded.
    fn compensate(&mut self, note: &str) -> Result<(), Refusal> {
        let (open, row) = self.open().ok_or(Refusal::Ended)?;
        if !self.definition.is_forward(row.step) {
            return Err(Refusal::AlreadyCompensating);
        }
        if open.stuck.is_some() && matches!(row.failure, Failure::TurnsBack(_)) {
            self.turn_back(COMPENSATED_BY_OPERATOR, note, Some(row.step));
            self.advance();
            return Ok(());
        }
        if self.saga.turned_back.is_some() {
            return Err(Refusal::AlreadyCompensating);
        }
        if !self.definition.is_before_pivot(row.step) {
            return Err(Refusal::PivotPassed);
        }
        self.turn_back(COMPENSATED_BY_OPERATOR, note, None);
        Ok(())
    }
}
