use chrono::{DateTime, Utc};
use proptest::prelude::*;
use testkit::given;
use uuid::Uuid;

use super::*;
use crate::domain::{Currency, CustomerId, Money, OrderId, PaymentToken, Quantity, SealedText, Sku};

fn money(minor_units: i64, code: &str) -> Money {
    Money::new(minor_units, Currency::parse(code).unwrap())
}

fn eur(minor_units: i64) -> Money {
    money(minor_units, "EUR")
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn sold(sku: &str, quantity: i64, unit_price: Money) -> RequestedLine {
    let offer = Offer::Sold { name: format!("The {sku}"), unit_price };
    RequestedLine { sku: Sku::parse(sku).unwrap(), quantity: Quantity::new(quantity).unwrap(), offer }
}

fn not_sold(sku: &str, offer: Offer) -> RequestedLine {
    RequestedLine { sku: Sku::parse(sku).unwrap(), quantity: Quantity::new(1).unwrap(), offer }
}

fn order(lines: Vec<RequestedLine>) -> PlaceOrder {
    PlaceOrder {
        order_id: OrderId::new(Uuid::from_u128(7)),
        customer_id: None,
        lines,
        expected_total: None,
        payment_token: PaymentToken::parse("tok_success"),
        contact: SealedText("sealed".into()),
        open_orders: 0,
        max_open_orders: MAX_OPEN_ORDERS,
        placed_at: at(),
    }
}

fn usual() -> PlaceOrder {
    order(vec![sold("A-1", 2, eur(1250)), sold("B-2", 1, eur(99))])
}

fn place(order: PlaceOrder) -> OrderCommand {
    OrderCommand::Place(Box::new(order))
}

fn line(sku: &str, quantity: i64, unit_price: Money, line_total: Money) -> OrderLine {
    let name = format!("The {sku}");
    OrderLine {
        sku: Sku::parse(sku).unwrap(),
        name,
        quantity: Quantity::new(quantity).unwrap(),
        unit_price,
        line_total,
    }
}

fn placed() -> OrderEvent {
    OrderEvent::OrderPlaced(OrderPlaced {
        order_id: OrderId::new(Uuid::from_u128(7)),
        customer_id: None,
        lines: vec![line("A-1", 2, eur(1250), eur(2500)), line("B-2", 1, eur(99), eur(99))],
        amounts: vec![Amount { kind: AmountKind::Items, money: eur(2599) }],
        total: eur(2599),
        payment_token: PaymentToken::parse("tok_success"),
        contact: SealedText("sealed".into()),
        placed_at: at(),
    })
}

fn code(code: &str) -> ReasonCode {
    ReasonCode::parse(code).unwrap()
}

fn cancel() -> OrderCommand {
    OrderCommand::RequestCancellation { reason: code("CHANGED_MIND"), note: None }
}

fn requested(while_pending: bool) -> OrderEvent {
    OrderEvent::OrderCancellationRequested { reason: code("CHANGED_MIND"), note: None, while_pending }
}

fn reject() -> OrderCommand {
    OrderCommand::Reject { reason: code("OUT_OF_STOCK") }
}

fn rejected() -> OrderEvent {
    OrderEvent::OrderRejected { reason: code("OUT_OF_STOCK") }
}

fn complete_cancellation() -> OrderCommand {
    OrderCommand::CompleteCancellation { reason: code("CHANGED_MIND") }
}

fn cancelled() -> OrderEvent {
    OrderEvent::OrderCancelled { reason: code("CHANGED_MIND") }
}

fn reaffirmed(outcome: Outcome) -> OrderEvent {
    OrderEvent::OrderOutcomeReaffirmed { outcome }
}

const CONFIRMED: OrderEvent = OrderEvent::OrderConfirmed {};
const SHIPPED: OrderEvent = OrderEvent::OrderShipped {};
const DELIVERED: OrderEvent = OrderEvent::OrderDelivered {};

// Placing

#[test]
fn an_order_is_placed_at_the_shops_prices_with_its_total_as_a_list_of_amounts() {
    given::<Order>([]).when(place(usual())).then([placed()]);
}

#[test]
fn an_order_is_placed_once() {
    given::<Order>([placed()]).when(place(usual())).then_rejected(OrderError::AlreadyPlaced);
}

#[test]
fn the_total_that_the_shopper_saw_must_be_the_total() {
    let expecting = |total| place(PlaceOrder { expected_total: Some(total), ..usual() });
    given::<Order>([]).when(expecting(eur(2599))).then([placed()]);
    for other in [eur(2600), eur(2598), eur(0), money(2599, "USD")] {
        let changed = OrderError::PriceChanged { expected: other, actual: eur(2599) };
        given::<Order>([]).when(expecting(other)).then_rejected(changed);
    }
}

#[test]
fn what_the_catalogue_does_not_sell_is_refused_by_its_line() {
    let sku = Sku::parse("X").unwrap();
    let with = |offer| place(order(vec![sold("A-1", 1, eur(1)), not_sold("X", offer)]));
    let unknown = OrderError::UnknownSku { line: 1, sku: sku.clone() };
    given::<Order>([]).when(with(Offer::Unknown)).then_rejected(unknown);
    let discontinued = OrderError::ProductDiscontinued { line: 1, sku };
    given::<Order>([]).when(with(Offer::Discontinued)).then_rejected(discontinued);
}

#[test]
fn all_lines_are_priced_in_one_currency() {
    let mixed = order(vec![sold("A", 1, eur(1)), sold("B", 1, eur(1)), sold("C", 1, money(1, "USD"))]);
    let (first, found) = (Currency::parse("EUR").unwrap(), Currency::parse("USD").unwrap());
    given::<Order>([]).when(place(mixed)).then_rejected(OrderError::MixedCurrencies {
        line: 2,
        first,
        found,
    });
}

#[test]
fn an_order_has_one_to_a_hundred_lines() {
    let lines = |count| place(order(vec![sold("A", 1, eur(1)); count]));
    let refused = OrderError::WrongNumberOfLines { max: 100 };
    given::<Order>([]).when(lines(0)).then_rejected(refused.clone());
    given::<Order>([]).when(lines(101)).then_rejected(refused);
    assert!(Order::decide(&OrderState::default(), &lines(100)).is_ok());
}

#[test]
fn the_same_sku_may_stand_in_two_lines() {
    let twice = order(vec![sold("A", 1, eur(5)), sold("A", 2, eur(5))]);
    let events = Order::decide(&OrderState::default(), &place(twice)).unwrap();
    let [OrderEvent::OrderPlaced(placed)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((placed.lines.len(), placed.total), (2, eur(15)));
}

#[test]
fn a_total_beyond_the_limit_is_refused_and_never_wraps_around() {
    let refused = || OrderError::TotalTooHigh { max: MAX_TOTAL_MINOR_UNITS };
    let at_limit = order(vec![sold("A", 1000, eur(MAX_TOTAL_MINOR_UNITS / 1000))]);
    assert!(Order::decide(&OrderState::default(), &place(at_limit.clone())).is_ok());
    let mut above = at_limit;
    above.lines.push(sold("B", 1, eur(1)));
    given::<Order>([]).when(place(above)).then_rejected(refused());
    for huge in [i64::MAX, i64::MAX / 1000 + 1, i64::MAX / 2] {
        let huge = order(vec![sold("A", 1000, eur(huge)), sold("B", 1000, eur(huge))]);
        given::<Order>([]).when(place(huge)).then_rejected(refused());
    }
}

#[test]
fn an_order_that_costs_nothing_needs_no_payment_token_and_any_other_does() {
    let without = |price| place(PlaceOrder { payment_token: None, ..order(vec![sold("A", 3, eur(price))]) });
    assert!(Order::decide(&OrderState::default(), &without(0)).is_ok());
    given::<Order>([]).when(without(1)).then_rejected(OrderError::PaymentTokenRequired);
}

#[test]
fn a_customer_may_have_so_many_open_orders_and_a_guest_is_not_counted() {
    let by = |customer: Option<&str>, open_orders| {
        place(PlaceOrder { customer_id: customer.and_then(CustomerId::parse), open_orders, ..usual() })
    };
    assert!(Order::decide(&OrderState::default(), &by(Some("c-1"), MAX_OPEN_ORDERS - 1)).is_ok());
    let refused = OrderError::TooManyOpenOrders { max: MAX_OPEN_ORDERS };
    given::<Order>([]).when(by(Some("c-1"), MAX_OPEN_ORDERS)).then_rejected(refused);
    assert!(Order::decide(&OrderState::default(), &by(None, MAX_OPEN_ORDERS)).is_ok());
}

// Checkout's end

#[test]
fn the_checkout_saga_ends_pending() {
    given::<Order>([placed()]).when(OrderCommand::Confirm).then([CONFIRMED]);
    given::<Order>([placed()]).when(reject()).then([rejected()]);
    given::<Order>([placed(), requested(true)]).when(reject()).then([rejected()]);
    given::<Order>([placed(), requested(true)]).when(complete_cancellation()).then([cancelled()]);
}

#[test]
fn a_confirmation_after_a_cancellation_request_hands_the_request_to_the_cancellation_saga() {
    given::<Order>([placed(), requested(true)])
        .when(OrderCommand::Confirm)
        .then([CONFIRMED, requested(false)])
        .when(OrderCommand::Ship)
        .then_rejected(OrderError::CancellationUnderWay);
    given::<Order>([placed(), requested(true), CONFIRMED, requested(false)])
        .when(complete_cancellation())
        .then([cancelled()]);
}

#[test]
fn a_note_stays_with_the_request_that_it_was_written_for() {
    let note = Some(SealedText("note".into()));
    let reason = code("CHANGED_MIND");
    let with_note = OrderEvent::OrderCancellationRequested {
        reason: reason.clone(),
        note: note.clone(),
        while_pending: true,
    };
    given::<Order>([placed()])
        .when(OrderCommand::RequestCancellation { reason, note })
        .then([with_note])
        .when(OrderCommand::Confirm)
        .then([CONFIRMED, requested(false)]);
}

#[test]
fn every_saga_request_is_answered_with_the_true_outcome_however_late_or_often_it_comes() {
    let confirmed = || Outcome::Confirmed {};
    let was_rejected = || Outcome::Rejected { reason: code("OUT_OF_STOCK") };
    let was_cancelled = || Outcome::Cancelled { reason: code("CHANGED_MIND") };
    type Case = (Vec<OrderEvent>, fn() -> OrderCommand, Outcome);
    let histories: [Case; 12] = [
        (vec![placed(), CONFIRMED], || OrderCommand::Confirm, confirmed()),
        (vec![placed(), CONFIRMED, requested(false)], || OrderCommand::Confirm, confirmed()),
        (vec![placed(), CONFIRMED, SHIPPED], || OrderCommand::Confirm, confirmed()),
        (vec![placed(), CONFIRMED, SHIPPED, DELIVERED], || OrderCommand::Confirm, confirmed()),
        (vec![placed(), CONFIRMED], reject, confirmed()),
        (vec![placed(), CONFIRMED, SHIPPED], complete_cancellation, confirmed()),
        (vec![placed(), rejected()], reject, was_rejected()),
        (vec![placed(), rejected()], || OrderCommand::Confirm, was_rejected()),
        (vec![placed(), rejected()], complete_cancellation, was_rejected()),
        (vec![placed(), CONFIRMED, requested(false), cancelled()], complete_cancellation, was_cancelled()),
        (vec![placed(), requested(true), cancelled()], || OrderCommand::Confirm, was_cancelled()),
        (vec![placed(), requested(true), cancelled()], reject, was_cancelled()),
    ];
    for (history, command, outcome) in histories {
        given::<Order>(history)
            .when(command())
            .then([reaffirmed(outcome.clone())])
            .when(command())
            .then([reaffirmed(outcome)]);
    }
}

#[test]
fn a_saga_request_for_an_order_that_is_not_there_is_refused() {
    for command in [OrderCommand::Confirm, reject(), complete_cancellation()] {
        given::<Order>([]).when(command).then_rejected(OrderError::NotFound);
    }
}

// Cancelling

#[test]
fn cancelling_a_pending_order_leaves_a_request_for_checkout() {
    given::<Order>([placed()]).when(cancel()).then([requested(true)]);
}

#[test]
fn cancelling_a_confirmed_order_leaves_a_request_for_the_cancellation_saga() {
    given::<Order>([placed(), CONFIRMED]).when(cancel()).then([requested(false)]);
}

#[test]
fn cancelling_twice_is_cancelling_once() {
    given::<Order>([placed(), requested(true)]).when(cancel()).then_nothing();
    given::<Order>([placed(), CONFIRMED, requested(false)]).when(cancel()).then_nothing();
    given::<Order>([placed(), requested(true), CONFIRMED, requested(false)]).when(cancel()).then_nothing();
    given::<Order>([placed(), requested(true), cancelled()]).when(cancel()).then_nothing();
}

#[test]
fn what_is_shipped_delivered_rejected_or_not_there_cannot_be_cancelled() {
    given::<Order>([placed(), CONFIRMED, SHIPPED]).when(cancel()).then_rejected(OrderError::AlreadyShipped);
    given::<Order>([placed(), CONFIRMED, SHIPPED, DELIVERED])
        .when(cancel())
        .then_rejected(OrderError::AlreadyShipped);
    given::<Order>([placed(), rejected()]).when(cancel()).then_rejected(OrderError::AlreadyRejected);
    given::<Order>([]).when(cancel()).then_rejected(OrderError::NotFound);
}

// Shipping

#[test]
fn a_confirmed_order_is_shipped_and_then_delivered_once_each() {
    given::<Order>([placed(), CONFIRMED])
        .when(OrderCommand::Ship)
        .then([SHIPPED])
        .when(OrderCommand::Deliver)
        .then([DELIVERED])
        .when(OrderCommand::Deliver)
        .then_rejected(OrderError::AlreadyDelivered);
    given::<Order>([placed(), CONFIRMED, SHIPPED])
        .when(OrderCommand::Ship)
        .then_rejected(OrderError::AlreadyShipped);
}

#[test]
fn an_order_is_not_shipped_or_delivered_before_its_time_or_after_its_end() {
    for (history, ship, deliver) in [
        (vec![], OrderError::NotFound, OrderError::NotFound),
        (vec![placed()], OrderError::NotConfirmed, OrderError::NotShipped),
        (
            vec![placed(), CONFIRMED, requested(false)],
            OrderError::CancellationUnderWay,
            OrderError::NotShipped,
        ),
        (vec![placed(), rejected()], OrderError::AlreadyRejected, OrderError::AlreadyRejected),
        (
            vec![placed(), requested(true), cancelled()],
            OrderError::AlreadyCancelled,
            OrderError::AlreadyCancelled,
        ),
    ] {
        given::<Order>(history.clone()).when(OrderCommand::Ship).then_rejected(ship);
        given::<Order>(history).when(OrderCommand::Deliver).then_rejected(deliver);
    }
    given::<Order>([placed(), CONFIRMED]).when(OrderCommand::Deliver).then_rejected(OrderError::NotShipped);
}

// Properties

fn any_command() -> impl Strategy<Value = OrderCommand> {
    prop_oneof![
        Just(place(usual())),
        Just(cancel()),
        Just(OrderCommand::Confirm),
        Just(reject()),
        Just(complete_cancellation()),
        Just(OrderCommand::Ship),
        Just(OrderCommand::Deliver),
    ]
}

/// How far an order is; it never goes back.
fn rank(phase: &Phase) -> u32 {
    match phase {
        Phase::Unplaced => 0,
        Phase::Pending => 1,
        Phase::Confirmed => 2,
        Phase::Shipped => 3,
        Phase::Delivered | Phase::Rejected(_) | Phase::Cancelled(_) => 4,
    }
}

fn is_saga_request(command: &OrderCommand) -> bool {
    matches!(
        command,
        OrderCommand::Confirm | OrderCommand::Reject { .. } | OrderCommand::CompleteCancellation { .. }
    )
}

proptest! {
    #[test]
    fn whatever_is_asked_an_order_only_goes_forward_and_sagas_are_always_answered(
        commands in prop::collection::vec(any_command(), 0..40),
    ) {
        let mut state = OrderState::default();
        for command in commands {
            let before = state.clone();
            let decided = Order::decide(&state, &command);
            if is_saga_request(&command) && before.phase != Phase::Unplaced {
                prop_assert!(decided.as_ref().is_ok_and(|events| !events.is_empty()), "{before:?} {command:?}");
            }
            for event in decided.unwrap_or_default() {
                state = Order::evolve(state, &event);
            }
            prop_assert!(rank(&state.phase) >= rank(&before.phase), "{before:?} -> {state:?}");
            if before.is_final() {
                prop_assert_eq!(&state, &before, "an end is an end");
            }
            if state.is_final() || state.phase == Phase::Shipped {
                prop_assert_eq!(&state.cancellation, &None, "nothing is cancelled after the end");
            }
            if before.cancellation.is_some() {
                prop_assert!(state.phase != Phase::Shipped, "shipped although it was to be cancelled");
            }
        }
    }

    #[test]
    fn a_total_is_the_exact_sum_of_its_lines_or_refused(
        lines in prop::collection::vec((0..=i64::MAX, 1..=1000i64), 1..=100),
        cheap in any::<bool>(),
    ) {
        let price = |price: i64| if cheap { price % 100_000_000 } else { price };
        let lines: Vec<_> = lines.into_iter().map(|(p, quantity)| (price(p), quantity)).collect();
        let exact: i128 = lines.iter().map(|(price, quantity)| i128::from(*price) * i128::from(*quantity)).sum();
        let requested = lines.iter().map(|(price, quantity)| sold("A", *quantity, eur(*price))).collect();
        match Order::decide(&OrderState::default(), &place(order(requested))) {
            Ok(events) => {
                let [OrderEvent::OrderPlaced(placed)] = events.as_slice() else { panic!("{events:?}") };
                prop_assert_eq!(i128::from(placed.total.minor_units), exact);
                let amounts: i64 = placed.amounts.iter().map(|amount| amount.money.minor_units).sum();
                prop_assert_eq!(amounts, placed.total.minor_units);
                prop_assert!(exact <= i128::from(MAX_TOTAL_MINOR_UNITS));
            }
            Err(OrderError::TotalTooHigh { .. }) => prop_assert!(exact > i128::from(MAX_TOTAL_MINOR_UNITS)),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

// Stored form

fn every_event() -> Vec<OrderEvent> {
    let OrderEvent::OrderPlaced(guest) = placed() else { unreachable!("it is") };
    let customer =
        OrderPlaced { customer_id: CustomerId::parse("c-1"), payment_token: None, ..guest.clone() };
    vec![
        OrderEvent::OrderPlaced(guest),
        OrderEvent::OrderPlaced(customer),
        requested(true),
        OrderEvent::OrderCancellationRequested {
            reason: code("REQUESTED_BY_SHOPPER"),
            note: Some(SealedText("sealed".into())),
            while_pending: false,
        },
        CONFIRMED,
        rejected(),
        cancelled(),
        SHIPPED,
        DELIVERED,
        reaffirmed(Outcome::Confirmed {}),
        reaffirmed(Outcome::Rejected { reason: code("OUT_OF_STOCK") }),
        reaffirmed(Outcome::Cancelled { reason: code("CHANGED_MIND") }),
    ]
}

/// Golden files hold the data of every stored form, one a line, in the order of `every_event`. They are written
/// once by hand and never changed: what is released stays readable.
fn golden(event_type: &str) -> Vec<String> {
    let path = format!("{}/tests/golden/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_event_is_stored_as_its_golden_file_says_and_read_back() {
    use std::collections::BTreeMap;

    let mut by_type: BTreeMap<String, Vec<OrderEvent>> = BTreeMap::new();
    for event in every_event() {
        by_type.entry(eventsourcing::decider::encode(&event).event_type).or_default().push(event);
    }
    assert_eq!(by_type.len(), 8, "a new event type needs an example here and a golden file");
    for (event_type, events) in by_type {
        let stored = golden(&event_type);
        assert_eq!(stored.len(), events.len(), "{event_type}");
        for (event, data) in events.into_iter().zip(stored) {
            assert_eq!(eventsourcing::decider::encode(&event).data, data, "{event_type}");
            let read: OrderEvent = eventsourcing::decider::decode(&event_type, 1, &data).unwrap();
            assert_eq!(read, event);
        }
    }
}
