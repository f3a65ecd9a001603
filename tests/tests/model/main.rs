//! Every order of everything that may happen to one order of two lines, within bounds, with the services' own rules:
//! the deciders and operations of inventory, payment, order and the sagas, the translations of their messages, and
//! the rules by which the payment provider is called and asked. Databases, feeds and clocks are played by the search;
//! what they promise is tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod case;
mod inventory;
mod log;
mod mutations;
mod orders;
mod payments;
mod provider;
mod rules;
mod sagas;
mod search;
mod service;
mod shop;
mod world;

use std::collections::BTreeSet;
use std::io::Write;

use bounds::Bounds;
use bounds::Chance::{self, *};
use mutations::{Mutation, mutations};
use rules::{CARRIED_OUT_TWICE, CONTRADICTION, NO_END, PARKED, RULES};
use search::{Seen, explore};
use shop::Shop;

/// Says something that is shown although the test passes.
fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "{text}").expect("standard error can be written to");
}

/// All that is looked at.
fn properties() -> impl Iterator<Item = &'static str> {
    let of_worlds = RULES.iter().map(|rule| rule.says);
    of_worlds.chain([PARKED, CARRIED_OUT_TWICE, CONTRADICTION, NO_END])
}

/// Searches and says what was seen; panics with the way to a property that does not hold.
fn search(name: &str, shop: Shop, chances: &[(Chance, u8)]) -> Seen {
    let bounds = Bounds::of(chances);
    let seen = explore(shop, bounds).unwrap_or_else(|broken| panic!("{name} ({bounds})\n{broken}"));
    let Seen { worlds, steps, depth, ends, services: [sagas, inventory, payment, order], took, .. } = &seen;
    say(&format!(
        "model: {name} ({bounds}): {worlds} states, {steps} steps, depth {depth}, {ends} ends; {sagas} states of \
         the sagas, {inventory} of inventory, {payment} of payment, {order} of the order; {took:.1?}"
    ));
    seen
}

#[test]
fn whatever_happens_to_an_order_goods_and_money_match_and_it_comes_to_an_end() {
    let searches: [(&str, &[(Chance, u8)]); 5] = [
        ("processes die", &[(Cancel, 1), (Repeat, 2), (Crash, 1), (Unknown, 1), (Webhook, 1)]),
        (
            "the provider is hard to reach",
            &[(Cancel, 1), (Timeout, 1), (Unknown, 2), (Refusal, 1), (Crash, 1), (Webhook, 1)],
        ),
        (
            "nobody is punctual, and people act",
            &[(Cancel, 1), (Timeout, 2), (LateTimer, 1), (Operator, 2), (Refusal, 1), (Hour, 1)],
        ),
        (
            "messages come late and again",
            &[(Cancel, 1), (Timeout, 2), (Operator, 1), (Unknown, 1), (Repeat, 1), (Overtake, 2)],
        ),
        (
            "the last piece",
            &[(Cancel, 1), (Repeat, 1), (Hour, 2), (Rival, 1), (Booking, 1), (Loss, 1), (Ship, 1)],
        ),
    ];
    let (mut states, mut told) = (0, BTreeSet::new());
    for (name, chances) in searches {
        let seen = search(name, Shop::AS_IT_IS, chances);
        states += seen.worlds;
        told.extend(seen.told);
    }
    let names: Vec<&str> = properties().collect();
    say(&format!("model: {states} states in all; in each of them:\n  {}", names.join("\n  ")));
    let unseen: Vec<_> =
        SITUATIONS.iter().filter(|event| !told.iter().any(|line| happens(line, event))).collect();
    assert!(unseen.is_empty(), "these never happen, so the search is not what it seems: {unseen:#?}");
}

#[test]
fn whatever_happens_to_an_order_that_costs_nothing_it_comes_to_an_end_without_a_payment() {
    let free = Shop { free: true, ..Shop::AS_IT_IS };
    let chances =
        [(Cancel, 1), (Timeout, 2), (Operator, 2), (Repeat, 1), (Overtake, 1), (Hour, 1), (Ship, 1)];
    let seen = search("an order that costs nothing", free, &chances);
    assert!(!seen.told.iter().any(|line| line.contains("payment")), "{:#?}", seen.told);
}

/// Who says what at least once in a search that deserves the name, in the words of its lines.
const SITUATIONS: [(&str, &str); 38] = [
    ("the sagas", "cancellation started"),
    ("the sagas", "step failed"),
    ("the sagas", "turned back"),
    ("the sagas", "outcome unknown"),
    ("the sagas", "capture turned out late"),
    ("the sagas", "refund refused"),
    ("the sagas", "no saga awaits it"),
    ("the sagas", "saga ended"),
    ("the deadline", "saga stuck"),
    ("the slow worker", "nothing happens"),
    ("an operator", "turned back"),
    ("an operator", "to try again"),
    ("inventory", "stock reservation rejected"),
    ("inventory", "reservation pin rejected"),
    ("inventory", "stock released"),
    ("inventory", "stock restocked"),
    ("inventory", "request answered"),
    ("inventory", "once more"),
    ("the reservation", "reservation expired"),
    ("the clerk", "shortfall opened"),
    ("a mug arrives", "shortfall closed"),
    ("another shopper", "pays"),
    ("payment", "authorization refused"),
    ("payment", "capture refused"),
    ("payment", "void requested"),
    ("payment", "answer repeated"),
    ("payment", "once more"),
    ("the payment worker", "declined"),
    ("the payment worker", "capture failed"),
    ("the payment worker", "refund failed"),
    ("the payment worker", "outcome unknown"),
    ("the payment worker", "never heard of"),
    ("the payment worker", "then it dies"),
    ("the delayed call", "arrives"),
    ("the provider", "captured"),
    ("the order", "order outcome reaffirmed"),
    ("the order", "order rejected"),
    ("the parcel", "order shipped"),
];

fn happens(line: &str, (who, what): &(&str, &str)) -> bool {
    line.starts_with(who) && line.contains(what)
}

#[test]
fn every_rule_that_is_taken_out_is_missed_and_every_property_can_fail() {
    let mut table = String::new();
    let mut missed = Vec::new();
    let mut broken_rules = BTreeSet::new();
    for Mutation { name, shop, bounds } in mutations() {
        match explore(shop, bounds) {
            Err(broken) => {
                say(&format!("\nmutation: {name} ({bounds})\n{broken}"));
                table.push_str(&format!("\n{:>5}  {name:<55}  {}", broken.way.len(), broken.rule));
                broken_rules.insert(broken.rule);
            }
            Ok(seen) => missed.push(format!("{name} ({bounds}; {} states)", seen.worlds)),
        }
    }
    say(&format!("\nsteps  {:<55}  the property that it breaks{table}", "mutation"));
    assert!(missed.is_empty(), "not found out: {missed:#?}");
    let never: Vec<_> = properties().filter(|property| !broken_rules.contains(property)).collect();
    assert!(never.is_empty(), "no mutation breaks these: {never:#?}");
}
