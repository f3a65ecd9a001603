//! The order service: the one order, its shopper, and whoever ships it.

use eventsourcing::{Decide, Halt, Operation, View};
use order_service::adapters::integration_events::publish;
use order_service::adapters::saga_requests;
use order_service::domain::order::{OrderCommand, OrderError, OrderEvent, Phase};
use order_service::domain::{Order, ReasonCode};
use saga_orchestrator::adapters::participants;

use crate::bounds::Chance;
use crate::case::{place_order, stream};
use crate::log::{Delivery, Events, Log, recorded, state_of};
use crate::service::{Channel, Message, Numbers, Service, Turn, in_words};
use crate::shop::Shop;

/// Names the commands of the subscription to the sagas' requests.
const REQUESTS: &str = "order.saga-requests";

pub struct Orders {
    pub shop: Shop,
}

#[derive(Clone, Default)]
pub struct State {
    log: Log,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    Request { message: u16, delivery: Delivery },
    Cancel,
    Ship,
}

#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub phase: Name,
    /// Somebody wants it cancelled.
    pub cancelling: bool,
}

/// The phase of an order without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Pending,
    Confirmed,
    Shipped,
    Rejected,
    Cancelled,
}

impl Orders {
    /// The order is placed: what starts everything.
    pub fn place(&self) -> Turn<State> {
        let mut state = State::default();
        let place = OrderCommand::Place(Box::new(place_order(self.shop.free)));
        let placed = state.log.execute(&decide(place), None, self.shop.patch);
        placed.answer.expect("the order keeps all rules");
        turn(state, "the order is placed".to_owned(), &placed.events)
    }

    fn request(&self, state: &State, message: &Message, delivery: Delivery) -> Turn<State> {
        let (_, command) = saga_requests::command_of(&message.data).unwrap().expect("only such are queued");
        let mut state = state.clone();
        let executed = state.log.deliver(&decide(command), REQUESTS, delivery, &self.shop);
        let told = in_words(&executed.events);
        let what = format!("the order is asked{}: `{}`: {told}", delivery.in_words(), message.name);
        Turn { broken: delivery.broken_by(&executed), ..turn(state, what, &executed.events) }
    }

    fn ask(&self, state: &State, who: &str, command: OrderCommand, cost: Chance) -> Option<Turn<State>> {
        let mut state = state.clone();
        let executed = state.log.execute(&decide(command), None, self.shop.patch);
        executed.answer.ok().filter(|_| !executed.events.is_empty())?;
        let what = format!("{who}: {}", in_words(&executed.events));
        Some(Turn { costs: vec![cost], ..turn(state, what, &executed.events) })
    }
}

fn decide(command: OrderCommand) -> Decide<Order> {
    Decide { stream: stream::<Order>(), command, expected_version: None }
}

/// Ships a confirmed order and looks at nothing else.
struct ShipAnyway;

impl Operation for ShipAnyway {
    type Reply = u64;
    type Rejection = OrderError;

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<OrderError>> {
        if view.state::<Order>(&stream::<Order>())?.phase != Phase::Confirmed {
            return Err(Halt::Rejected(OrderError::NotConfirmed));
        }
        Ok(view.append::<Order>(&stream::<Order>(), &[OrderEvent::OrderShipped {}])?)
    }
}

fn turn(state: State, what: String, events: &Events) -> Turn<State> {
    let published = events.iter().filter_map(|event| publish(&recorded(event)).unwrap());
    let answers = published
        .filter_map(|p| Message::answer(Channel::FromOrder, p, participants::order::meaning))
        .collect();
    Turn::new(state, what, answers)
}

impl Service for Orders {
    type State = State;
    type Input = Input;
    type Facts = Facts;

    fn turns(&self, state: &State, input: &Input, messages: &Numbers<Message>) -> Vec<Turn<State>> {
        let turn = match input {
            Input::Request { message, delivery } => {
                Some(self.request(state, messages.get(*message), *delivery))
            }
            Input::Cancel => {
                let reason = ReasonCode::fixed("CHANGED_MIND");
                let cancel = OrderCommand::RequestCancellation { reason, note: None };
                self.ask(state, "the customer cancels", cancel, Chance::Cancel)
            }
            Input::Ship if self.shop.ships_anyway => {
                let log = &mut state.log.clone();
                let shipped = log.execute(&ShipAnyway, None, None);
                shipped.answer.ok().map(|_| {
                    let state = State { log: log.clone() };
                    let what = "the parcel leaves, whatever is wanted".to_owned();
                    Turn { costs: vec![Chance::Ship], ..turn(state, what, &shipped.events) }
                })
            }
            Input::Ship => self.ask(state, "the parcel leaves", OrderCommand::Ship, Chance::Ship),
        };
        turn.into_iter().collect()
    }

    fn identity(&self, state: &State) -> String {
        state.log.identity(&[state_of::<Order>(&state.log.streams, &stream::<Order>())])
    }

    fn facts(&self, state: &State) -> Facts {
        let order = state.log.streams.state::<Order>(&stream::<Order>());
        let phase = match order.phase {
            Phase::Unplaced | Phase::Pending => Name::Pending,
            Phase::Confirmed => Name::Confirmed,
            Phase::Shipped | Phase::Delivered => Name::Shipped,
            Phase::Rejected(_) => Name::Rejected,
            Phase::Cancelled(_) => Name::Cancelled,
        };
        Facts { phase, cancelling: order.cancellation.is_some() }
    }
}
