//! Orders against their sagas, goods and holds on money.

use inventory_service::domain::reservation::ReservationStatus;
use order_service::domain::order::Phase;

use crate::audit::case::Case;
use crate::audit::cut::Cut;
use crate::audit::facts::Facts;
use crate::audit::facts::payments::PaymentFacts;
use crate::audit::facts::sagas::SagaFacts;
use crate::audit::finding::Finding;

/// Somebody works on every order that is not at its end, and nobody on one that is.
pub fn have_sagas(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding = Finding::invariant(
        "orders-sagas",
        "a pending order has a checkout under way, one to be cancelled a cancellation, and others none",
    );
    for case in Case::all(cut, facts) {
        // What the orchestrator has not heard of yet, it cannot have acted on.
        if !case.order_heard || case.was_helped() {
            continue;
        }
        let wrong = wrong_saga(&case);
        finding.judge(wrong.is_none(), || {
            format!("order {}: {}, {}", case.id, case.phase_name(), wrong.unwrap_or_default())
        });
    }
    finding
}

fn wrong_saga(case: &Case<'_>) -> Option<&'static str> {
    let order = case.order?;
    let Some(checkout) = case.checkout else { return Some("no checkout") };
    let cancellation_ended = case.cancellation.map(SagaFacts::is_ended);
    let wanted = order.state.cancellation.is_some();
    if checkout.is_stuck() {
        return None;
    }
    // Money that was taken late is paid back by a checkout that had ended.
    let busy = !checkout.is_ended() && !checkout.saga.late_capture;
    match (&order.state.phase, cancellation_ended) {
        (Phase::Unplaced, _) => Some("it was never placed"),
        (Phase::Pending, None) if checkout.is_ended() => Some("its checkout has ended"),
        (Phase::Pending, None) => None,
        (Phase::Pending, Some(_)) => Some("it has a cancellation"),
        (_, _) if busy => Some("its checkout goes on"),
        (Phase::Confirmed, None) if wanted => Some("its cancellation never began"),
        (Phase::Confirmed, Some(true)) => Some("its cancellation has ended"),
        (Phase::Confirmed, Some(false)) if !wanted => Some("nobody wanted its cancellation"),
        (Phase::Shipped | Phase::Delivered | Phase::Rejected(_), Some(_)) => Some("it has a cancellation"),
        (Phase::Cancelled(_), Some(false)) if !case.cancellation.is_some_and(SagaFacts::is_stuck) => {
            Some("its cancellation goes on")
        }
        _ => None,
    }
}

/// Goods are sold exactly for orders that stand.
pub fn goods(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding = Finding::invariant(
        "orders-goods",
        "a confirmed order's goods are sold, a cancelled one's taken back, a rejected one's never sold",
    );
    for case in Case::all(cut, facts).filter(Case::is_at_rest) {
        let Some(order) = case.order else { continue };
        let status = reservation_status(&case);
        let sold = status == ReservationStatus::Committed;
        let returned = status == ReservationStatus::Restocked;
        let holds = match (&order.state.phase, case.cancellation) {
            (Phase::Confirmed | Phase::Shipped | Phase::Delivered, _) => sold,
            (Phase::Cancelled(_), Some(_)) => returned,
            (Phase::Rejected(_) | Phase::Cancelled(_), _) => !sold && !returned,
            (Phase::Unplaced | Phase::Pending, _) => continue,
        };
        let phase = case.phase_name();
        finding.judge(holds, || format!("order {}: {phase}, goods {}", case.id, status.as_str()));
    }
    finding
}

/// An order that failed or was called off holds nothing.
pub fn hold_nothing(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding =
        Finding::invariant("orders-holds", "a rejected or cancelled order holds neither goods nor money");
    for case in Case::all(cut, facts).filter(Case::is_at_rest) {
        let Some(order) = case.order else { continue };
        if !matches!(order.state.phase, Phase::Rejected(_) | Phase::Cancelled(_)) {
            continue;
        }
        let status = reservation_status(&case);
        let goods = matches!(status, ReservationStatus::Held | ReservationStatus::Pinned);
        let money = case.payment.is_some_and(PaymentFacts::is_held);
        finding.judge(!goods && !money, || {
            let (phase, status) = (case.phase_name(), status.as_str());
            format!("order {}: {phase}, goods {status}, money held: {money}", case.id)
        });
    }
    finding
}

fn reservation_status(case: &Case<'_>) -> ReservationStatus {
    case.reservation.map_or(ReservationStatus::Unknown, |reservation| reservation.status)
}

/// Goods, money and sagas belong to orders.
pub fn nothing_without(facts: &Facts) -> Finding {
    let mut finding =
        Finding::invariant("orders-exist", "every reservation, payment and saga belongs to an order");
    let reservations = facts.goods.reservations.iter().map(|(order, _)| ("reservation", order));
    let payments = facts.payments.known.iter().map(|(order, _)| ("payment", order));
    let sagas = facts.sagas.known.iter().map(|((_, order), _)| ("saga", order));
    for (what, order) in reservations.chain(payments).chain(sagas) {
        if !facts.in_motion.contains(order) {
            let exists = facts.orders.known.get(order).is_some();
            finding.judge(exists, || format!("a {what} of order {order}, which does not exist"));
        }
    }
    finding
}
