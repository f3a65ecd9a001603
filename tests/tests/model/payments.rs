//! The payment service: the order's payment, the worker that calls the provider, and what the provider tells by
//! itself.

use std::collections::BTreeMap;

use chrono::Utc;
use eventsourcing::Decide;
use payment_service::adapters::integration_events::publish;
use payment_service::adapters::projections::provider_calls::action_of;
use payment_service::adapters::saga_requests;
use payment_service::application::provider_calls::{QUEUE, consult};
use payment_service::application::{Action, CallError, CallOptions, Outcome, ProviderCall};
use payment_service::domain::payment::{Authorization, Call, Capture, Void};
use payment_service::domain::{OrderId, Payment, PaymentCommand, PaymentError, Reason};
use saga_orchestrator::adapters::participants;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::bounds::Chance;
use crate::case::{ORDER, stream};
use crate::log::{Delivery, Events, Executed, Log, command_id, event_of, recorded, state_of};
use crate::provider::{Books, Line, Port, Provider};
use crate::rules::CONTRADICTION;
use crate::service::{Channel, Message, Numbers, Service, Turn, in_words};
use crate::shop::{ProviderHabit, Shop};

/// Names the commands of the subscription to the sagas' requests.
const REQUESTS: &str = "payment.saga-requests";
/// Ordinals of the commands of a task.
const REPORT_UNKNOWN: u32 = 0;
const REPORT_OUTCOME: u32 = 1;

pub struct Payments {
    shop: Shop,
    options: CallOptions,
    runtime: Runtime,
}

#[derive(Clone, Default)]
pub struct State {
    log: Log,
    tasks: Vec<Task>,
    /// How often each call was intended.
    intents: BTreeMap<Call, u8>,
    provider: Provider,
}

/// A call that the worker has to make.
#[derive(Clone, Debug)]
struct Task {
    id: Uuid,
    action: Action,
    /// It was tried before.
    tried: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    Request {
        message: u16,
        delivery: Delivery,
    },
    /// The worker takes this task.
    Work(u8),
    /// A delayed call arrives at the provider.
    Arrive(u8),
    /// The provider tells what it did.
    Notify(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub books: Books,
    /// Sent to the provider and not known to have ended.
    pub authorizing: bool,
    pub capturing: bool,
    pub voiding: bool,
    pub refunding: bool,
    pub tasks: u8,
    pub delayed: u8,
    pub done: u8,
}

/// What becomes of the worker that has called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worker {
    Lives,
    DiesBeforeItReports,
    DiesAfterIt,
}

impl Payments {
    pub fn new(shop: Shop) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { shop, options: CallOptions::default(), runtime }
    }

    fn execute(
        &self,
        log: &mut Log,
        command: PaymentCommand,
        id: Option<Uuid>,
    ) -> Executed<u64, PaymentError> {
        log.execute(&decide(command), id, self.shop.patch)
    }

    fn request(&self, state: &State, message: &Message, delivery: Delivery) -> Turn<State> {
        let (_, command) = saga_requests::command_of(&message.data).unwrap().expect("only such are queued");
        let mut state = state.clone();
        let executed = state.log.deliver(&decide(command), REQUESTS, delivery, &self.shop);
        let told = in_words(&executed.events);
        let what = format!("payment is asked{}: `{}`: {told}", delivery.in_words(), message.name);
        Turn { broken: delivery.broken_by(&executed), ..turn(state, what, &executed.events) }
    }

    fn work(&self, state: &State, index: usize) -> Vec<Turn<State>> {
        let mut turns = Vec::new();
        for answers in [true, false] {
            for line in Line::ALL {
                for worker in [Worker::Lives, Worker::DiesBeforeItReports, Worker::DiesAfterIt] {
                    turns.extend(self.run(state, index, line, answers, worker));
                }
            }
        }
        turns
    }

    /// One run of the worker; `None` when it does not come to what is asked for.
    fn run(
        &self,
        state: &State,
        index: usize,
        line: Line,
        answers: bool,
        worker: Worker,
    ) -> Option<Turn<State>> {
        let mut state = state.clone();
        let task = state.tasks[index].clone();
        let port = Port::new(state.provider.clone(), line, answers);
        let order_id = OrderId(ORDER);
        let call = ProviderCall { order_id, action: task.action.clone(), started_at: Utc::now() };
        let (key, attempts) = match self.shop.provider {
            ProviderHabit::CallsAgain if task.tried => (Uuid::new_v5(&task.id, b"again"), 1),
            _ => (task.id, if task.tried { 2 } else { 1 }),
        };
        let consulted = self.runtime.block_on(consult(&port, &self.options, &call, key, attempts));
        let seen = port.seen();
        let needless = (!seen.called && line != Line::Yes) || (!seen.asked && !answers);
        let never_refused =
            matches!(task.action, Action::Void { .. }) && matches!(line, Line::No | Line::NoUnheard);
        if needless || never_refused {
            return None;
        }
        state.provider = seen.provider;
        state.tasks[index].tried = true;
        let mut costs = if seen.called { line.costs().to_vec() } else { Vec::new() };
        if !answers {
            costs.push(Chance::Unknown);
        }
        if worker != Worker::Lives {
            costs.push(Chance::Crash);
        }
        let operation = task.action.call().operation();
        let asked = match (seen.asked, answers) {
            (false, _) => String::new(),
            (true, true) if seen.called => {
                format!("asks the provider about the {operation}: never heard of, ")
            }
            (true, true) => format!("asks the provider about the {operation}, and is told"),
            (true, false) => format!("asks the provider about the {operation}: no answer"),
        };
        let called =
            if seen.called { format!("calls to {operation}: {}", line.in_words()) } else { String::new() };
        let what = format!("the payment worker {asked}{called}");
        if worker == Worker::DiesBeforeItReports {
            let what = format!("{what}; then it dies");
            return Some(Turn { costs, ..Turn::new(state, what, Vec::new()) });
        }
        let mut turn = self.report(state, index, &task, consulted, what, worker)?;
        turn.costs = costs;
        Some(turn)
    }

    fn report(
        &self,
        mut state: State,
        index: usize,
        task: &Task,
        consulted: Result<Outcome, CallError>,
        what: String,
        worker: Worker,
    ) -> Option<Turn<State>> {
        let id = |ordinal| Some(command_id(&format!("task:{QUEUE}"), task.id, ordinal));
        let outcome = match consulted {
            Ok(outcome) => outcome,
            Err(CallError::Unknown(_)) if self.shop.provider == ProviderHabit::GivesUp => {
                failure(&task.action)
            }
            Err(_) if worker == Worker::DiesAfterIt => return None,
            Err(CallError::NotDone(_)) => return Some(Turn::new(state, what, Vec::new())),
            Err(CallError::Unknown(_)) => {
                let unknown = PaymentCommand::RecordOutcomeUnknown { call: task.action.call() };
                let executed = self.execute(&mut state.log, unknown, id(REPORT_UNKNOWN));
                let what = format!("{what}: {}", in_words(&executed.events));
                return Some(turn(state, what, &executed.events));
            }
        };
        let executed = self.execute(&mut state.log, outcome.record(), id(REPORT_OUTCOME));
        let mut what = format!("{what}: {}", in_words(&executed.events));
        if worker == Worker::DiesAfterIt {
            what.push_str("; then it dies, and its task is still there");
        } else {
            state.tasks.remove(index);
            state.log.forget(id(REPORT_UNKNOWN));
            state.log.forget(id(REPORT_OUTCOME));
        }
        let mut turn = turn(state, what, &executed.events);
        if executed.answer.is_err() {
            turn.broken = Some(CONTRADICTION);
        }
        Some(turn)
    }

    fn arrive(&self, state: &State, index: usize) -> Vec<Turn<State>> {
        let (key, action) = &state.provider.delayed[index];
        let arrive = |willing: bool| {
            let mut state = state.clone();
            state.provider.delayed.retain(|(delayed, _)| delayed != key);
            state.provider.receive(*key, action, willing);
            let answer = if willing { "does so" } else { "says no" };
            let operation = action.call().operation();
            let what = format!("the delayed call to {operation} arrives at the provider, which {answer}");
            let costs = if willing { Vec::new() } else { vec![Chance::Refusal] };
            Turn { costs, ..Turn::new(state, what, Vec::new()) }
        };
        vec![arrive(true), arrive(false)]
    }

    /// Told again or too late, it changes nothing.
    fn notify(&self, state: &State, index: usize) -> Option<Turn<State>> {
        let mut state = state.clone();
        let outcome = state.provider.done[index].outcome.clone();
        let executed = self.execute(&mut state.log, outcome.record(), None);
        executed.answer.ok().filter(|_| !executed.events.is_empty())?;
        let what = format!("the provider tells what it did: {}", in_words(&executed.events));
        Some(Turn { costs: vec![Chance::Webhook], ..turn(state, what, &executed.events) })
    }
}

fn decide(command: PaymentCommand) -> Decide<Payment> {
    Decide { stream: stream::<Payment>(), command, expected_version: None }
}

/// What a call would have led to, had it failed.
fn failure(action: &Action) -> Outcome {
    let reason = Reason::of("NO_ANSWER");
    match action {
        Action::Authorize { .. } => Outcome::Declined { reason },
        Action::Capture { .. } => Outcome::CaptureFailed { reason },
        Action::Void { .. } => Outcome::Voided,
        Action::Refund { refund_id, .. } => Outcome::RefundFailed { refund_id: refund_id.clone(), reason },
    }
}

/// What follows from events: answers to the sagas, and calls to make.
fn turn(mut state: State, what: String, events: &Events) -> Turn<State> {
    let mut answers = Vec::new();
    for event in events {
        if let Some(action) = action_of(event_of::<Payment>(&event.1)) {
            let call = action.call();
            let times = state.intents.entry(call.clone()).or_default();
            *times += 1;
            let id = Uuid::new_v5(&ORDER, format!("{call:?} {times}").as_bytes());
            state.tasks.push(Task { id, action, tried: false });
        }
        let published = publish(&recorded(event)).unwrap();
        answers.extend(published.and_then(|published| {
            Message::answer(Channel::FromPayment, published, participants::payment::meaning)
        }));
    }
    Turn::new(state, what, answers)
}

impl Service for Payments {
    type State = State;
    type Input = Input;
    type Facts = Facts;

    fn turns(&self, state: &State, input: &Input, messages: &Numbers<Message>) -> Vec<Turn<State>> {
        match input {
            Input::Request { message, delivery } => {
                vec![self.request(state, messages.get(*message), *delivery)]
            }
            Input::Work(index) => self.work(state, usize::from(*index)),
            Input::Arrive(index) => self.arrive(state, usize::from(*index)),
            Input::Notify(index) => self.notify(state, usize::from(*index)).into_iter().collect(),
        }
    }

    fn identity(&self, state: &State) -> String {
        let payment = state_of::<Payment>(&state.log.streams, &stream::<Payment>());
        let provider = serde_json::to_string(&state.provider).unwrap();
        format!("{} {:?} {:?} {provider}", state.log.identity(&[payment]), state.tasks, state.intents)
    }

    fn facts(&self, state: &State) -> Facts {
        let payment = state.log.streams.state::<Payment>(&stream::<Payment>());
        let refunding = |task: &Task| matches!(task.action, Action::Refund { .. });
        Facts {
            books: state.provider.books(),
            authorizing: payment.authorization == Authorization::Pending,
            capturing: payment.capture == Capture::Pending,
            voiding: payment.void == Void::Pending,
            refunding: state.tasks.iter().any(refunding),
            tasks: state.tasks.len() as u8,
            delayed: state.provider.delayed.len() as u8,
            done: state.provider.done.len() as u8,
        }
    }
}
