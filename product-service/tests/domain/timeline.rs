//! Whatever is scheduled, withdrawn and set by hand, and whenever the timers fire: once they all have, each variant has
//! the price that was last given to it by the clock, and its history leads there without a gap.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use eventsourcing::Decider;
use product_service::domain::ScheduleId;
use product_service::domain::details::Details;
use product_service::domain::limits::{MAX_SCHEDULED_PER_PRODUCT, MAX_SCHEDULED_PER_VARIANT};
use product_service::domain::product::{
    NewPrice, Product, ProductCommand, ProductError, ProductEvent, ProductState, ScheduledPrice,
};
use proptest::prelude::*;

use crate::support::{eur, handle, sizes, sku};

const SKUS: [&str; 3] = ["a", "b", "c"];
const FIRST_PRICE: i64 = 1000;

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on.
    Wait {
        minutes: i64,
    },
    Schedule {
        sku: usize,
        price: i64,
        ahead: i64,
    },
    /// One of those that were ever scheduled.
    Withdraw {
        which: prop::sample::Index,
    },
    ByHand {
        sku: usize,
        price: i64,
    },
    /// The timer of one that was ever scheduled fires, early, in time, late or again.
    Fire {
        which: prop::sample::Index,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sku = || 0..SKUS.len();
    // Few prices, so that many are the same as before.
    let price = || prop_oneof![Just(FIRST_PRICE), 0..4_i64];
    let step = prop_oneof![
        3 => (0..20_i64).prop_map(|minutes| Step::Wait { minutes }),
        4 => (sku(), price(), -2..30_i64).prop_map(|(sku, price, ahead)| Step::Schedule { sku, price, ahead }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::Withdraw { which }),
        2 => (sku(), price()).prop_map(|(sku, price)| Step::ByHand { sku, price }),
        4 => any::<prop::sample::Index>().prop_map(|which| Step::Fire { which }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What somebody who only looks at the clock expects.
#[derive(Default)]
struct Expected {
    /// Prices with the time from which on they count, by SKU. Of a schedule and a hand at the same time the hand wins,
    /// since it acts when the time is there.
    given: BTreeMap<usize, Vec<(DateTime<Utc>, bool, i64)>>,
}

struct World {
    state: ProductState,
    now: DateTime<Utc>,
    scheduled: Vec<(ScheduleId, usize, DateTime<Utc>, i64)>,
    expected: Expected,
    /// How often each schedule ended.
    ended: BTreeMap<ScheduleId, u32>,
    /// The price of each SKU as its history has it.
    history: BTreeMap<String, i64>,
}

impl World {
    fn new() -> Self {
        let create = ProductCommand::Create {
            handle: handle("shirt"),
            details: Box::new(Details { name: "Shirt".into(), ..Details::default() }),
            assortment: sizes(&SKUS),
            publish: true,
        };
        let events = Product::decide(&ProductState::default(), &create).unwrap();
        Self {
            state: events.iter().fold(ProductState::default(), Product::evolve),
            now: DateTime::UNIX_EPOCH,
            scheduled: Vec::new(),
            expected: Expected::default(),
            ended: BTreeMap::new(),
            history: SKUS.iter().map(|sku| ((*sku).to_owned(), FIRST_PRICE)).collect(),
        }
    }

    fn run(&mut self, command: &ProductCommand) -> Result<Vec<ProductEvent>, ProductError> {
        let events = Product::decide(&self.state, command)?;
        for event in &events {
            self.state = Product::evolve(std::mem::take(&mut self.state), event);
            match event {
                ProductEvent::PriceChanged { sku, price, previous, .. } => {
                    let before = self.history.insert(sku.to_string(), price.minor_units);
                    assert_eq!(before, Some(previous.minor_units), "a gap in the history of {sku}");
                    assert_ne!(price, previous, "a change that is none");
                }
                ProductEvent::ScheduledPriceTookEffect { schedule_id, .. } => {
                    let (.., due, _) = self.scheduled.iter().find(|(id, ..)| id == schedule_id).unwrap();
                    assert!(*due <= self.now, "{schedule_id} took effect before its time");
                    *self.ended.entry(*schedule_id).or_default() += 1;
                }
                ProductEvent::ScheduledPricesWithdrawn { schedules, .. } => {
                    schedules.iter().for_each(|id| *self.ended.entry(*id).or_default() += 1);
                }
                _ => {}
            }
        }
        Ok(events)
    }

    fn schedule(&mut self, at: usize, price: i64, ahead: i64) {
        let schedule_id = uuid::Uuid::from_u128(self.scheduled.len() as u128 + 1).into();
        let effective_at = self.now + TimeDelta::minutes(ahead);
        let (sku, reason) = (sku(SKUS[at]), "sale".to_owned());
        let scheduled = ScheduledPrice { sku, price: eur(price), effective_at, reason };
        let taken = self
            .state
            .schedules
            .pending()
            .any(|(_, s)| (&s.sku, s.effective_at) == (&scheduled.sku, effective_at));
        let command = ProductCommand::SchedulePrice { schedule_id, scheduled, now: self.now };
        match self.run(&command) {
            Ok(_) => {
                assert!(ahead > 0 && !taken);
                self.scheduled.push((schedule_id, at, effective_at, price));
                self.expected.given.entry(at).or_default().push((effective_at, false, price));
            }
            Err(ProductError::EffectiveTimeNotAhead) => assert!(ahead <= 0),
            Err(ProductError::EffectiveTimeTaken { .. }) => assert!(taken),
            Err(ProductError::TooManyScheduledForVariant) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn withdraw(&mut self, which: &prop::sample::Index) {
        if self.scheduled.is_empty() {
            return;
        }
        let (schedule_id, at, due, price) = self.scheduled[which.index(self.scheduled.len())];
        let command = ProductCommand::WithdrawScheduledPrice { schedule_id, reason: String::new() };
        match self.run(&command) {
            Ok(events) if events.is_empty() => assert_eq!(self.ended.get(&schedule_id), Some(&1)),
            Ok(_) => {
                let given = self.expected.given.get_mut(&at).unwrap();
                let place = given.iter().position(|entry| *entry == (due, false, price)).unwrap();
                given.remove(place);
            }
            Err(error) => assert_eq!(error, ProductError::ScheduleInEffect { schedule_id }),
        }
    }

    fn fire(&mut self, place: usize) {
        let (schedule_id, _, due, _) = self.scheduled[place];
        let pending = self.state.schedules.pending().any(|(id, _)| id == schedule_id);
        match self.run(&ProductCommand::TakeEffect { schedule_id, now: self.now }) {
            Ok(events) => assert_eq!(events.is_empty(), !pending),
            Err(error) => {
                assert_eq!(error, ProductError::ScheduleNotDue { effective_at: due });
                assert!(due > self.now);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait { minutes } => self.now += TimeDelta::minutes(*minutes),
            Step::Schedule { sku, price, ahead } => self.schedule(*sku, *price, *ahead),
            Step::Withdraw { which } => self.withdraw(which),
            Step::ByHand { sku: at, price } => {
                let prices = vec![NewPrice { sku: sku(SKUS[*at]), price: eur(*price) }];
                let (reason, now) = ("season".to_owned(), self.now);
                self.run(&ProductCommand::ChangePrices { prices, reason, now }).unwrap();
                self.expected.given.entry(*at).or_default().push((self.now, true, *price));
            }
            Step::Fire { .. } if self.scheduled.is_empty() => {}
            Step::Fire { which } => self.fire(which.index(self.scheduled.len())),
        }
        let pending: Vec<_> = self.state.schedules.pending().collect();
        assert!(pending.len() <= MAX_SCHEDULED_PER_PRODUCT);
        for name in SKUS {
            assert!(
                pending.iter().filter(|(_, s)| s.sku.as_str() == name).count() <= MAX_SCHEDULED_PER_VARIANT
            );
        }
    }
}

proptest! {
    #[test]
    fn every_variant_ends_with_the_price_that_was_last_given_to_it_by_the_clock(
        steps in steps(),
        order in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        // Everything that is still to come does, in another order than it should.
        world.now += TimeDelta::days(1);
        let count = world.scheduled.len();
        for place in 0..count {
            world.fire((place + order.index(count)) % count);
        }
        prop_assert_eq!(world.state.schedules.pending().count(), 0);
        let all: BTreeSet<_> = world.scheduled.iter().map(|(id, ..)| *id).collect();
        prop_assert!(world.ended.values().all(|times| *times == 1), "{:?}", world.ended);
        prop_assert_eq!(world.ended.keys().copied().collect::<BTreeSet<_>>(), all);
        for (at, name) in SKUS.iter().enumerate() {
            let given = world.expected.given.get(&at).cloned().unwrap_or_default();
            // Of equal ones the last: somebody changed it twice within a minute.
            let last = given.iter().max_by_key(|(time, by_hand, _)| (*time, *by_hand));
            let expected = last.map_or(FIRST_PRICE, |(_, _, price)| *price);
            prop_assert_eq!(world.history[*name], expected, "{} after {:?}", name, given);
        }
        for variant in &world.state.variants {
            prop_assert_eq!(world.history[variant.sku.as_str()], variant.price.minor_units);
        }
    }
}
