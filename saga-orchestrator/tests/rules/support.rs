//! A sample order, short names for commands and events, and the way to any step.

use chrono::{DateTime, Utc};
use eventsourcing::Decider;
use saga_orchestrator::domain::definition::{CANCELLATION, CHECKOUT};
use saga_orchestrator::domain::*;
use uuid::Uuid;

pub fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub fn policy() -> Policy {
    Policy { attempts: 3, ..Policy::default() }
}

pub fn order_id() -> OrderId {
    OrderId(Uuid::from_u128(0x0190_f3c2_0000_7000_8000_0000_0000_0001))
}

pub fn lines() -> Vec<Line> {
    vec![Line::new("TEE-M", 2).unwrap(), Line::new("CAP", 1).unwrap()]
}

pub fn euros(minor_units: i64) -> Money {
    Money::new("EUR", minor_units).unwrap()
}

pub fn command(input: Input) -> Command {
    Command { at: at(), policy: policy(), input }
}

pub fn start_with(total: Money) -> Command {
    let start =
        Start::Checkout { order_id: order_id(), lines: lines(), total, payment_token: "tok_ok".into() };
    command(Input::Start(start))
}

pub fn start() -> Command {
    start_with(euros(4990))
}

pub fn start_cancellation(total: Money) -> Command {
    let reason = "CHANGED_MIND".into();
    command(Input::Start(Start::Cancellation { order_id: order_id(), total, reason }))
}

pub fn answer(answer: Answer) -> Command {
    command(Input::Reply(Reply::plain(answer)))
}

pub fn no(answer: Answer, reason: &str) -> Command {
    command(Input::Reply(Reply::because(answer, reason)))
}

pub fn unknown(operation: &str) -> Command {
    no(Answer::PaymentOutcomeUnknown, operation)
}

pub fn cancel() -> Command {
    command(Input::CancellationRequested { reason: "CHANGED_MIND".into() })
}

pub fn timer(step: Step, attempt: u32, awaiting: Awaiting) -> Command {
    command(Input::TimerFired(Timer { step, attempt, awaiting }))
}

pub fn overdue(step: Step, attempt: u32) -> Command {
    timer(step, attempt, Awaiting::Answer)
}

pub fn answer_by(step: Step, attempt: u32, tries: u32) -> DateTime<Utc> {
    let deadline = [CHECKOUT, CANCELLATION].iter().find_map(|d| d[0].row(step)).unwrap().deadline;
    policy().answer_by(at(), deadline, order_id(), step, attempt, tries)
}

pub fn asked_again(request: Request, attempt: u32, tries: u32) -> Event {
    let answer_by = answer_by(request.step(), attempt, tries);
    Event::StepRequested { request, attempt, tries, answer_by }
}

pub fn asked(request: Request) -> Event {
    asked_again(request, 1, 1)
}

pub fn succeeded(step: Step) -> Event {
    Event::StepSucceeded { step }
}

pub fn failed(step: Step, reason: &str) -> Event {
    Event::StepFailed { step, reason: reason.into() }
}

pub fn stuck(step: Step, reason: &str) -> Event {
    Event::SagaStuck { step, reason: reason.into() }
}

pub fn ended(outcome: Outcome) -> Event {
    Event::SagaEnded { outcome }
}

pub fn reserve() -> Request {
    Request::ReserveStock { lines: lines(), expires_at: policy().reserve_until(at()) }
}

pub fn authorize() -> Request {
    Request::AuthorizePayment { amount: euros(4990), payment_token: "tok_ok".into() }
}

pub fn reject(reason: &str) -> Request {
    Request::RejectOrder { reason: reason.into() }
}

pub fn complete_cancellation() -> Request {
    Request::CompleteCancellation { reason: "CHANGED_MIND".into() }
}

/// What all these commands lead to.
pub fn history<D>(commands: impl IntoIterator<Item = Command>) -> Vec<Event>
where
    D: Decider<State = Saga, Command = Command, Event = Event, Error = Refusal>,
{
    let mut saga = Saga::default();
    let mut history = Vec::new();
    for command in commands {
        for event in D::decide(&saga, &command).unwrap() {
            saga = D::evolve(saga, &event);
            history.push(event);
        }
    }
    history
}

pub fn saga(history: &[Event]) -> Saga {
    history.iter().fold(Saga::default(), Saga::evolve)
}

/// The commands that bring a paid checkout to the point where it waits for `step`, a step forward.
pub fn way_to(step: Step) -> Vec<Command> {
    let before = CHECKOUT[0].forward.iter().take_while(|row| row.step != step);
    std::iter::once(start()).chain(before.map(|row| answer(row.success))).collect()
}

/// A paid checkout that waits for `step`.
pub fn waiting_for(step: Step) -> Vec<Event> {
    history::<Checkout>(way_to(step))
}

/// The commands that bring a checkout to `step` and let all tries pass.
pub fn way_to_stuck(step: Step) -> Vec<Command> {
    let tries = (1..=policy().attempts).map(|attempt| overdue(step, attempt));
    way_to(step).into_iter().chain(tries).collect()
}

/// A checkout that is stuck at `step`.
pub fn stuck_at(step: Step) -> Vec<Event> {
    history::<Checkout>(way_to_stuck(step))
}
