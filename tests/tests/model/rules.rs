//! What must hold in every world, and at every end. Each rule is one sentence and one condition.

use inventory_service::domain::reservation::ReservationStatus as Goods;
use saga_orchestrator::domain::{Status, Step};

use crate::orders::Name as Phase;
use crate::{inventory, orders, payments, sagas};

/// Broken by an input itself, rather than by the world that it leads to.
pub const PARKED: &str = "no message is refused and parked";
pub const CARRIED_OUT_TWICE: &str =
    "a message that is delivered again gets the first answer and changes nothing";
pub const CONTRADICTION: &str = "what the provider says never contradicts what was told before";
/// Found by going backwards from all ends.
pub const NO_END: &str = "an end can be reached from everywhere";

/// All that the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub sagas: sagas::Facts,
    pub inventory: inventory::Facts,
    pub payments: payments::Facts,
    pub orders: orders::Facts,
    /// What the order comes to.
    pub total: i64,
    /// Nothing is under way.
    pub quiet: bool,
}

pub struct Rule {
    pub says: &'static str,
    pub holds: fn(&Sight) -> bool,
}

pub const RULES: [Rule; 13] = [
    Rule {
        says: "stock adds up: what is booked is there, what is held and sold is what orders hold",
        holds: |s| s.inventory.adds_up,
    },
    Rule {
        says: "nothing is sold twice: less than nothing is available only while a shortfall is open",
        holds: |s| !s.inventory.oversold,
    },
    Rule { says: "money is taken once at most, and never more of it paid back", holds: money_is_taken_once },
    Rule {
        says: "nobody pays without goods: taken money has its goods set aside, or is on its way back",
        holds: nobody_pays_without_goods,
    },
    Rule { says: "a confirmed order is paid, and its goods are sold", holds: confirmed_is_paid_and_sold },
    Rule { says: "a shipped order stays paid, and its goods sold", holds: shipped_stays_so },
    Rule { says: "a rejected or cancelled order holds no goods and no money", holds: ended_holds_nothing },
    Rule {
        says: "only the checkout ends a pending order",
        holds: |s| s.orders.phase == Phase::Pending || s.sagas.checkout.asked_for_the_end,
    },
    Rule {
        says: "the provider is not asked to undo while it is unknown what it did",
        holds: |s| {
            !(s.payments.authorizing || s.payments.capturing) || !(s.payments.voiding || s.payments.refunding)
        },
    },
    Rule {
        says: "no saga compensates while it is unknown what the provider did, unless a person gave that step up",
        holds: waits_for_the_outcome,
    },
    Rule {
        says: "there is no way back once the money is taken, unless a person gave the capture up",
        holds: no_way_back,
    },
    Rule {
        says: "a saga that waits for something has a timer, or is stuck and a person is called",
        holds: |s| waits_with_a_timer(&s.sagas.checkout) && waits_with_a_timer(&s.sagas.cancellation),
    },
    Rule { says: "at an end sagas and participants agree", holds: |s| !s.is_end() || ends_agree(s) },
];

impl Sight {
    /// Everything is done, and nothing will happen by itself.
    pub fn is_end(&self) -> bool {
        let through = |saga: &sagas::Progress| saga.open.is_none();
        self.quiet
            && self.sagas.checkout.status.is_some()
            && through(&self.sagas.checkout)
            && through(&self.sagas.cancellation)
    }

    fn taken(&self) -> i64 {
        self.payments.books.captured - self.payments.books.refunded
    }
}

fn money_is_taken_once(s: &Sight) -> bool {
    let books = s.payments.books;
    books.captured <= s.total && books.refunded <= books.captured && books.held + books.captured <= s.total
}

fn nobody_pays_without_goods(s: &Sight) -> bool {
    let set_aside = matches!(s.inventory.reservation, Goods::Pinned | Goods::Committed);
    let on_its_way_back = s.sagas.checkout.turned_back || s.sagas.cancellation.status.is_some();
    s.taken() == 0 || set_aside || on_its_way_back
}

fn confirmed_is_paid_and_sold(s: &Sight) -> bool {
    let cancelled = s.sagas.cancellation.status.is_some();
    s.orders.phase != Phase::Confirmed || cancelled || is_paid_and_sold(s)
}

fn shipped_stays_so(s: &Sight) -> bool {
    s.orders.phase != Phase::Shipped || is_paid_and_sold(s)
}

fn is_paid_and_sold(s: &Sight) -> bool {
    s.taken() == s.total && s.payments.books.held == 0 && s.inventory.reservation == Goods::Committed
}

fn ended_holds_nothing(s: &Sight) -> bool {
    let ended = matches!(s.orders.phase, Phase::Rejected | Phase::Cancelled);
    let goods = matches!(s.inventory.reservation, Goods::Held | Goods::Pinned | Goods::Committed);
    !ended || (!goods && s.taken() == 0 && s.payments.books.held == 0)
}

fn waits_for_the_outcome(s: &Sight) -> bool {
    let checkout = &s.sagas.checkout;
    let undoes = [Step::ReleaseStock, Step::VoidAuthorization, Step::RefundPayment];
    let compensates = checkout.open.is_some_and(|open| undoes.contains(&open));
    !compensates || checkout.given_up.is_some() || !(s.payments.authorizing || s.payments.capturing)
}

fn no_way_back(s: &Sight) -> bool {
    let checkout = &s.sagas.checkout;
    !checkout.turned_back || s.payments.books.captured == 0 || checkout.given_up == Some(Step::CapturePayment)
}

fn waits_with_a_timer(saga: &sagas::Progress) -> bool {
    saga.open.is_none() || saga.has_timer || saga.status == Some(Status::Stuck)
}

fn ends_agree(s: &Sight) -> bool {
    let nothing_left = s.taken() == 0 && s.payments.books.held == 0;
    let given_back = matches!(s.inventory.reservation, Goods::Released | Goods::Expired | Goods::Rejected);
    match (s.sagas.checkout.status, s.sagas.cancellation.status) {
        (Some(Status::Completed), None) => {
            let there = matches!(s.orders.phase, Phase::Confirmed | Phase::Shipped);
            there && !s.orders.cancelling && is_paid_and_sold(s)
        }
        (Some(Status::Completed), Some(Status::Completed)) => {
            s.orders.phase == Phase::Cancelled && nothing_left && s.inventory.reservation == Goods::Restocked
        }
        (Some(Status::Compensated), None) => {
            let ended = matches!(s.orders.phase, Phase::Rejected | Phase::Cancelled);
            ended && nothing_left && given_back
        }
        _ => false,
    }
}
