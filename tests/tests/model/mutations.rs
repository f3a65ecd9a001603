//! The shop with one rule taken out at a time. Each is a patch of what a service appends, a process manager with
//! another table, or a habit of the search's own; the services know nothing of it.

use std::sync::LazyLock;

use eventsourcing::decider::encode;
use eventsourcing::{Decider, InMemoryStreams, StreamId};
use inventory_service::domain::OrderLines;
use inventory_service::domain::reservation::{
    Answer as StockAnswer, RejectionReason, Reservation, ReservationEvent, ReservationStatus,
};
use inventory_service::domain::stock::{Stock, StockEvent};
use order_service::domain::Order;
use order_service::domain::order::OrderEvent;
use payment_service::domain::payment::{Answer as PaymentAnswer, Authorization, PaymentEvent};
use payment_service::domain::{Payment, ProviderReference};
use saga_orchestrator::adapters::timers::{Deadline, deadline};
use saga_orchestrator::domain::definition::{CANCELLATION, CHECKOUT, Definition, Row};
use saga_orchestrator::domain::{
    Answer, Cancellation, Checkout, Command, Event, Input, Refusal, Reply, Saga, Step, react,
};

use crate::bounds::{Bounds, Chance};
use crate::case::{GOODS, ORDER, at, pieces, sku, stream};
use crate::log::{Events, event_of};
use crate::sagas::command;
use crate::shop::{Managers, ProviderHabit, Shop};

/// A rule that is taken out, and how much has to happen until that shows.
pub struct Mutation {
    pub name: &'static str,
    pub shop: Shop,
    pub bounds: Bounds,
}

/// A process manager that goes by another table.
macro_rules! by_another_table {
    ($name:ident, $of:ty, $definition:expr) => {
        struct $name;

        impl Decider for $name {
            const CATEGORY: &'static str = <$of as Decider>::CATEGORY;
            type State = Saga;
            type Command = Command;
            type Event = Event;
            type Error = Refusal;

            fn decide(state: &Saga, command: &Command) -> Result<Vec<Event>, Refusal> {
                static TABLE: LazyLock<[Definition; 1]> = LazyLock::new(|| [$definition]);
                react(TABLE.as_slice(), state, command)
            }

            fn evolve(state: Saga, event: &Event) -> Saga {
                state.evolve(event)
            }
        }
    };
}

by_another_table!(WithoutRelease, Checkout, without_compensation(Step::ReserveStock));
by_another_table!(WithoutVoid, Checkout, without_compensation(Step::AuthorizePayment));
by_another_table!(
    WithoutLateRefund,
    Checkout,
    Definition { ends: without(CHECKOUT[0].ends, Step::RefundPayment), ..CHECKOUT[0] }
);
by_another_table!(
    CaptureBeforePin,
    Checkout,
    Definition { forward: swapped(CHECKOUT[0].forward, 2, 3), ..CHECKOUT[0] }
);
by_another_table!(PivotIsCommit, Checkout, Definition { pivot: Some(Step::CommitStock), ..CHECKOUT[0] });
by_another_table!(PivotIsConfirm, Checkout, Definition { pivot: Some(Step::ConfirmOrder), ..CHECKOUT[0] });
by_another_table!(
    CommitBeforeCapture,
    Checkout,
    Definition { forward: swapped(CHECKOUT[0].forward, 3, 4), ..CHECKOUT[0] }
);
by_another_table!(
    CaptureLast,
    Checkout,
    Definition { forward: swapped(swapped(CHECKOUT[0].forward, 3, 4), 4, 5), ..CHECKOUT[0] }
);
by_another_table!(
    WithoutRefund,
    Cancellation,
    Definition { forward: without(CANCELLATION[0].forward, Step::RefundPayment), ..CANCELLATION[0] }
);
by_another_table!(
    WithoutRestock,
    Cancellation,
    Definition { forward: without(CANCELLATION[0].forward, Step::RestockGoods), ..CANCELLATION[0] }
);

fn without_compensation(step: Step) -> Definition {
    let forget = |row: &Row| Row { compensation: row.compensation.filter(|_| row.step != step), ..*row };
    let forward: Vec<Row> = CHECKOUT[0].forward.iter().map(forget).collect();
    Definition { forward: forward.leak(), ..CHECKOUT[0] }
}

fn without(rows: &[Row], step: Step) -> &'static [Row] {
    rows.iter().copied().filter(|row| row.step != step).collect::<Vec<_>>().leak()
}

fn swapped(rows: &[Row], one: usize, other: usize) -> &'static [Row] {
    let mut rows = rows.to_vec();
    rows.swap(one, other);
    rows.leak()
}

/// All of them, in the order of the table that they are shown in.
pub fn mutations() -> Vec<Mutation> {
    use Chance::*;
    let checkout = |managers| Shop { managers, ..Shop::AS_IT_IS };
    let patched = |patch| Shop { patch: Some(patch), ..Shop::AS_IT_IS };
    let mutation =
        |name, shop, chances: &[(Chance, u8)]| Mutation { name, shop, bounds: Bounds::of(chances) };
    vec![
        mutation(
            "compensation removed: release",
            checkout(Managers::of::<WithoutRelease, Cancellation>()),
            &[(Cancel, 1)],
        ),
        mutation(
            "compensation removed: void",
            checkout(Managers::of::<WithoutVoid, Cancellation>()),
            &[(Cancel, 1)],
        ),
        mutation(
            "compensation removed: refund of a late capture",
            checkout(Managers::of::<WithoutLateRefund, Cancellation>()),
            &[(Timeout, 2), (Operator, 1)],
        ),
        mutation(
            "compensation removed: refund",
            checkout(Managers::of::<Checkout, WithoutRefund>()),
            &[(Cancel, 1)],
        ),
        mutation(
            "compensation removed: restock",
            checkout(Managers::of::<Checkout, WithoutRestock>()),
            &[(Cancel, 1)],
        ),
        mutation(
            "tombstone removed: release before reserve",
            patched(release_leaves_nothing),
            &[(Timeout, 2), (Operator, 1), (Overtake, 1)],
        ),
        mutation(
            "tombstone removed: void before authorize",
            patched(void_leaves_nothing),
            &[(Timeout, 2), (Operator, 1), (Overtake, 1)],
        ),
        mutation(
            "command ids of messages removed",
            Shop { message_ids: false, ..Shop::AS_IT_IS },
            &[(Repeat, 1)],
        ),
        mutation(
            "request ids of clients removed",
            Shop { request_ids: false, ..Shop::AS_IT_IS },
            &[(Repeat, 1), (Booking, 1)],
        ),
        mutation(
            "unknown outcome taken as failure by payment",
            Shop { provider: ProviderHabit::GivesUp, ..Shop::AS_IT_IS },
            &[(Unknown, 1)],
        ),
        mutation(
            "unknown outcome taken as failure by the checkout",
            patched(unknown_is_failure),
            &[(Unknown, 1)],
        ),
        mutation(
            "provider called again under a new key, and not asked",
            Shop { provider: ProviderHabit::CallsAgain, ..Shop::AS_IT_IS },
            &[(Unknown, 1)],
        ),
        mutation("void does not wait for the capture", patched(void_at_once), &[(Timeout, 2), (Operator, 1)]),
        mutation(
            "capture before pin",
            checkout(Managers::of::<CaptureBeforePin, Cancellation>()),
            &[(Hour, 1)],
        ),
        mutation(
            "commit before capture",
            checkout(Managers::of::<CommitBeforeCapture, Cancellation>()),
            &[(Refusal, 1)],
        ),
        mutation("capture last", checkout(Managers::of::<CaptureLast, Cancellation>()), &[]),
        mutation(
            "pivot one step late",
            checkout(Managers::of::<PivotIsCommit, Cancellation>()),
            &[(Cancel, 1)],
        ),
        mutation(
            "pivot at the end",
            checkout(Managers::of::<PivotIsConfirm, Cancellation>()),
            &[(Cancel, 1)],
        ),
        mutation(
            "a pinned reservation expires",
            Shop { pinned_expires: true, ..Shop::AS_IT_IS },
            &[(Hour, 1), (Rival, 1)],
        ),
        mutation("lines reserved one by one", patched(first_line_only), &[]),
        mutation("reserved without looking what is there", patched(reserves_blindly), &[(Rival, 1)]),
        mutation("a rejected reservation is not told", patched(rejects_silently), &[(Rival, 1)]),
        mutation("authorized before the provider says so", patched(authorizes_at_once), &[(Refusal, 1)]),
        mutation("a wish to cancel is forgotten after the pivot", patched(forgets_the_wish), &[(Cancel, 1)]),
        mutation("the customer ends a pending order", patched(cancels_at_once), &[(Cancel, 1)]),
        mutation(
            "shipped although a cancellation is under way",
            Shop { ships_anyway: true, ..Shop::AS_IT_IS },
            &[(Cancel, 1), (Ship, 1)],
        ),
        mutation(
            "a refused refund sets no timer",
            Shop { deadline: refusal_sets_no_timer, ..Shop::AS_IT_IS },
            &[(Cancel, 1), (Refusal, 1)],
        ),
    ]
}

/// Changes the events of one decider; others stay as they are.
fn change<D: Decider>(events: Events, change: impl Fn(&StreamId, D::Event) -> Vec<D::Event>) -> Events {
    let changed = |(stream, event): (StreamId, _)| {
        if stream.category() != D::CATEGORY {
            return vec![(stream, event)];
        }
        let events = change(&stream, event_of::<D>(&event));
        events.iter().map(|event| (stream.clone(), encode(event))).collect::<Vec<_>>()
    };
    events.into_iter().flat_map(changed).collect()
}

fn release_leaves_nothing(before: &InMemoryStreams, events: Events) -> Events {
    change::<Reservation>(events, |stream, event| {
        let unknown = before.state::<Reservation>(stream).status == ReservationStatus::Unknown;
        match event {
            ReservationEvent::StockReleased {} if unknown => {
                vec![ReservationEvent::RequestAnswered { answer: StockAnswer::Released { expired: false } }]
            }
            event => vec![event],
        }
    })
}

fn void_leaves_nothing(before: &InMemoryStreams, events: Events) -> Events {
    change::<Payment>(events, |stream, event| {
        let not_asked = before.state::<Payment>(stream).authorization == Authorization::NotAsked;
        match event {
            PaymentEvent::Voided {} if not_asked => {
                vec![PaymentEvent::AnswerRepeated { answer: PaymentAnswer::Voided }]
            }
            event => vec![event],
        }
    })
}

fn unknown_is_failure(before: &InMemoryStreams, events: Events) -> Events {
    change::<Checkout>(events, |stream, event| match event {
        Event::OutcomeUnknown { step, .. } => {
            let answer = match step {
                Step::CapturePayment => Answer::PaymentCaptureFailed,
                _ => Answer::PaymentDeclined,
            };
            let reply = Input::Reply(Reply::because(answer, "NO_ANSWER"));
            react(CHECKOUT, &before.state::<Checkout>(stream), &command(reply)).expect("answers are taken")
        }
        event => vec![event],
    })
}

fn void_at_once(before: &InMemoryStreams, events: Events) -> Events {
    change::<Payment>(events, |stream, event| {
        match (event, before.state::<Payment>(stream).provider_reference()) {
            (PaymentEvent::VoidRequested {}, Some(reference)) => {
                vec![PaymentEvent::VoidStarted { provider_reference: reference.clone() }]
            }
            (event, _) => vec![event],
        }
    })
}

fn first_line_only(_: &InMemoryStreams, events: Events) -> Events {
    change::<Stock>(events, |stream, event| match event {
        StockEvent::PiecesReserved { .. } if stream.key() != GOODS[0].0 => Vec::new(),
        event => vec![event],
    })
}

fn reserves_blindly(_: &InMemoryStreams, events: Events) -> Events {
    let rejected = |(of, event): &(StreamId, _)| {
        *of == stream::<Reservation>()
            && matches!(event_of::<Reservation>(event), ReservationEvent::StockReservationRejected(rejection)
                if rejection.reason == RejectionReason::InsufficientStock)
    };
    if !events.iter().any(rejected) {
        return events;
    }
    let lines = OrderLines::sum(GOODS.map(|(name, wanted, ..)| (name, wanted))).expect("they are an order's");
    let reserved = ReservationEvent::StockReserved { lines, expires_at: at(1) };
    let mut events = vec![(stream::<Reservation>(), encode(&reserved))];
    for (name, wanted, ..) in GOODS {
        let held = StockEvent::PiecesReserved { order_id: ORDER.into(), quantity: pieces(wanted) };
        events.push((StreamId::of::<Stock>(sku(name)), encode(&held)));
    }
    events
}

fn rejects_silently(_: &InMemoryStreams, events: Events) -> Events {
    change::<Reservation>(events, |_, event| match event {
        ReservationEvent::StockReservationRejected(_) => Vec::new(),
        event => vec![event],
    })
}

fn cancels_at_once(_: &InMemoryStreams, events: Events) -> Events {
    change::<Order>(events, |_, event| match event {
        OrderEvent::OrderCancellationRequested { reason, while_pending: true, .. } => {
            vec![OrderEvent::OrderCancelled { reason }]
        }
        event => vec![event],
    })
}

fn authorizes_at_once(_: &InMemoryStreams, events: Events) -> Events {
    change::<Payment>(events, |_, event| match event {
        PaymentEvent::AuthorizationStarted { .. } => {
            let provider_reference = ProviderReference("pay_0".to_owned());
            vec![event, PaymentEvent::Authorized { provider_reference }]
        }
        event => vec![event],
    })
}

fn forgets_the_wish(_: &InMemoryStreams, events: Events) -> Events {
    let has = |name| events.iter().any(|(_, event)| event.event_type == name);
    if has("CancellationNoted") && !has("TurnedBack") { Vec::new() } else { events }
}

fn refusal_sets_no_timer(event: &Event) -> Deadline {
    match event {
        Event::RefundRefused { .. } => Deadline::None,
        event => deadline(event),
    }
}
