//! Reservations whose time is up.

use std::time::Duration;

use chrono::Utc;
use contracts::shop::inventory::v1::ReservationStatus;
use inventory_service::{LOG, MIGRATIONS, Options};
use sqlx::{Connection, PgConnection};
use testkit::{SOON, TestDatabase, eventually};
use uuid::Uuid;

use crate::support::{
    App, Saga, committed, in_a_while, pin_rejected, pinned, rejected, released, reserved, start,
};

/// A replica that holds as short as it is asked to.
async fn impatient() -> (TestDatabase, Saga, App) {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let saga = Saga::new();
    let app = App::start(short_holds(&database), &saga).await;
    (database, saga, app)
}

fn short_holds(database: &TestDatabase) -> Options {
    Options { minimum_hold: Duration::ZERO, ..Options::new(database.url()) }
}

/// How many timers are set.
async fn timers(database: &TestDatabase) -> i64 {
    let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
    let count = "SELECT count(*) FROM eventsourcing.tasks WHERE queue = 'inventory.reservation-expiry'";
    sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap()
}

async fn await_timers(database: &TestDatabase, count: i64) {
    eventually("the timers follow the log", SOON, || async {
        (timers(database).await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_timer_gives_an_unpinned_reservation_back() {
    let (database, saga, app) = impatient().await;
    app.receive("mug", 1).await;
    let order = Uuid::now_v7();
    saga.reserve(order, &[("mug", 1)], Utc::now() + Duration::from_millis(300));
    assert_eq!(app.await_answers(order, 2).await, [reserved(order), released(order, true)]);
    assert_eq!(app.stock("mug", &app.now().await).await.unwrap().available, 1);
    let view = app.reservation(order, &app.now().await).await.unwrap();
    assert_eq!(view.status(), ReservationStatus::Expired);

    saga.pin(order);
    saga.release(order);
    saga.reserve(order, &[("mug", 1)], in_a_while());
    let told = app.await_answers(order, 5).await;
    let expected = [
        pin_rejected(order, "RESERVATION_EXPIRED"),
        released(order, true),
        rejected(order, "RELEASED_BEFORE", &[]),
    ];
    assert_eq!(told[2..], expected);
    await_timers(&database, 0).await;
    app.stop().await;
}

#[tokio::test]
async fn a_pinned_reservation_has_no_timer_and_outlives_its_time() {
    let (database, saga, app) = start().await;
    app.receive("mug", 5).await;
    let (pinned_one, other) = (Uuid::now_v7(), Uuid::now_v7());
    saga.reserve(pinned_one, &[("mug", 1)], in_a_while());
    saga.reserve(other, &[("mug", 1)], in_a_while());
    app.await_answers(other, 1).await;
    await_timers(&database, 2).await;
    saga.pin(pinned_one);
    await_timers(&database, 1).await;
    saga.commit(pinned_one);
    assert_eq!(
        app.await_answers(pinned_one, 3).await,
        [reserved(pinned_one), pinned(pinned_one), committed(pinned_one)]
    );
    saga.release(other);
    await_timers(&database, 0).await;
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_waited_beyond_its_own_time_is_held_for_the_shortest_hold() {
    let (_database, saga, app) = start().await;
    app.receive("mug", 1).await;
    let order = Uuid::now_v7();
    saga.reserve(order, &[("mug", 1)], Utc::now() - Duration::from_secs(3600));
    saga.pin(order);
    assert_eq!(app.await_answers(order, 2).await, [reserved(order), pinned(order)]);
    app.stop().await;
}

#[tokio::test]
async fn a_timer_that_was_missed_while_nobody_ran_fires_after_the_start() {
    let (database, saga, app) = impatient().await;
    app.receive("mug", 1).await;
    let order = Uuid::now_v7();
    let time_is_up = Utc::now() + Duration::from_millis(700);
    saga.reserve(order, &[("mug", 1)], time_is_up);
    app.await_answers(order, 1).await;
    app.stop().await;
    eventually("its time is up", SOON, || async { (Utc::now() > time_is_up).then_some(()) }).await;

    let app = App::start(short_holds(&database), &saga).await;
    assert_eq!(app.await_answers(order, 2).await, [reserved(order), released(order, true)]);
    app.stop().await;
}
