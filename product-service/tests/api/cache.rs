//! Products are read from memory, and nobody reads behind what they wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contracts::shop::product::v1 as wire;
use product_service::Options;
use product_service::application::CONFIRMED_FOR;
use testkit::{SOON, eventually};

use crate::support::{App, eur, named, start};

/// What a slow machine full of tests may add to a bound. Together they stay well below the time after which a product leaves
/// the memory by its age.
const SLACK: Duration = Duration::from_secs(15);

fn price(product: &wire::Product) -> i64 {
    product.variants[0].price.as_ref().unwrap().minor_units
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_carries_a_position_is_never_behind_it_while_others_fill_the_cache() {
    let (_database, inventory, app) = start().await;
    let app = Arc::new(app);
    let created = app.create(named("Knife")).await.unwrap();
    let id = created.product.unwrap().product_id;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (app, id, done) = (Arc::clone(&app), id.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    let seen = app.get(&id, "").await.unwrap();
                    assert!(price(&seen) >= 1);
                    reads += 1;
                    // Nothing here waits once the product is in memory.
                    tokio::task::yield_now().await;
                }
                reads
            })
        })
        .collect();
    for round in 1..=100 {
        let reply = app.change_price(&id, "Knife", round).await;
        assert_eq!(price(reply.product.as_ref().unwrap()), round, "the reply shows the change");
        assert_eq!(price(&app.get(&id, &reply.position).await.unwrap()), round);
        let in_stock = round % 2 == 0;
        let position = inventory.publish("Knife", in_stock);
        assert_eq!(app.get(&id, &position).await.unwrap().variants[0].in_stock, in_stock);
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    // The last value is the one that stays.
    eventually("the cache has the last price", SOON, || async {
        (app.get(&id, "").await.unwrap().variants[0].price == eur(100)).then_some(())
    })
    .await;
    Arc::into_inner(app).expect("the readers have ended").stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_is_right_at_once_with_the_position_and_soon_without() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    let created = first.create(named("Knife")).await.unwrap();
    let id = created.product.unwrap().product_id;
    for app in [&first, &second] {
        assert_eq!(price(&app.get(&id, &created.position).await.unwrap()), 1000);
    }
    // One of the two runs the projections; whichever it is, both caches hold the product now.
    let written = second.change_price(&id, "Knife", 5).await;
    for app in [&first, &second] {
        assert_eq!(price(&app.get(&id, &written.position).await.unwrap()), 5);
    }
    let written = first.change_price(&id, "Knife", 7).await;
    for app in [&second, &first] {
        eventually("the change is seen without a position", SOON, || async {
            (price(&app.get(&id, "").await.unwrap()) == 7).then_some(())
        })
        .await;
    }
    assert_eq!(price(&second.get(&id, &written.position).await.unwrap()), 7);
    first.stop().await;
    second.stop().await;
}

/// Reads a product until it has this price, and returns after how long.
async fn seen_after(app: &App, id: &str, wanted: i64) -> Duration {
    let begun = Instant::now();
    eventually("the change is seen", SOON, || async {
        (price(&app.get(id, "").await.unwrap()) == wanted).then_some(())
    })
    .await;
    begun.elapsed()
}

/// The second of two replicas, which runs no projections as long as the first is there.
async fn standby(
    cache_look_interval: Duration,
) -> (testkit::TestDatabase, crate::support::Inventory, App, App, String) {
    let (database, inventory, first) = start().await;
    let created = first.create(named("Knife")).await.unwrap();
    let id = created.product.unwrap().product_id;
    let options = Options { cache_look_interval, ..Options::new(database.url()) };
    let second = App::start_with(options, &inventory).await;
    assert_eq!(price(&second.get(&id, &created.position).await.unwrap()), 1000);
    (database, inventory, first, second, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_changes_leaves_the_memory_of_another_at_its_next_look() {
    let (_database, inventory, first, second, id) = standby(Duration::from_millis(20)).await;
    for round in 1..=5 {
        let written = first.change_price(&id, "Knife", round).await;
        assert_eq!(price(written.product.as_ref().unwrap()), round);
        let took = seen_after(&second, &id, round).await;
        assert!(took < CONFIRMED_FOR + SLACK, "{took:?}");
    }
    let position = inventory.publish("Knife", true);
    assert!(first.get(&id, &position).await.unwrap().variants[0].in_stock, "the first has applied it");
    eventually("the stock is seen", CONFIRMED_FOR + SLACK, || async {
        second.get(&id, "").await.unwrap().variants[0].in_stock.then_some(())
    })
    .await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_changes_leaves_the_memory_of_another_that_changed_something_just_before() {
    // Both changes come between two looks.
    let (_database, _inventory, first, second, id) = standby(Duration::from_secs(1)).await;
    let own = second.create(named("Spoon")).await.unwrap().product.unwrap().product_id;
    for round in 1..=3 {
        second.get(&id, "").await.unwrap();
        second.change_price(&own, "Spoon", round).await;
        first.change_price(&id, "Knife", round).await;
        let took = seen_after(&second, &id, round).await;
        assert!(took < CONFIRMED_FOR + SLACK, "{took:?}");
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_looks_no_more_stops_to_answer_from_memory() {
    // It looks once, at its start.
    let (_database, _inventory, first, second, id) = standby(Duration::from_secs(3600)).await;
    for round in 1..=3 {
        first.change_price(&id, "Knife", round).await;
        let took = seen_after(&second, &id, round).await;
        assert!(took < CONFIRMED_FOR + SLACK, "{took:?}");
    }
    first.stop().await;
    second.stop().await;
}
