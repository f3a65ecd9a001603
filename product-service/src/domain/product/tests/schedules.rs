//! The rules of prices to come, and of products that come back.

use chrono::TimeDelta;

use super::super::super::ScheduleId;
use super::super::super::limits::{
    ENDED_SCHEDULES_KNOWN, MAX_SCHEDULED_DAYS, MAX_SCHEDULED_PER_PRODUCT, MAX_SCHEDULED_PER_VARIANT,
};
use super::*;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn at(minute: i64) -> DateTime<Utc> {
    NOW + TimeDelta::minutes(minute)
}

fn id(number: u128) -> ScheduleId {
    uuid::Uuid::from_u128(number).into()
}

fn schedule(number: u128, text: &str, price: Price, minute: i64) -> ProductCommand {
    let (sku, reason, effective_at) = (sku(text), "sale".to_owned(), at(minute));
    let scheduled = ScheduledPrice { sku, price, effective_at, reason };
    ProductCommand::SchedulePrice { schedule_id: id(number), scheduled, now: NOW }
}

fn scheduled(number: u128, text: &str, price: i64, minute: i64) -> ProductEvent {
    let (sku, reason, effective_at) = (sku(text), "sale".to_owned(), at(minute));
    ProductEvent::PriceChangeScheduled {
        schedule_id: id(number),
        sku,
        price: eur(price),
        effective_at,
        reason,
    }
}

fn withdraw(number: u128) -> ProductCommand {
    ProductCommand::WithdrawScheduledPrice { schedule_id: id(number), reason: "too early".into() }
}

fn withdrawn(numbers: &[u128], reason: &str) -> ProductEvent {
    let schedules = numbers.iter().copied().map(id).collect();
    ProductEvent::ScheduledPricesWithdrawn { schedules, reason: reason.into() }
}

fn fire(number: u128, minute: i64) -> ProductCommand {
    ProductCommand::TakeEffect { schedule_id: id(number), now: at(minute) }
}

fn took_effect(number: u128, text: &str) -> ProductEvent {
    ProductEvent::ScheduledPriceTookEffect { schedule_id: id(number), sku: sku(text) }
}

fn changed(text: &str, price: i64, previous: i64) -> ProductEvent {
    let (price, previous, reason) = (eur(price), eur(previous), "sale".to_owned());
    ProductEvent::PriceChanged { sku: sku(text), price, previous, reason, on_sale: true }
}

fn by_hand(text: &str, price: i64, minute: i64) -> ProductCommand {
    let prices = vec![NewPrice { sku: sku(text), price: eur(price) }];
    ProductCommand::ChangePrices { prices, reason: "season".into(), now: at(minute) }
}

fn reinstate() -> ProductCommand {
    ProductCommand::Reinstate { reason: "found more".into() }
}

fn reinstated(on_sale: bool) -> ProductEvent {
    ProductEvent::ProductReinstated { reason: "found more".into(), on_sale }
}

fn with(events: impl IntoIterator<Item = ProductEvent>) -> Vec<ProductEvent> {
    active().into_iter().chain(events).collect()
}

#[test]
fn a_scheduled_price_becomes_the_price_when_its_time_has_come_and_once_only() {
    given::<Product>(active())
        .when(schedule(1, "S", eur(900), 10))
        .then([scheduled(1, "S", 900, 10)])
        .when(fire(1, 10))
        .then([took_effect(1, "S"), changed("S", 900, 1000)])
        .when(fire(1, 11))
        .then_nothing();
}

#[test]
fn a_timer_that_fires_before_the_time_is_refused() {
    given::<Product>(with([scheduled(1, "S", 900, 10)]))
        .when(fire(1, 9))
        .then_rejected(ProductError::ScheduleNotDue { effective_at: at(10) });
}

#[test]
fn a_price_that_is_the_same_by_then_takes_effect_without_a_change() {
    given::<Product>(active())
        .when(schedule(1, "S", eur(1000), 10))
        .then([scheduled(1, "S", 1000, 10)])
        .when(fire(1, 10))
        .then([took_effect(1, "S")]);
}

#[test]
fn a_change_by_hand_before_its_time_leaves_a_scheduled_price_as_it_is() {
    given::<Product>(with([scheduled(1, "S", 900, 10)]))
        .when(by_hand("S", 700, 5))
        .then([repriced("S", 700, 1000, true)])
        .when(fire(1, 10))
        .then([took_effect(1, "S"), changed("S", 900, 700)]);
}

#[test]
fn a_change_by_hand_comes_after_what_was_due_before_it_though_its_timer_is_late() {
    let history = with([scheduled(1, "S", 900, 10), scheduled(2, "S", 800, 20), scheduled(3, "M", 1, 10)]);
    given::<Product>(history.clone())
        .when(by_hand("S", 700, 15))
        .then([took_effect(1, "S"), changed("S", 900, 1000), repriced("S", 700, 900, true)])
        .when(fire(1, 16))
        .then_nothing()
        .when(fire(2, 20))
        .then([took_effect(2, "S"), changed("S", 800, 700)]);
    given::<Product>(history)
        .when(by_hand("S", 900, 15))
        .then([took_effect(1, "S"), changed("S", 900, 1000)]);
}

#[test]
fn of_timers_that_were_missed_the_latest_price_stays_in_whatever_order_they_fire() {
    let history = with([scheduled(1, "S", 900, 30), scheduled(2, "S", 800, 20), scheduled(3, "S", 700, 40)]);
    given::<Product>(history.clone())
        .when(fire(2, 60))
        .then([took_effect(2, "S"), changed("S", 800, 1000)])
        .when(fire(3, 60))
        .then([took_effect(1, "S"), changed("S", 900, 800), took_effect(3, "S"), changed("S", 700, 900)])
        .when(fire(1, 60))
        .then_nothing();
    given::<Product>(history).when(fire(1, 60)).then([
        took_effect(2, "S"),
        changed("S", 800, 1000),
        took_effect(1, "S"),
        changed("S", 900, 800),
    ]);
}

#[test]
fn a_variant_has_one_scheduled_price_for_any_time() {
    given::<Product>(with([scheduled(1, "S", 900, 10)]))
        .when(schedule(2, "M", eur(900), 10))
        .then([scheduled(2, "M", 900, 10)])
        .when(schedule(3, "S", eur(900), 10))
        .then_rejected(ProductError::EffectiveTimeTaken { sku: sku("S"), schedule_id: id(1) });
    given::<Product>(with([scheduled(1, "S", 900, 10), withdrawn(&[1], "")]))
        .when(schedule(2, "S", eur(800), 10))
        .then([scheduled(2, "S", 800, 10)]);
}

#[test]
fn a_scheduled_price_is_of_a_known_variant_and_in_the_currency_of_the_product() {
    given::<Product>(active())
        .when(schedule(1, "XXL", eur(1), 10))
        .then_rejected(ProductError::UnknownVariant { sku: sku("XXL") });
    given::<Product>(active())
        .when(schedule(1, "S", usd(1), 10))
        .then_rejected(ProductError::CurrencyDiffers { expected: Currency::from_code("EUR").unwrap() });
}

#[test]
fn a_scheduled_price_lies_ahead_and_not_too_far() {
    for minute in [0, -1] {
        given::<Product>(active())
            .when(schedule(1, "S", eur(1), minute))
            .then_rejected(ProductError::EffectiveTimeNotAhead);
    }
    let last = MAX_SCHEDULED_DAYS * 24 * 60;
    given::<Product>(active()).when(schedule(1, "S", eur(1), last)).then([scheduled(1, "S", 1, last)]);
    given::<Product>(active())
        .when(schedule(1, "S", eur(1), last + 1))
        .then_rejected(ProductError::EffectiveTimeTooFar);
}

#[test]
fn a_time_is_kept_to_the_microsecond() {
    let exact = |nanos| {
        let effective_at = at(10) + TimeDelta::nanoseconds(nanos);
        let (sku, price, reason) = (sku("S"), eur(900), "sale".to_owned());
        let scheduled = ScheduledPrice { sku, price, effective_at, reason };
        ProductCommand::SchedulePrice { schedule_id: id(1), scheduled, now: NOW }
    };
    given::<Product>(active())
        .when(exact(999))
        .then([scheduled(1, "S", 900, 10)])
        .when(exact(1))
        .then_rejected(ProductError::EffectiveTimeTaken { sku: sku("S"), schedule_id: id(1) });
}

#[test]
fn a_variant_and_a_product_have_a_limited_number_of_scheduled_prices() {
    let most = MAX_SCHEDULED_PER_VARIANT as u128;
    let full = with((1..=most).map(|n| scheduled(n, "S", 1, n as i64)));
    given::<Product>(full.clone())
        .when(schedule(99, "S", eur(1), 99))
        .then_rejected(ProductError::TooManyScheduledForVariant);
    let took_one = full.into_iter().chain([took_effect(1, "S")]);
    given::<Product>(took_one).when(schedule(99, "S", eur(1), 99)).then([scheduled(99, "S", 1, 99)]);

    let create = ProductCommand::Create {
        handle: handle(),
        details: Box::new(details()),
        assortment: many(0, MAX_SCHEDULED_PER_PRODUCT),
        publish: false,
    };
    let mut history = Product::decide(&ProductState::default(), &create).unwrap();
    history.extend((0..MAX_SCHEDULED_PER_PRODUCT).map(|n| scheduled(n as u128, &format!("S{n}"), 1, 10)));
    let full = history.iter().fold(ProductState::default(), Product::evolve);
    let refused = Product::decide(&full, &schedule(9_999, "S0", eur(1), 11));
    assert_eq!(refused, Err(ProductError::TooManyScheduled));
}

#[test]
fn a_scheduled_price_is_withdrawn_before_its_time_and_not_after_it_took_effect() {
    given::<Product>(with([scheduled(1, "S", 900, 10)]))
        .when(withdraw(1))
        .then([withdrawn(&[1], "too early")])
        .when(withdraw(1))
        .then_nothing()
        .when(fire(1, 10))
        .then_nothing();
    given::<Product>(with([scheduled(1, "S", 900, 10), took_effect(1, "S"), changed("S", 900, 1000)]))
        .when(withdraw(1))
        .then_rejected(ProductError::ScheduleInEffect { schedule_id: id(1) });
    given::<Product>(active())
        .when(withdraw(1))
        .then_rejected(ProductError::UnknownSchedule { schedule_id: id(1) });
}

#[test]
fn what_became_of_the_last_scheduled_prices_is_remembered_and_of_older_ones_not() {
    let many = 1..=ENDED_SCHEDULES_KNOWN as u128 + 1;
    let ended = with(many.flat_map(|n| [scheduled(n, "S", 1, 1), withdrawn(&[n], "")]));
    given::<Product>(ended.clone()).when(withdraw(2)).then_nothing();
    given::<Product>(ended)
        .when(withdraw(1))
        .then_rejected(ProductError::UnknownSchedule { schedule_id: id(1) });
}

#[test]
fn discontinuing_a_product_withdraws_its_scheduled_prices_and_nothing_can_be_scheduled_for_it() {
    given::<Product>(with([scheduled(1, "S", 900, 10), scheduled(2, "M", 900, 10)]))
        .when(discontinue())
        .then([withdrawn(&[1, 2], "sold out"), discontinued(true)])
        .when(fire(1, 10))
        .then_nothing()
        .when(withdraw(1))
        .then_nothing()
        .when(reinstate())
        .then([reinstated(true)])
        .when(fire(2, 20))
        .then_nothing();
    given::<Product>(ended())
        .when(schedule(1, "S", eur(900), 10))
        .then_rejected(ProductError::ProductIsDiscontinued);
}

#[test]
fn prices_of_a_draft_are_scheduled_and_nobody_hears_of_them() {
    let private = |event| match event {
        ProductEvent::PriceChanged { sku, price, previous, reason, .. } => {
            ProductEvent::PriceChanged { sku, price, previous, reason, on_sale: false }
        }
        event => event,
    };
    given::<Product>(draft())
        .when(schedule(1, "S", eur(900), 10))
        .then([scheduled(1, "S", 900, 10)])
        .when(fire(1, 10))
        .then([took_effect(1, "S"), private(changed("S", 900, 1000))]);
}

#[test]
fn a_reinstated_product_is_what_it_was_before_it_was_discontinued() {
    given::<Product>(ended())
        .when(reinstate())
        .then([reinstated(true)])
        .when(reinstate())
        .then_nothing()
        .when(reprice(&[("S", eur(1))]))
        .then([repriced("S", 1, 1000, true)])
        .when(discontinue())
        .then([discontinued(true)]);
    given::<Product>(draft().into_iter().chain([discontinued(false)]))
        .when(reinstate())
        .then([reinstated(false)])
        .when(update(vec![], Some(WantedStatus::Active)))
        .then([published_as("Shirt", &["S", "M"])]);
}

#[test]
fn what_was_never_discontinued_can_be_reinstated_without_effect_and_what_is_not_there_cannot() {
    given::<Product>(active()).when(reinstate()).then_nothing();
    given::<Product>(draft()).when(reinstate()).then_nothing();
    for command in [reinstate(), schedule(1, "S", eur(1), 10), withdraw(1), fire(1, 10)] {
        given::<Product>([]).when(command).then_rejected(ProductError::UnknownProduct);
    }
}
