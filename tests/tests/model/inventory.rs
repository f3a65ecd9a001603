//! The inventory service: the order's reservation and that of a rival, and the stock of both SKUs.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use eventsourcing::{Halt, InMemoryStreams, Operation, StreamId, View};
use inventory_service::adapters::{publish, saga_requests};
use inventory_service::application::Request;
use inventory_service::domain::operations::{
    ChangeStock, HoldLimits, ReservationRefused, ReserveStock, SettleReservation, StockChanged,
};
use inventory_service::domain::reservation::{
    Reservation, ReservationError, ReservationEvent, ReservationState, ReservationStatus,
};
use inventory_service::domain::stock::{Stock, StockCommand, StockError};
use inventory_service::domain::{Adjustment, Note, OrderId, OrderLines};
use saga_orchestrator::adapters::participants;

use crate::bounds::Chance;
use crate::case::{GOODS, ORDER, RIVAL, SCARCE, at, pieces, sku, stream};
use crate::log::{Delivery, Events, Executed, Log, recorded, state_of};
use crate::rules::PARKED;
use crate::service::{Channel, Message, Numbers, Service, Turn, in_words};
use crate::shop::Shop;

/// Names the commands of the subscription to the sagas' requests.
const REQUESTS: &str = saga_requests::SagaRequests::NAME;
/// Names the commands of the clerk's client.
const CLERK: &str = "clerk";

pub struct Inventory {
    pub shop: Shop,
}

#[derive(Clone)]
pub struct State {
    log: Log,
    /// Pieces that arrived, less those that got lost, whatever was booked.
    really: BTreeMap<&'static str, i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    Request {
        message: u16,
        delivery: Delivery,
        hour: u8,
    },
    /// A reservation's timer fires, punctual or not.
    Expire {
        hour: u8,
    },
    /// The clerk books a piece that arrived.
    Book(Delivery),
    /// The clerk misses a piece.
    Miss,
    RivalReserves {
        hour: u8,
    },
    RivalPays,
    RivalGivesUp,
}

#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub reservation: ReservationStatus,
    /// Counters, reservations and what is really there agree.
    pub adds_up: bool,
    /// Less than nothing is available, and no shortfall says so; or a shortfall without need.
    pub oversold: bool,
}

impl Inventory {
    pub fn first() -> State {
        let mut log = Log::default();
        for (name, _, _, there) in GOODS {
            let receive = StockCommand::Receive { quantity: pieces(there), reference: note() };
            change(&mut log, name, receive, None).answer.expect("goods can arrive");
        }
        State { log, really: GOODS.map(|(name, _, _, there)| (name, there)).into() }
    }

    fn request(&self, state: &State, message: &Message, delivery: Delivery, hour: u8) -> Turn<State> {
        let request = saga_requests::request_of(&message.data).unwrap().expect("only such are queued");
        let mut state = state.clone();
        let executed = state.log.deliver(&Asked(operation(request, hour)), REQUESTS, delivery, &self.shop);
        let told = match &executed.answer {
            Ok(_) => in_words(&executed.events),
            Err(refused) => format!("it refuses, because {refused}"),
        };
        let what = format!("inventory is asked{}: `{}`: {told}", delivery.in_words(), message.name);
        Turn { broken: delivery.broken_by(&executed), ..turn(state, what, &executed.events) }
    }

    fn expire(&self, state: &State, hour: u8) -> Option<Turn<State>> {
        let mut state = state.clone();
        let pinned = reservation(&state.log.streams, ORDER).status == ReservationStatus::Pinned;
        let expire = SettleReservation::expire(ORDER.into(), at(hour));
        let executed = if self.shop.pinned_expires && pinned {
            // Without the event that makes it so.
            state.log.execute(&AsIfHeld(expire), None, Some(|_, events| events.into_iter().skip(1).collect()))
        } else {
            state.log.execute(&Asked(Asking::Settle(expire)), None, self.shop.patch)
        };
        let what = format!("the reservation's time is up: {}", in_words(&executed.events));
        match executed.answer {
            Ok(_) if executed.events.is_empty() => None,
            Err(ReservationRefused::Reservation(ReservationError::NotDue { .. })) => None,
            Ok(_) => Some(turn(state, what, &executed.events)),
            Err(_) => Some(Turn { broken: Some(PARKED), ..turn(state, what, &executed.events) }),
        }
    }

    fn book(&self, state: &State, delivery: Delivery) -> Turn<State> {
        let id = delivery.command_id(CLERK).filter(|_| self.shop.request_ids);
        let mut state = state.clone();
        let receive = StockCommand::Receive { quantity: pieces(1), reference: note() };
        let executed = change(&mut state.log, SCARCE, receive, id);
        executed.answer.expect("goods can arrive");
        if matches!(delivery, Delivery::Second(_)) {
            state.log.forget(id);
            let events = in_words(&executed.events);
            let what = format!("the clerk, who saw no answer, books the same {SCARCE} again: {events}");
            return turn(state, what, &executed.events);
        }
        *state.really.entry(SCARCE).or_default() += 1;
        let what = format!("a {SCARCE} arrives, and the clerk books it: {}", in_words(&executed.events));
        let mut turn = turn(state, what, &executed.events);
        turn.costs.push(Chance::Booking);
        turn
    }

    fn miss(&self, state: &State) -> Option<Turn<State>> {
        let mut state = state.clone();
        let adjust = StockCommand::Adjust { delta: Adjustment::new(-1).unwrap(), reason: note() };
        let executed = change(&mut state.log, SCARCE, adjust, None);
        executed.answer.ok()?;
        *state.really.entry(SCARCE).or_default() -= 1;
        let what = format!("the clerk misses a {SCARCE}: {}", in_words(&executed.events));
        let mut turn = turn(state, what, &executed.events);
        turn.costs.push(Chance::Loss);
        Some(turn)
    }

    fn rival(&self, state: &State, what: &str, asking: Asking) -> Option<Turn<State>> {
        let mut state = state.clone();
        let executed = state.log.execute(&Asked(asking), None, self.shop.patch);
        executed.answer.ok().filter(|_| !executed.events.is_empty())?;
        let what = format!("another shopper {what}: {}", in_words(&executed.events));
        Some(turn(state, what, &executed.events))
    }
}

impl Service for Inventory {
    type State = State;
    type Input = Input;
    type Facts = Facts;

    fn turns(&self, state: &State, input: &Input, messages: &Numbers<Message>) -> Vec<Turn<State>> {
        let rival = reservation(&state.log.streams, RIVAL).status;
        let turn = match input {
            Input::Request { message, delivery, hour } => {
                Some(self.request(state, messages.get(*message), *delivery, *hour))
            }
            Input::Expire { hour } => self.expire(state, *hour),
            Input::Book(delivery) => Some(self.book(state, *delivery)),
            Input::Miss => self.miss(state),
            Input::RivalReserves { hour } if rival == ReservationStatus::Unknown => {
                let lines = OrderLines::sum([(SCARCE, 1)]);
                let reserve = Asking::Reserve(reserve(RIVAL.into(), lines, *hour));
                self.rival(state, &format!("wants a {SCARCE}"), reserve).map(|mut turn| {
                    turn.costs.push(Chance::Rival);
                    turn
                })
            }
            Input::RivalPays if rival == ReservationStatus::Held => {
                self.rival(state, "pays", Asking::Settle(SettleReservation::commit(RIVAL.into())))
            }
            Input::RivalGivesUp if rival == ReservationStatus::Held => {
                self.rival(state, "goes away", Asking::Settle(SettleReservation::release(RIVAL.into())))
            }
            Input::RivalReserves { .. } | Input::RivalPays | Input::RivalGivesUp => None,
        };
        turn.into_iter().collect()
    }

    fn identity(&self, state: &State) -> String {
        let streams = &state.log.streams;
        let mut states = vec![
            state_of::<Reservation>(streams, &stream::<Reservation>()),
            state_of::<Reservation>(streams, &StreamId::of::<Reservation>(RIVAL)),
        ];
        states.extend(GOODS.map(|(name, ..)| state_of::<Stock>(streams, &StreamId::of::<Stock>(name))));
        format!("{} {:?}", state.log.identity(&states), state.really)
    }

    fn facts(&self, state: &State) -> Facts {
        let orders = [reservation(&state.log.streams, ORDER), reservation(&state.log.streams, RIVAL)];
        let (mut adds_up, mut oversold) = (true, false);
        for (name, ..) in GOODS {
            let stock = state.log.streams.state::<Stock>(&StreamId::of::<Stock>(name));
            let of_orders = |statuses: &[ReservationStatus]| -> i64 {
                let counted = orders.iter().filter(|order| statuses.contains(&order.status));
                let lines = counted.flat_map(|order| &order.lines).filter(|line| line.sku.as_str() == name);
                lines.map(|line| line.quantity.get()).sum()
            };
            adds_up &= stock.received + stock.adjusted == state.really[name];
            adds_up &= stock.reserved == of_orders(&[ReservationStatus::Held, ReservationStatus::Pinned]);
            adds_up &= stock.committed - stock.restocked == of_orders(&[ReservationStatus::Committed]);
            oversold |= (stock.available() < 0) != stock.shortfall_open;
        }
        Facts { reservation: orders[0].status, adds_up, oversold }
    }
}

/// What may be asked of a reservation, as one operation.
enum Asking {
    Reserve(ReserveStock),
    Settle(SettleReservation),
}

struct Asked(Asking);

impl Operation for Asked {
    type Reply = ReservationStatus;
    type Rejection = ReservationRefused;

    fn run(&self, view: &mut View<'_>) -> Result<ReservationStatus, Halt<ReservationRefused>> {
        match &self.0 {
            Asking::Reserve(reserve) => reserve.run(view),
            Asking::Settle(settle) => settle.run(view),
        }
    }
}

/// Settles a pinned reservation as if it were only held.
struct AsIfHeld(SettleReservation);

impl Operation for AsIfHeld {
    type Reply = ReservationStatus;
    type Rejection = ReservationRefused;

    fn run(&self, view: &mut View<'_>) -> Result<ReservationStatus, Halt<ReservationRefused>> {
        let stream = stream::<Reservation>();
        let state = view.state::<Reservation>(&stream)?.clone();
        let lines = state.lines.iter().map(|line| (line.sku.as_str(), line.quantity.get()));
        let (lines, expires_at) = (OrderLines::sum(lines).unwrap(), state.expires_at.unwrap());
        view.append::<Reservation>(&stream, &[ReservationEvent::StockReserved { lines, expires_at }])?;
        self.0.run(view)
    }
}

fn operation(request: Request, hour: u8) -> Asking {
    match request {
        Request::Reserve(asked) => {
            let expires_at = asked.expires_at.unwrap_or(at(hour));
            Asking::Reserve(ReserveStock { expires_at, ..reserve(asked.order_id, asked.lines, hour) })
        }
        Request::Pin(order_id) => Asking::Settle(SettleReservation::pin(order_id, at(hour))),
        Request::Release(order_id) => Asking::Settle(SettleReservation::release(order_id)),
        Request::Commit(order_id) => Asking::Settle(SettleReservation::commit(order_id)),
        Request::Restock(order_id) => Asking::Settle(SettleReservation::restock(order_id)),
    }
}

fn reserve(
    order_id: OrderId,
    lines: Result<OrderLines, inventory_service::domain::InvalidLines>,
    hour: u8,
) -> ReserveStock {
    let limits = HoldLimits { minimum: TimeDelta::minutes(10), maximum: TimeDelta::minutes(30) };
    ReserveStock { order_id, lines, expires_at: at(hour), now: at(hour), limits }
}

fn change(
    log: &mut Log,
    name: &str,
    command: StockCommand,
    id: Option<uuid::Uuid>,
) -> Executed<StockChanged, StockError> {
    log.execute(&ChangeStock { sku: sku(name), command, expected_version: None, now: at(0) }, id, None)
}

fn note() -> Note {
    Note::parse("").unwrap()
}

fn reservation(streams: &InMemoryStreams, order: uuid::Uuid) -> ReservationState {
    streams.state::<Reservation>(&StreamId::of::<Reservation>(order))
}

fn turn(state: State, what: String, events: &Events) -> Turn<State> {
    let published = events.iter().filter_map(|event| publish(&recorded(event)).unwrap());
    let answers = published
        .filter_map(|p| Message::answer(Channel::FromInventory, p, participants::inventory::meaning))
        .collect();
    Turn::new(state, what, answers)
}
