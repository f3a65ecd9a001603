//! Any sequence of commands, in any order, early, late or repeated, keeps the invariants of the module
//! documentation of `domain`. The commands are the real operations.

use std::collections::BTreeMap;

use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::{Halt, InMemoryStreams, Operation, StreamId};
use inventory_service::domain::operations::{ChangeStock, ReserveStock, SettleReservation};
use inventory_service::domain::reservation::{Reservation, ReservationState, ReservationStatus};
use inventory_service::domain::stock::{Stock, StockCommand, StockState};
use inventory_service::domain::{Adjustment, Quantity};
use proptest::prelude::*;

use crate::support::{at, note, order, public, reserve, sku};

const SKUS: [&str; 3] = ["a", "b", "c"];
const ORDERS: u128 = 4;

#[derive(Clone, Debug)]
enum Step {
    Receive { sku: usize, quantity: i64 },
    Adjust { sku: usize, delta: i64 },
    Request { order: u128, request: Request, times: usize },
    Expire { order: u128 },
    Wait { seconds: i64 },
}

#[derive(Clone, Debug)]
enum Request {
    Reserve { lines: Vec<(usize, i64)>, hold: i64 },
    Pin,
    Release,
    Commit,
    Restock,
}

fn request() -> impl Strategy<Value = Request> {
    let lines = proptest::collection::vec((0..SKUS.len(), -1..6_i64), 0..4);
    prop_oneof![
        4 => (lines, -5..20_i64).prop_map(|(lines, hold)| Request::Reserve { lines, hold }),
        3 => Just(Request::Pin),
        2 => Just(Request::Release),
        3 => Just(Request::Commit),
        1 => Just(Request::Restock),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sku = || 0..SKUS.len();
    prop_oneof![
        3 => (sku(), 1..8_i64).prop_map(|(sku, quantity)| Step::Receive { sku, quantity }),
        2 => (sku(), -8..6_i64).prop_map(|(sku, delta)| Step::Adjust { sku, delta }),
        8 => (0..ORDERS, request(), 1..3_usize)
            .prop_map(|(order, request, times)| Step::Request { order, request, times }),
        1 => (0..ORDERS).prop_map(|order| Step::Expire { order }),
        1 => (0..10_i64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The streams, and what was let into the stock from outside.
#[derive(Default)]
struct World {
    streams: InMemoryStreams,
    now: i64,
    received: BTreeMap<&'static str, i64>,
    adjusted: BTreeMap<&'static str, i64>,
    /// What was last published of a SKU.
    in_stock: BTreeMap<String, bool>,
    short: BTreeMap<String, bool>,
}

impl World {
    fn stock(&self, name: &str) -> StockState {
        self.streams.state::<Stock>(&StreamId::of::<Stock>(name))
    }

    fn reservation(&self, number: u128) -> ReservationState {
        self.streams.state::<Reservation>(&StreamId::of::<Reservation>(order(number)))
    }

    /// Runs an operation and returns what the orders' side learns of it; `None` when it was refused.
    fn run<O: Operation>(&mut self, operation: &O) -> Option<Vec<Event>> {
        let events = match self.streams.run(operation) {
            Ok((_, events)) => events,
            Err(Halt::Rejected(_)) => return None,
            Err(_) => panic!("an operation is decided or refused"),
        };
        let mut answers = Vec::new();
        for event in events.iter().filter_map(|(stream, event)| public(stream, event)) {
            match event {
                Event::StockAvailabilityChanged(e) => {
                    assert_ne!(self.in_stock.insert(e.sku, e.in_stock), Some(e.in_stock), "only changes");
                }
                Event::StockShortfallOpened(e) => {
                    assert!(e.missing > 0);
                    assert_ne!(self.short.insert(e.sku, true), Some(true), "opened once");
                }
                Event::StockShortfallClosed(e) => {
                    assert_eq!(self.short.insert(e.sku, false), Some(true), "closed after it was opened");
                }
                answer => answers.push(answer),
            }
        }
        Some(answers)
    }

    fn change(&mut self, name: &'static str, command: StockCommand) -> bool {
        let now = at(self.now);
        self.run(&ChangeStock { sku: sku(name), command, expected_version: None, now }).is_some()
    }

    fn request(&mut self, number: u128, request: &Request) -> Option<Vec<Event>> {
        let (id, now) = (order(number), at(self.now));
        match request {
            Request::Reserve { lines, hold } => {
                let lines: Vec<_> = lines.iter().map(|(sku, quantity)| (SKUS[*sku], *quantity)).collect();
                let expires_at = at(self.now + hold);
                self.run(&ReserveStock { expires_at, now, ..reserve(number, &lines) })
            }
            Request::Pin => self.run(&SettleReservation::pin(id, now)),
            Request::Release => self.run(&SettleReservation::release(id)),
            Request::Commit => self.run(&SettleReservation::commit(id)),
            Request::Restock => self.run(&SettleReservation::restock(id)),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Receive { sku, quantity } => {
                let name = SKUS[*sku];
                let quantity = Quantity::new(*quantity).unwrap();
                assert!(self.change(name, StockCommand::Receive { quantity, reference: note("") }));
                *self.received.entry(name).or_default() += quantity.get();
            }
            Step::Adjust { sku, delta } => {
                let name = SKUS[*sku];
                let Ok(delta) = Adjustment::new(*delta) else { return };
                if self.change(name, StockCommand::Adjust { delta, reason: note("count") }) {
                    *self.adjusted.entry(name).or_default() += delta.get();
                }
            }
            Step::Request { order, request, times } => self.ask(*order, request, *times),
            Step::Expire { order: number } => {
                let expire = SettleReservation::expire(order(*number), at(self.now));
                let answers = self.run(&expire).unwrap_or_default();
                assert!(answers.iter().all(|a| matches!(a, Event::StockReleased(r) if r.expired)));
            }
            Step::Wait { seconds } => self.now += seconds,
        }
    }

    /// Every request is answered once each time it is made, and repeated ones alike, unless it is one that no
    /// correct saga makes.
    fn ask(&mut self, number: u128, request: &Request, times: usize) {
        let status = self.reservation(number).status;
        let mut first = None;
        for _ in 0..times {
            let answers = self.request(number, request);
            assert!(answers.is_some() || may_be_refused(request, status), "{request:?} when {status:?}");
            let Some(answers) = answers else { return };
            let [answer] = answers.as_slice() else { panic!("{request:?} was answered with {answers:?}") };
            assert!(fits(request, answer), "{request:?} was answered with {answer:?}");
            assert_eq!(
                first.get_or_insert(answer.clone()),
                answer,
                "a repeated request gets the same answer"
            );
        }
    }

    fn check(&self, before: &[StockState; 3], step: &Step) {
        for (name, before) in SKUS.iter().zip(before) {
            let stock = self.stock(name);
            let sum = |statuses: &[ReservationStatus]| -> i64 {
                let counted = (0..ORDERS)
                    .map(|number| self.reservation(number))
                    .filter(|reservation| statuses.contains(&reservation.status));
                let pieces = |r: ReservationState| -> i64 {
                    r.lines.iter().filter(|l| l.sku.as_str() == *name).map(|l| l.quantity.get()).sum()
                };
                counted.map(pieces).sum()
            };
            use ReservationStatus::{Committed, Held, Pinned, Restocked};
            assert_eq!(stock.reserved, sum(&[Held, Pinned]), "reserved is what open reservations hold");
            assert_eq!(stock.committed, sum(&[Committed, Restocked]));
            assert_eq!(stock.restocked, sum(&[Restocked]));
            let outside = |books: &BTreeMap<&str, i64>| books.get(name).copied().unwrap_or_default();
            assert_eq!(stock.received, outside(&self.received));
            assert_eq!(stock.adjusted, outside(&self.adjusted));

            let available =
                stock.received + stock.restocked + stock.adjusted - stock.reserved - stock.committed;
            assert_eq!(stock.available(), available);
            assert_eq!(available < 0, stock.shortfall_open, "below zero only while a shortfall is open");
            assert_eq!(stock.missing(), (-available).max(0));
            assert!(stock.on_hand() >= 0 || stock.shortfall_open);
            assert_eq!(self.in_stock.get(*name).copied().unwrap_or(false), available > 0, "as published");
            assert_eq!(self.short.get(*name).copied().unwrap_or(false), stock.shortfall_open, "as published");
            if !matches!(step, Step::Adjust { .. }) {
                assert!(available >= before.available().min(0), "only a correction makes a stock short");
            }
        }
    }
}

/// The errors in the table of `domain::reservation`.
fn may_be_refused(request: &Request, status: ReservationStatus) -> bool {
    use ReservationStatus::*;
    match request {
        Request::Reserve { .. } => matches!(status, Held | Pinned | Committed),
        Request::Pin => false,
        Request::Release => status == Committed,
        Request::Commit => matches!(status, Unknown | Released | Expired | Rejected),
        Request::Restock => !matches!(status, Committed | Restocked),
    }
}

fn fits(request: &Request, answer: &Event) -> bool {
    match request {
        Request::Reserve { .. } => {
            matches!(answer, Event::StockReserved(_) | Event::StockReservationRejected(_))
        }
        Request::Pin => matches!(answer, Event::ReservationPinned(_) | Event::ReservationPinRejected(_)),
        Request::Release => matches!(answer, Event::StockReleased(_)),
        Request::Commit => matches!(answer, Event::StockCommitted(_)),
        Request::Restock => matches!(answer, Event::StockRestocked(_)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_keeps_the_books_and_answers_every_request(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::default();
        for step in &steps {
            let before = SKUS.map(|name| world.stock(name));
            world.take(step);
            world.check(&before, step);
        }
    }
}
