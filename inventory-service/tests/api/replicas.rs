//! Two replicas on one database: each has a command processor with a cache of its own, and neither may trust it.

use contracts::shop::inventory::v1::inventory_event::Event as Answer;
use eventsourcing::{
    CommandContext, CommandProcessor, EventLog, LogOptions, Metadata, ProcessorOptions, StreamId,
};
use inventory_service::application::{Reservations, ReserveRequest};
use inventory_service::domain::operations::HoldLimits;
use inventory_service::domain::reservation::ReservationStatus;
use inventory_service::domain::stock::Stock;
use inventory_service::domain::{OrderId, OrderLines};
use inventory_service::{LOG, MIGRATIONS, Options};
use testkit::{SOON, TestDatabase, eventually};
use tonic::Code;
use uuid::Uuid;

use crate::support::{App, Saga, in_a_while, start};

/// More tries than a race that is lost again and again needs.
const TRIES: u32 = 20;

async fn replica(database: &TestDatabase) -> Reservations {
    let log = EventLog::open(LogOptions::new(LOG, database.url())).await.unwrap();
    let processor = CommandProcessor::start(log, ProcessorOptions::default());
    let hold = chrono::TimeDelta::seconds(600);
    Reservations::new(processor, HoldLimits { minimum: hold, maximum: hold })
}

/// Reserves as the reactor would: a lost race is tried again as the same command.
async fn reserve(replica: Reservations, message: Uuid, order: Uuid) -> ReservationStatus {
    for _ in 0..TRIES {
        let request = ReserveRequest {
            order_id: OrderId::from(order),
            lines: OrderLines::sum([("mug", 1), ("tea", 2)]),
            expires_at: None,
        };
        let context = CommandContext::derived("test", message, 0, Metadata::default());
        match replica.reserve(request, context).await {
            Ok(status) => return status,
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    panic!("the race was lost {TRIES} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processors_that_race_for_the_last_pieces_never_oversell() {
    let (database, _saga, app) = start().await;
    app.receive("mug", 50).await;
    app.receive("tea", 60).await;
    let replicas = [replica(&database).await, replica(&database).await];
    let races: Vec<_> = (0..120)
        .map(|buyer| tokio::spawn(reserve(replicas[buyer % 2].clone(), Uuid::now_v7(), Uuid::now_v7())))
        .collect();
    let mut held = 0;
    for race in races {
        match race.await.unwrap() {
            ReservationStatus::Held => held += 1,
            status => assert_eq!(status, ReservationStatus::Rejected),
        }
    }
    assert_eq!(held, 30, "two of tea for each");
    let position = app.now().await;
    let (mug, tea) = (app.stock("mug", &position).await.unwrap(), app.stock("tea", &position).await.unwrap());
    assert_eq!((mug.reserved, mug.available), (30, 20));
    assert_eq!((tea.reserved, tea.available, tea.shortfall), (60, 0, 0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_that_two_processors_reserve_at_once_is_held_once() {
    let (database, _saga, app) = start().await;
    app.receive("mug", 50).await;
    app.receive("tea", 50).await;
    let replicas = [replica(&database).await, replica(&database).await];
    let orders: Vec<_> = (0..10).map(|_| (Uuid::now_v7(), Uuid::now_v7())).collect();
    let races: Vec<_> = orders
        .iter()
        .flat_map(|(message, order)| {
            // The same message to both, and another one for the same order.
            let again = Uuid::now_v7();
            [(&replicas[0], *message), (&replicas[1], *message), (&replicas[1], again)]
                .map(|(replica, message)| tokio::spawn(reserve(replica.clone(), message, *order)))
        })
        .collect();
    for race in races {
        assert_eq!(race.await.unwrap(), ReservationStatus::Held);
    }
    assert_eq!(app.stock("mug", &app.now().await).await.unwrap().reserved, 10);
    for (_, order) in orders {
        assert_eq!(app.answers(order).await.len(), 2, "one for each message");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_at_one_replica_and_the_saga_at_another_never_make_a_silent_shortage() {
    let (database, saga, first) = start().await;
    let second = App::start(Options::new(database.url()), &saga).await;
    first.receive("mug", 40).await;
    let orders: Vec<Uuid> = (0..60).map(|_| Uuid::now_v7()).collect();
    for order in &orders {
        saga.reserve(*order, &[("mug", 1)], in_a_while());
    }
    let mut lost = 0;
    for app in [&second, &first].into_iter().cycle().take(10) {
        match app.adjust("mug", -1).await {
            Ok(_) => lost += 1,
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
        }
    }
    for order in &orders {
        first.await_answers(*order, 1).await;
    }
    let level = second.stock("mug", &first.now().await).await.unwrap();
    assert_eq!((level.received, level.adjusted), (40, -lost));
    assert_eq!(level.available, 40 - lost - level.reserved);
    assert_eq!(level.shortfall, (-level.available).max(0));
    assert!(level.reserved <= 40);
    let opened = first.published().await.into_iter();
    let opened = opened.filter(|(_, event)| matches!(event, Answer::StockShortfallOpened(_))).count();
    assert_eq!(opened > 0, level.available < 0, "a shortage is always announced");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_and_every_request_is_answered_once() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let saga = Saga::new();
    let first = App::start(Options::new(database.url()), &saga).await;
    let second = App::start(Options::new(database.url()), &saga).await;
    first.receive("mug", 100).await;
    let orders: Vec<Uuid> = (0..100).map(|_| Uuid::now_v7()).collect();
    for order in &orders[..50] {
        saga.reserve(*order, &[("mug", 1)], in_a_while());
    }
    second.await_answers(orders[0], 1).await;
    first.stop().await;
    for order in &orders[50..] {
        saga.reserve(*order, &[("mug", 1)], in_a_while());
    }
    eventually("all are answered by whoever is left", SOON, || async {
        let answered =
            second.published().await.into_iter().filter(|(key, _)| key.starts_with("reservation-"));
        (answered.count() >= 100).then_some(())
    })
    .await;
    for order in &orders {
        assert_eq!(second.answers(*order).await.len(), 1);
    }
    let stock = second.stock("mug", &second.now().await).await.unwrap();
    assert_eq!((stock.reserved, stock.available), (100, 0));
    let log = EventLog::open(LogOptions::new(LOG, database.url())).await.unwrap();
    let events = log.read_stream(&StreamId::of::<Stock>("mug"), 0, 1000).await.unwrap();
    let reserved = events.iter().filter(|event| event.event_type == "PiecesReserved").count();
    assert_eq!(reserved, 100, "each order once");
    second.stop().await;
}
