//! Every order of everything that may happen to one order, within bounds: answers of both kinds, unknown
//! outcomes, an expiring reservation, a customer who cancels at any moment, deadlines that pass, an operator who
//! retries and turns back. The deciders are the real ones; the participants are as small as the protocol allows
//! (`participants.rs`).

mod participants;
mod world;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use saga_orchestrator::domain::definition::{CHECKOUT, Definition, Row};
use saga_orchestrator::domain::{Money, Step};
use world::{Bounds, World};

use crate::support::euros;

/// Worlds at most; a search that finds more has lost its bounds.
const MAX_WORLDS: usize = 2_000_000;

struct Found {
    parent: usize,
    action: String,
    is_end: bool,
    /// Worlds that lead here.
    from: Vec<usize>,
}

/// What a search saw, or the way to the first world that breaks a rule.
fn explore(checkout: &'static [Definition], total: Money, bounds: Bounds) -> Result<usize, String> {
    let hashers = (RandomState::new(), RandomState::new());
    let identity = |world: &World| (hashers.0.hash_one(world), hashers.1.hash_one(world));
    let first = World::new(checkout, total, bounds);
    let mut known = HashMap::from([(identity(&first), 0)]);
    let mut found = vec![Found { parent: 0, action: "OrderPlaced".into(), is_end: false, from: Vec::new() }];
    let mut frontier = VecDeque::from([(0, first)]);
    while let Some((here, world)) = frontier.pop_front() {
        for (action, next) in world.successors() {
            let there = *known.entry(identity(&next)).or_insert_with(|| {
                let is_end = next.is_end();
                found.push(Found { parent: here, action: action.clone(), is_end, from: Vec::new() });
                frontier.push_back((found.len() - 1, next.clone()));
                found.len() - 1
            });
            found[there].from.push(here);
            if let Err(broken) = next.check() {
                return Err(format!("{broken}\n{}", way_to(&found, there)));
            }
        }
        assert!(found.len() <= MAX_WORLDS, "the search has lost its bounds");
    }
    match worlds_without_an_end(&found) {
        Some(lost) => Err(format!("no end can be reached any more\n{}", way_to(&found, lost))),
        None => Ok(found.len()),
    }
}

fn way_to(found: &[Found], mut at: usize) -> String {
    let mut way = Vec::new();
    while at != 0 {
        way.push(found[at].action.as_str());
        at = found[at].parent;
    }
    way.push(found[0].action.as_str());
    way.reverse();
    way.join("\n  ")
}

fn worlds_without_an_end(found: &[Found]) -> Option<usize> {
    let mut reaches: Vec<bool> = found.iter().map(|world| world.is_end).collect();
    let mut queue: Vec<usize> = (0..found.len()).filter(|at| reaches[*at]).collect();
    while let Some(at) = queue.pop() {
        for before in &found[at].from {
            if !std::mem::replace(&mut reaches[*before], true) {
                queue.push(*before);
            }
        }
    }
    reaches.iter().position(|reaches| !reaches)
}

#[test]
fn whatever_happens_to_a_paid_order_it_ends_with_goods_and_money_matching() {
    let bounds = Bounds { cancellations: 1, timeouts: 3, operator: 1, refusals: 1 };
    let worlds = explore(CHECKOUT, euros(4990), bounds).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{worlds} worlds of a paid order");
    assert!(worlds > 10_000, "the search saw only {worlds}");
}

#[test]
fn whatever_happens_to_a_free_order_it_ends_with_goods_and_money_matching() {
    let bounds = Bounds { cancellations: 1, timeouts: 4, operator: 2, refusals: 0 };
    let worlds = explore(CHECKOUT, euros(0), bounds).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{worlds} worlds of a free order");
    assert!(worlds > 1_000, "the search saw only {worlds}");
}

/// Checkout without the compensation of one step.
fn without_compensation(step: Step) -> &'static [Definition] {
    let forget = |row: &Row| Row { compensation: row.compensation.filter(|_| row.step != step), ..*row };
    let forward: Vec<Row> = CHECKOUT[0].forward.iter().map(forget).collect();
    vec![Definition { forward: forward.leak(), ..CHECKOUT[0] }].leak()
}

#[test]
fn a_table_that_lacks_a_compensation_is_found_out() {
    let bounds = Bounds { cancellations: 1, timeouts: 0, operator: 0, refusals: 0 };
    for (step, expected) in [(Step::ReserveStock, "stock is left"), (Step::AuthorizePayment, "money is left")]
    {
        let broken = explore(without_compensation(step), euros(4990), bounds).unwrap_err();
        assert!(broken.starts_with(expected), "{step:?}: {broken}");
    }
}

#[test]
fn a_table_that_does_not_refund_a_late_capture_is_found_out() {
    let ends: Vec<Row> = CHECKOUT[0].ends.iter().copied().filter(|r| r.step != Step::RefundPayment).collect();
    let table: &'static [Definition] = vec![Definition { ends: ends.leak(), ..CHECKOUT[0] }].leak();
    let bounds = Bounds { cancellations: 0, timeouts: 2, operator: 1, refusals: 0 };
    let broken = explore(table, euros(4990), bounds).unwrap_err();
    assert!(broken.starts_with("money is left"), "{broken}");
}

#[test]
fn a_table_that_asks_for_the_money_last_is_found_out() {
    let mut forward = CHECKOUT[0].forward.to_vec();
    let capture = forward.remove(3);
    forward.push(capture);
    let table: &'static [Definition] = vec![Definition { forward: forward.leak(), ..CHECKOUT[0] }].leak();
    let bounds = Bounds { cancellations: 0, timeouts: 0, operator: 0, refusals: 0 };
    let broken = explore(table, euros(4990), bounds).unwrap_err();
    assert!(broken.starts_with("the order is confirmed, the payment"), "{broken}");
}
