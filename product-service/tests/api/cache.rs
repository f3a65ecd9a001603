//! Products are read from memory, and nobody reads behind what they wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contracts::shop::product::v1 as wire;
use testkit::{SOON, eventually};

use crate::support::{App, eur, named, start};

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
