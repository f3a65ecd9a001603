//! Stock and reservations. They share a log whose appends span streams, so at every position they must agree.

use inventory_service::domain::reservation::ReservationStatus;

use crate::audit::cut::{Cut, Log};
use crate::audit::facts::Facts;
use crate::audit::facts::goods::{Sums, TIMER_QUEUE, TIMERS};
use crate::audit::finding::Finding;

/// What the stock of a SKU says is reserved, sold and taken back is the sum of what orders hold, bought and gave
/// back, and no counter is below zero.
pub fn adds_up(facts: &Facts) -> Finding {
    let mut finding = Finding::invariant(
        "stock-adds-up",
        "reserved, sold and returned pieces of a SKU are those of its reservations, and never below zero",
    );
    for (sku, index) in facts.goods.skus() {
        let wanted = facts.goods.sums(index);
        let stock = facts.goods.stock.get(&index).map(|stock| &stock.state);
        let counted = stock.map_or(Sums::default(), |stock| Sums {
            reserved: stock.reserved,
            committed: stock.committed,
            restocked: stock.restocked,
        });
        let received = stock.map_or(0, |stock| stock.received);
        let none_below_zero =
            [received, counted.reserved, counted.committed, counted.restocked].iter().all(|n| *n >= 0);
        finding.judge(counted == wanted && none_below_zero, || {
            format!("SKU {sku}: {counted:?} in stock, {wanted:?} in reservations, {received} received")
        });
    }
    finding
}

/// Available stock is below zero exactly while a shortfall is open, at the end and at every movement before; and
/// what was last announced of it is true.
pub fn shortfalls(facts: &Facts) -> Finding {
    let mut finding = Finding::invariant(
        "stock-shortfalls",
        "available stock is below zero exactly while a shortfall is open, and announced while it is above zero",
    );
    for (sku, index) in facts.goods.skus() {
        let Some(stock) = facts.goods.stock.get(&index) else { continue };
        let available = stock.state.available();
        let open = stock.state.shortfall_open;
        let holds = (available < 0) == open && (available > 0) == stock.announced && !stock.missed_shortfall;
        finding.judge(holds, || {
            let announced = stock.announced;
            format!("SKU {sku}: available {available}, shortfall open: {open}, announced: {announced}")
        });
    }
    finding
}

/// A reservation takes one way: it is held, perhaps pinned, and then sold, given back or expired, and only what
/// was sold is taken back.
pub fn reservations(facts: &Facts) -> Finding {
    let mut finding =
        Finding::invariant("stock-reservations", "a reservation has one state, and at most one end");
    for (order, reservation) in facts.goods.reservations.iter() {
        let unlawful = reservation.unlawful.as_deref();
        finding.judge(unlawful.is_none(), || format!("order {order}: {}", unlawful.unwrap_or_default()));
    }
    finding
}

/// What is held and not pinned is given back some day, because a timer is set for it.
pub fn timers(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding = Finding::invariant("stock-timers", "a reservation that is not pinned has a timer");
    let snapshot = &cut.snapshots[Log::Inventory];
    for (order, reservation) in facts.goods.reservations.iter() {
        let key = order.to_string();
        let projected = snapshot.has_handled(TIMERS, &format!("reservation-{key}"), reservation.last);
        if reservation.status == ReservationStatus::Held && projected {
            finding.judge(snapshot.has_task(TIMER_QUEUE, &key), || format!("order {order}: held for ever"));
        }
    }
    finding
}
