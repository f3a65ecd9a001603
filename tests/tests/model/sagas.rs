//! The saga orchestrator: checkout and cancellation of the order, what they ask, and their timers.

use eventsourcing::{Decider, StreamId};
use inventory_service::adapters::saga_requests as inventory_requests;
use order_service::adapters::saga_requests as order_requests;
use payment_service::adapters::saga_requests as payment_requests;
use saga_orchestrator::adapters::integration_events::publish;
use saga_orchestrator::adapters::participants::{self, Meaning};
use saga_orchestrator::adapters::timers::Deadline;
use saga_orchestrator::application::{Operate, SagaId, Tell, Told};
use saga_orchestrator::domain::{
    Cancellation, Checkout, Command, Event, Input as SagaInput, Kind, OrderId, Policy, Saga, Status, Step,
    Timer,
};

use crate::bounds::Chance;
use crate::case::{ORDER, at, stream};
use crate::log::{Delivery, Events, Log, event_of, recorded, state_of};
use crate::service::{Channel, Message, Numbers, Service, Turn, words};
use crate::shop::{Shop, ToSaga, ToSagas};

/// Sends of one step until its saga is stuck.
const ATTEMPTS: u32 = 2;

pub struct Sagas {
    pub shop: Shop,
}

#[derive(Clone, Default)]
pub struct State {
    log: Log,
    /// Of the checkout and of the cancellation.
    timers: [Option<Timer>; 2],
    /// Taken by a worker that is slow.
    late: Option<(Kind, Timer)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    Hear {
        message: u16,
        delivery: Delivery,
    },
    /// The deadline passes.
    Fire(Kind),
    /// The deadline passes, and the worker that fires is slow.
    Take(Kind),
    FireLate,
    Retry(Kind),
    Compensate(Kind),
}

#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub checkout: Progress,
    pub cancellation: Progress,
    pub late_timer: bool,
}

/// How far a saga is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// `None` before it began.
    pub status: Option<Status>,
    pub open: Option<Step>,
    pub turned_back: bool,
    pub given_up: Option<Step>,
    /// It has asked for the order's end.
    pub asked_for_the_end: bool,
    pub has_timer: bool,
}

impl Service for Sagas {
    type State = State;
    type Input = Input;
    type Facts = Facts;

    fn turns(&self, state: &State, input: &Input, messages: &Numbers<Message>) -> Vec<Turn<State>> {
        let turn = match input {
            Input::Hear { message, delivery } => Some(self.hear(state, messages.get(*message), *delivery)),
            Input::Fire(kind) => self.fire(state, *kind),
            Input::Take(kind) => self.take(state, *kind),
            Input::FireLate => self.fire_late(state),
            Input::Retry(kind) => self.operate(state, *kind, SagaInput::Retry),
            Input::Compensate(kind) => {
                self.operate(state, *kind, SagaInput::Compensate { note: String::new() })
            }
        };
        turn.into_iter().collect()
    }

    fn identity(&self, state: &State) -> String {
        let sagas = [
            state_of::<Checkout>(&state.log.streams, &stream::<Checkout>()),
            state_of::<Cancellation>(&state.log.streams, &stream::<Cancellation>()),
        ];
        format!("{} {:?} {:?}", state.log.identity(&sagas), state.timers, state.late)
    }

    fn facts(&self, state: &State) -> Facts {
        let checkout = state.log.streams.state::<Checkout>(&stream::<Checkout>());
        let cancellation = state.log.streams.state::<Cancellation>(&stream::<Cancellation>());
        Facts {
            checkout: progress(&checkout, state.timers[0].is_some()),
            cancellation: progress(&cancellation, state.timers[1].is_some()),
            late_timer: state.late.is_some(),
        }
    }
}

fn progress(saga: &Saga, has_timer: bool) -> Progress {
    let open = saga.open.as_ref();
    let ends = [Step::ConfirmOrder, Step::RejectOrder, Step::CompleteCancellation];
    let asked = |step: &Step| saga.done.contains(step) || open.is_some_and(|open| open.step == *step);
    Progress {
        status: saga.status(),
        open: open.map(|open| open.step),
        turned_back: saga.turned_back.is_some(),
        given_up: saga.given_up,
        asked_for_the_end: ends.iter().any(asked),
        has_timer,
    }
}

impl Sagas {
    fn hear(&self, state: &State, message: &Message, delivery: Delivery) -> Turn<State> {
        let (meaning, name): (fn(&[u8]) -> Meaning, _) = match message.channel {
            Channel::FromInventory => (participants::inventory::meaning, "saga.inventory-events"),
            Channel::FromPayment => (participants::payment::meaning, "saga.payment-events"),
            _ => (participants::order::meaning, "saga.order-events"),
        };
        let (order_id, input) = meaning(&message.data).ok().flatten().expect("only such are queued");
        let tell = Tell { order_id, only: None, command: command(input) };
        let mut state = state.clone();
        let tell = ToSagas(self.shop.managers, tell);
        let executed = state.log.deliver(&tell, name, delivery, &self.shop);
        let told = match (&executed.answer, delivery) {
            (Ok(Told::Ignored), Delivery::Only | Delivery::First(_)) => "no saga awaits it".to_owned(),
            _ => told(&executed.events),
        };
        let what = format!("the sagas hear{} `{}`: {told}", delivery.in_words(), message.name);
        Turn { broken: delivery.broken_by(&executed), ..self.turn(state, what, &executed.events) }
    }

    fn fire(&self, state: &State, kind: Kind) -> Option<Turn<State>> {
        let timer = state.timers[kind as usize]?;
        let refused = self.saga(state, kind).open.is_some_and(|open| open.refused.is_some());
        let mut state = state.clone();
        state.timers[kind as usize] = None;
        let mut turn = self.fire_timer(state, kind, timer, "the deadline");
        // What was refused has no answer under way: only its timer brings it on.
        if !refused {
            turn.costs.push(Chance::Timeout);
        }
        Some(turn)
    }

    fn take(&self, state: &State, kind: Kind) -> Option<Turn<State>> {
        let timer = state.timers[kind as usize].filter(|_| state.late.is_none())?;
        let mut state = state.clone();
        state.late = Some((kind, timer));
        let what =
            format!("the deadline of {} passes, and the worker that fires it is slow", in_words(timer));
        let mut turn = Turn::new(state, what, Vec::new());
        turn.costs.push(Chance::LateTimer);
        Some(turn)
    }

    fn fire_late(&self, state: &State) -> Option<Turn<State>> {
        let (kind, timer) = state.late?;
        let state = State { late: None, ..state.clone() };
        Some(self.fire_timer(state, kind, timer, "the slow worker fires: the deadline"))
    }

    fn fire_timer(&self, mut state: State, kind: Kind, timer: Timer, begin: &str) -> Turn<State> {
        let order_id = OrderId(ORDER);
        let tell = Tell { order_id, only: Some(kind), command: command(SagaInput::TimerFired(timer)) };
        let executed = state.log.execute(&ToSagas(self.shop.managers, tell), None, self.shop.patch);
        let what = format!("{begin} of {} has passed: {}", in_words(timer), told(&executed.events));
        self.turn(state, what, &executed.events)
    }

    /// None when the order is refused: then nothing happens.
    fn operate(&self, state: &State, kind: Kind, input: SagaInput) -> Option<Turn<State>> {
        let mut state = state.clone();
        let saga = SagaId { kind, order_id: OrderId(ORDER) };
        let retry = input == SagaInput::Retry;
        let operate = Operate { saga, command: command(input), expected_version: None };
        let refused = self.saga(&state, kind).open.is_some_and(|open| open.refused.is_some());
        let executed = state.log.execute(&ToSaga(self.shop.managers, operate), None, self.shop.patch);
        executed.answer.ok()?;
        let wish = if retry { "to try again" } else { "to turn back" };
        let what =
            format!("an operator tells the {kind:?} {wish}: {}", told(&executed.events)).to_lowercase();
        let mut turn = self.turn(state, what, &executed.events);
        // A person is called about what was refused too often, and comes.
        if !(retry && refused) {
            turn.costs.push(Chance::Operator);
        }
        Some(turn)
    }

    fn saga(&self, state: &State, kind: Kind) -> Saga {
        match kind {
            Kind::Checkout => state.log.streams.state::<Checkout>(&stream::<Checkout>()),
            Kind::Cancellation => state.log.streams.state::<Cancellation>(&stream::<Cancellation>()),
        }
    }

    /// What follows from events: timers, and requests under way.
    fn turn(&self, mut state: State, what: String, events: &Events) -> Turn<State> {
        let mut messages = Vec::new();
        for recorded in events.iter().map(recorded) {
            let kind = kind_of(&recorded.stream_id);
            let event = recorded.decode::<Checkout>().unwrap();
            let event = event.or_else(|| recorded.decode::<Cancellation>().unwrap()).unwrap();
            match (self.shop.deadline)(&event) {
                Deadline::At(_, timer) => state.timers[kind as usize] = Some(timer),
                Deadline::None => state.timers[kind as usize] = None,
                Deadline::Unchanged => {}
            }
            if let Some(published) = publish(&recorded).unwrap() {
                messages.push(Message::new(addressee(kind, &published.data), published));
            }
        }
        Turn::new(state, what, messages)
    }
}

fn kind_of(stream: &StreamId) -> Kind {
    if stream.category() == Checkout::CATEGORY { Kind::Checkout } else { Kind::Cancellation }
}

/// Who understands a request: each asks its own reader of the feed.
fn addressee(kind: Kind, data: &[u8]) -> Channel {
    let inventory = inventory_requests::request_of(data).unwrap().is_some();
    let payment = payment_requests::command_of(data).unwrap().is_some();
    let order = order_requests::command_of(data).unwrap().is_some();
    match (kind, inventory, payment, order) {
        (Kind::Checkout, true, false, false) => Channel::CheckoutToInventory,
        (Kind::Checkout, false, true, false) => Channel::CheckoutToPayment,
        (Kind::Checkout, false, false, true) => Channel::CheckoutToOrder,
        (Kind::Cancellation, true, false, false) => Channel::CancellationToInventory,
        (Kind::Cancellation, false, true, false) => Channel::CancellationToPayment,
        (Kind::Cancellation, false, false, true) => Channel::CancellationToOrder,
        _ => unreachable!("a request is understood by exactly one service"),
    }
}

/// An input at the moment at which the clock of the sagas stands.
pub fn command(input: SagaInput) -> Command {
    Command { at: at(0), policy: Policy { attempts: ATTEMPTS, ..Policy::default() }, input }
}

fn in_words(timer: Timer) -> String {
    format!("`{}`", words(timer.step.name()))
}

/// Events of sagas in plain words, requests by what they ask.
fn told(events: &Events) -> String {
    let told = events.iter().map(|(stream, event)| match event_of::<Checkout>(event) {
        Event::StepRequested { request, .. } => {
            format!("the {} asks to `{}`", stream.category(), words(request.step().name()))
        }
        _ => words(&event.event_type),
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "nothing happens".to_owned() } else { told.join(", ") }
}
