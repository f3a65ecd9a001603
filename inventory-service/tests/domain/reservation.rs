//! The rules of one order's reservation: the table in its module, row by row.

use inventory_service::domain::reservation::{
    Answer, LackingLine, PinRefusal, Rejection, RejectionReason, Reservation, ReservationCommand,
    ReservationError, ReservationEvent, ReservationStatus,
};
use testkit::given;

use crate::support::{at, lines, pieces, sku};

use ReservationEvent as E;

const EXPIRES: i64 = 100;

fn reserved() -> E {
    E::StockReserved { lines: lines(&[("a", 2), ("b", 1)]), expires_at: at(EXPIRES) }
}

fn rejection() -> Rejection {
    let lacking = LackingLine { sku: sku("a"), requested: pieces(2), available: 1 };
    Rejection { reason: RejectionReason::InsufficientStock, lacking: vec![lacking] }
}

fn rejected() -> E {
    E::StockReservationRejected(rejection())
}

fn reserve() -> ReservationCommand {
    ReservationCommand::Reserve { lines: lines(&[("a", 2), ("b", 1)]), expires_at: at(EXPIRES) }
}

fn refuse() -> ReservationCommand {
    ReservationCommand::Refuse { rejection: rejection() }
}

fn pin(seconds: i64) -> ReservationCommand {
    ReservationCommand::Pin { now: at(seconds) }
}

fn answered(answer: Answer) -> E {
    E::RequestAnswered { answer }
}

fn held() -> Vec<E> {
    vec![reserved()]
}

fn pinned() -> Vec<E> {
    vec![reserved(), E::ReservationPinned {}]
}

fn committed() -> Vec<E> {
    vec![reserved(), E::ReservationPinned {}, E::StockCommitted {}]
}

fn restocked() -> Vec<E> {
    [committed(), vec![E::StockRestocked {}]].concat()
}

fn released() -> Vec<E> {
    vec![reserved(), E::StockReleased {}]
}

fn tombstone() -> Vec<E> {
    vec![E::StockReleased {}]
}

fn expired() -> Vec<E> {
    vec![reserved(), E::ReservationExpired {}]
}

#[test]
fn a_reservation_is_held_or_rejected() {
    given::<Reservation>([]).when(reserve()).then([reserved()]);
    given::<Reservation>([]).when(refuse()).then([rejected()]);
}

#[test]
fn a_repeated_reservation_is_answered_again() {
    for history in [held(), pinned(), committed()] {
        given::<Reservation>(history).when(reserve()).then([answered(Answer::Reserved {})]);
    }
}

#[test]
fn a_repeated_rejection_gives_the_first_reason_whatever_is_in_stock_by_then() {
    let again = answered(Answer::ReservationRejected(rejection()));
    given::<Reservation>([rejected()]).when(reserve()).then([again.clone()]);
    let other = Rejection { reason: RejectionReason::UnknownSku, lacking: vec![] };
    given::<Reservation>([rejected()]).when(ReservationCommand::Refuse { rejection: other }).then([again]);
}

#[test]
fn a_reservation_that_comes_after_its_end_is_refused() {
    let refused = || {
        let rejection = Rejection { reason: RejectionReason::ReleasedBefore, lacking: vec![] };
        E::StockReservationRejected(rejection)
    };
    for history in [tombstone(), released(), expired(), restocked()] {
        // Refusing does not change how it ended, so the next one is refused for the same reason.
        given::<Reservation>(history.clone())
            .when(reserve())
            .then([refused()])
            .when(reserve())
            .then([refused()]);
        given::<Reservation>(history).when(refuse()).then([refused()]);
    }
}

#[test]
fn another_reservation_for_the_same_order_is_an_error_while_its_goods_are_held_or_sold() {
    let other = || ReservationCommand::Reserve { lines: lines(&[("a", 3)]), expires_at: at(EXPIRES) };
    for history in [held(), pinned(), committed()] {
        given::<Reservation>(history.clone())
            .when(other())
            .then_rejected(ReservationError::OtherLinesReserved);
        given::<Reservation>(history).when(refuse()).then_rejected(ReservationError::OtherLinesReserved);
    }
}

#[test]
fn a_held_reservation_is_pinned_until_the_moment_its_time_is_up() {
    given::<Reservation>(held()).when(pin(EXPIRES - 1)).then([E::ReservationPinned {}]);
    let refused = E::ReservationPinRejected { reason: PinRefusal::ReservationExpired };
    given::<Reservation>(held()).when(pin(EXPIRES)).then([refused.clone()]);
    given::<Reservation>(expired()).when(pin(0)).then([refused]);
}

#[test]
fn a_repeated_pin_is_answered_again_also_when_its_time_is_up() {
    for history in [pinned(), committed()] {
        given::<Reservation>(history).when(pin(EXPIRES + 1)).then([answered(Answer::Pinned {})]);
    }
}

#[test]
fn what_is_not_held_cannot_be_pinned() {
    let refused = |reason| E::ReservationPinRejected { reason };
    for history in [tombstone(), released(), restocked()] {
        given::<Reservation>(history).when(pin(0)).then([refused(PinRefusal::ReservationReleased)]);
    }
    for history in [vec![], vec![rejected()]] {
        given::<Reservation>(history).when(pin(0)).then([refused(PinRefusal::UnknownReservation)]);
    }
}

#[test]
fn a_refused_pin_leaves_no_trace_for_the_reservation() {
    given::<Reservation>([])
        .when(pin(0))
        .then([E::ReservationPinRejected { reason: PinRefusal::UnknownReservation }])
        .when(reserve())
        .then([reserved()]);
}

#[test]
fn a_release_ends_what_is_held_and_leaves_a_tombstone_for_what_is_not() {
    for history in [vec![], held(), pinned()] {
        given::<Reservation>(history).when(ReservationCommand::Release {}).then([E::StockReleased {}]);
    }
}

#[test]
fn a_repeated_release_is_answered_again() {
    for history in [tombstone(), released(), vec![rejected()], restocked()] {
        let again = answered(Answer::Released { expired: false });
        given::<Reservation>(history).when(ReservationCommand::Release {}).then([again]);
    }
    let again = answered(Answer::Released { expired: true });
    given::<Reservation>(expired()).when(ReservationCommand::Release {}).then([again]);
}

#[test]
fn sold_goods_cannot_be_released() {
    given::<Reservation>(committed())
        .when(ReservationCommand::Release {})
        .then_rejected(ReservationError::AlreadyCommitted);
}

#[test]
fn what_is_held_is_sold_pinned_or_not() {
    for history in [held(), pinned()] {
        given::<Reservation>(history).when(ReservationCommand::Commit {}).then([E::StockCommitted {}]);
    }
    for history in [committed(), restocked()] {
        let again = answered(Answer::Committed {});
        given::<Reservation>(history).when(ReservationCommand::Commit {}).then([again]);
    }
}

#[test]
fn what_is_not_held_cannot_be_sold() {
    for (history, status) in [
        (vec![], ReservationStatus::Unknown),
        (tombstone(), ReservationStatus::Released),
        (expired(), ReservationStatus::Expired),
        (vec![rejected()], ReservationStatus::Rejected),
    ] {
        given::<Reservation>(history)
            .when(ReservationCommand::Commit {})
            .then_rejected(ReservationError::NothingHeld { status });
    }
}

#[test]
fn sold_goods_are_taken_back_once() {
    given::<Reservation>(committed())
        .when(ReservationCommand::Restock {})
        .then([E::StockRestocked {}])
        .when(ReservationCommand::Restock {})
        .then([answered(Answer::Restocked {})]);
}

#[test]
fn what_was_not_sold_cannot_be_taken_back() {
    for (history, status) in [
        (vec![], ReservationStatus::Unknown),
        (held(), ReservationStatus::Held),
        (pinned(), ReservationStatus::Pinned),
        (released(), ReservationStatus::Released),
        (expired(), ReservationStatus::Expired),
        (vec![rejected()], ReservationStatus::Rejected),
    ] {
        given::<Reservation>(history)
            .when(ReservationCommand::Restock {})
            .then_rejected(ReservationError::NotCommitted { status });
    }
}

#[test]
fn a_timer_ends_only_what_is_held_and_whose_time_is_up() {
    let expire = |seconds| ReservationCommand::Expire { now: at(seconds) };
    given::<Reservation>(held()).when(expire(EXPIRES)).then([E::ReservationExpired {}]);
    given::<Reservation>(held())
        .when(expire(EXPIRES - 1))
        .then_rejected(ReservationError::NotDue { expires_at: at(EXPIRES) });
    let others =
        [vec![], pinned(), committed(), released(), tombstone(), expired(), vec![rejected()], restocked()];
    for history in others {
        given::<Reservation>(history).when(expire(EXPIRES)).then_nothing();
    }
}

#[test]
fn every_status_is_found_by_the_name_under_which_it_is_stored() {
    for name in ["unknown", "held", "pinned", "committed", "released", "expired", "rejected", "restocked"] {
        let status = ReservationStatus::from_name(name).unwrap();
        assert_eq!(status.as_str(), name);
        assert_eq!(serde_json::to_value(status).unwrap(), name, "states and tables use the same names");
    }
    assert_eq!(ReservationStatus::from_name("lost"), None);
}
