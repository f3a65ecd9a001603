//! The rules of one SKU's stock.

use inventory_service::domain::MAX_QUANTITY;
use inventory_service::domain::stock::{
    MAX_COUNTER, Stock, StockCommand, StockError, StockEvent, StockState,
};
use testkit::given;

use eventsourcing::Decider;

use crate::support::{delta, note, order, pieces};

fn received(number: i64) -> StockEvent {
    StockEvent::StockReceived { quantity: pieces(number), reference: note("") }
}

fn adjusted(number: i64) -> StockEvent {
    StockEvent::StockAdjusted { delta: delta(number), reason: note("count") }
}

fn reserved(number: i64) -> StockEvent {
    StockEvent::PiecesReserved { order_id: order(1), quantity: pieces(number) }
}

fn committed(number: i64) -> StockEvent {
    StockEvent::PiecesCommitted { order_id: order(1), quantity: pieces(number) }
}

fn receive(number: i64) -> StockCommand {
    StockCommand::Receive { quantity: pieces(number), reference: note("") }
}

fn adjust(number: i64) -> StockCommand {
    StockCommand::Adjust { delta: delta(number), reason: note("count") }
}

fn reserve(number: i64) -> StockCommand {
    StockCommand::Reserve { order_id: order(1), quantity: pieces(number) }
}

fn release(number: i64) -> StockCommand {
    StockCommand::Release { order_id: order(1), quantity: pieces(number) }
}

fn commit(number: i64) -> StockCommand {
    StockCommand::Commit { order_id: order(1), quantity: pieces(number) }
}

fn restock(number: i64) -> StockCommand {
    StockCommand::Restock { order_id: order(1), quantity: pieces(number) }
}

fn in_stock(in_stock: bool) -> StockEvent {
    StockEvent::AvailabilityChanged { in_stock }
}

fn state(history: &[StockEvent]) -> StockState {
    history.iter().fold(StockState::default(), Stock::evolve)
}

#[test]
fn the_first_goods_make_a_sku_available() {
    given::<Stock>([]).when(receive(5)).then([received(5), in_stock(true)]);
    given::<Stock>([received(5), in_stock(true)]).when(receive(2)).then([received(2)]);
}

#[test]
fn a_sku_that_nobody_received_is_unknown() {
    given::<Stock>([]).when(reserve(1)).then_rejected(StockError::UnknownSku);
    given::<Stock>([]).when(adjust(1)).then_rejected(StockError::UnknownSku);
}

#[test]
fn the_last_piece_can_be_reserved_and_no_more() {
    given::<Stock>([received(2)])
        .when(reserve(2))
        .then([reserved(2), in_stock(false)])
        .when(reserve(1))
        .then_rejected(StockError::InsufficientStock { available: 0 });
}

#[test]
fn what_is_reserved_beyond_the_available_is_refused_whole() {
    given::<Stock>([received(2)])
        .when(reserve(3))
        .then_rejected(StockError::InsufficientStock { available: 2 });
    given::<Stock>([received(2)])
        .when(reserve(MAX_QUANTITY))
        .then_rejected(StockError::InsufficientStock { available: 2 });
}

#[test]
fn a_released_piece_is_available_again() {
    let event = StockEvent::PiecesReleased { order_id: order(1), quantity: pieces(1) };
    given::<Stock>([received(1), reserved(1)]).when(release(1)).then([event, in_stock(true)]);
}

#[test]
fn only_what_is_reserved_can_be_released_or_sold() {
    let history = || [received(5), reserved(2)];
    given::<Stock>(history()).when(release(3)).then_rejected(StockError::NotReserved { reserved: 2 });
    given::<Stock>(history()).when(commit(3)).then_rejected(StockError::NotReserved { reserved: 2 });
}

#[test]
fn a_sale_leaves_the_available_as_it_was() {
    given::<Stock>([received(5), reserved(2)]).when(commit(2)).then([committed(2)]);
    let after = state(&[received(5), reserved(2), committed(2)]);
    assert_eq!((after.available(), after.on_hand(), after.reserved, after.committed), (3, 3, 0, 2));
}

#[test]
fn only_what_was_sold_can_be_taken_back_and_only_once() {
    let restocked = StockEvent::PiecesRestocked { order_id: order(1), quantity: pieces(2) };
    given::<Stock>([received(2), reserved(2), committed(2)])
        .when(restock(2))
        .then([restocked, in_stock(true)])
        .when(restock(1))
        .then_rejected(StockError::NotCommitted { committed: 0 });
}

#[test]
fn a_loss_below_what_is_reserved_opens_a_shortfall() {
    given::<Stock>([received(10), reserved(8)]).when(adjust(-5)).then([
        adjusted(-5),
        StockEvent::ShortfallOpened { missing: 3 },
        in_stock(false),
    ]);
}

#[test]
fn an_open_shortfall_is_not_opened_again_when_it_grows() {
    let opened = StockEvent::ShortfallOpened { missing: 3 };
    given::<Stock>([received(10), reserved(8), adjusted(-5), opened]).when(adjust(-1)).then([adjusted(-1)]);
}

#[test]
fn goods_that_cover_a_shortfall_close_it_before_any_is_available() {
    let short = || [received(10), reserved(8), adjusted(-5), StockEvent::ShortfallOpened { missing: 3 }];
    given::<Stock>(short()).when(receive(2)).then([received(2)]);
    given::<Stock>(short()).when(receive(3)).then([received(3), StockEvent::ShortfallClosed {}]);
    given::<Stock>(short()).when(adjust(4)).then([
        adjusted(4),
        StockEvent::ShortfallClosed {},
        in_stock(true),
    ]);
    let released = StockEvent::PiecesReleased { order_id: order(1), quantity: pieces(8) };
    given::<Stock>(short()).when(release(8)).then([released, StockEvent::ShortfallClosed {}, in_stock(true)]);
}

#[test]
fn nothing_is_reserved_while_a_shortfall_is_open() {
    let short = [received(10), reserved(8), adjusted(-5), StockEvent::ShortfallOpened { missing: 3 }];
    given::<Stock>(short).when(reserve(1)).then_rejected(StockError::InsufficientStock { available: 0 });
}

#[test]
fn a_sale_during_a_shortfall_is_booked_and_leaves_it_open() {
    let short = || [received(10), reserved(8), adjusted(-5), StockEvent::ShortfallOpened { missing: 3 }];
    given::<Stock>(short()).when(commit(8)).then([committed(8)]);
    let mut history = short().to_vec();
    history.push(committed(8));
    let after = state(&history);
    assert_eq!(
        (after.available(), after.on_hand(), after.missing()),
        (-3, -3, 3),
        "three sold pieces are owed"
    );
    given::<Stock>(history).when(receive(3)).then([received(3), StockEvent::ShortfallClosed {}]);
}

#[test]
fn no_more_can_be_lost_than_is_there() {
    given::<Stock>([received(3), reserved(1)])
        .when(adjust(-4))
        .then_rejected(StockError::MoreThanOnHand { on_hand: 3 });
    given::<Stock>([received(3), reserved(1), committed(1)])
        .when(adjust(-3))
        .then_rejected(StockError::MoreThanOnHand { on_hand: 2 });
}

#[test]
fn a_counter_never_grows_beyond_its_limit() {
    let full = StockState { received: MAX_COUNTER, adjusted: MAX_COUNTER, ..StockState::default() };
    assert_eq!(Stock::decide(&full, &receive(1)), Err(StockError::StockLimitReached));
    assert_eq!(Stock::decide(&full, &adjust(1)), Err(StockError::StockLimitReached));
    let empty = StockState { received: MAX_COUNTER, adjusted: -MAX_COUNTER, ..StockState::default() };
    assert_eq!(Stock::decide(&empty, &adjust(-1)), Err(StockError::StockLimitReached));
    let nearly = StockState { received: MAX_COUNTER - MAX_QUANTITY, ..StockState::default() };
    assert!(Stock::decide(&nearly, &receive(MAX_QUANTITY)).is_ok());
}
