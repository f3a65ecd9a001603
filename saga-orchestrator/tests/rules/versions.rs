//! A process may change while sagas run: each keeps the version that it started with.

use saga_orchestrator::domain::definition::{CHECKOUT, Definition, Row};
use saga_orchestrator::domain::*;

use crate::support::*;

/// A second version that asks for the money before it sets goods aside.
fn two_versions() -> &'static [Definition] {
    let mut forward: Vec<Row> = CHECKOUT[0].forward.to_vec();
    forward.swap(0, 1);
    let second = Definition { version: 2, forward: forward.leak(), ..CHECKOUT[0] };
    vec![CHECKOUT[0], second].leak()
}

fn run(definitions: &'static [Definition], mut saga: Saga, command: &Command) -> Saga {
    for event in react(definitions, &saga, command).unwrap() {
        saga = saga.evolve(&event);
    }
    saga
}

fn open(saga: &Saga) -> Option<Step> {
    saga.open.as_ref().map(|open| open.step)
}

#[test]
fn a_running_saga_keeps_its_version_and_a_new_one_takes_the_newest() {
    let old = run(CHECKOUT, Saga::default(), &start());
    let old = run(two_versions(), old, &answer(Answer::StockReserved));
    assert_eq!((old.definition, open(&old)), (1, Some(Step::AuthorizePayment)));

    let new = run(two_versions(), Saga::default(), &start());
    assert_eq!((new.definition, open(&new)), (2, Some(Step::AuthorizePayment)));
    let new = run(two_versions(), new, &answer(Answer::PaymentAuthorized));
    assert_eq!(open(&new), Some(Step::ReserveStock));
}

#[test]
fn a_saga_compensates_by_its_own_version_too() {
    let new = run(two_versions(), Saga::default(), &start());
    let new = run(two_versions(), new, &answer(Answer::PaymentAuthorized));
    let new = run(two_versions(), new, &no(Answer::StockReservationRejected, "INSUFFICIENT_STOCK"));
    assert_eq!(open(&new), Some(Step::VoidAuthorization));
}
