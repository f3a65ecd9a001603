//! The rules.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use eventsourcing::RebuildState;
use testkit::{SOON, eventually};

use crate::world::{MIRROR, Mirror, World, journal};

/// Books entries of several accounts in turns. Returns how many each has now.
async fn book_some(world: &World, counts: &mut BTreeMap<String, usize>, rounds: usize) {
    for round in 0..rounds {
        for account in ["a", "b", "c", "d", "e", "f", "g"] {
            let entries = 1 + round % 3;
            world.book(account, entries).await;
            *counts.entry(account.to_owned()).or_default() += entries;
        }
    }
}

pub async fn every_message_is_applied_once_and_each_key_in_order(world: World) {
    let mut counts = BTreeMap::new();
    book_some(&world, &mut counts, 5).await;
    let replica = world.replica(Mirror::default()).await;
    book_some(&world, &mut counts, 15).await;
    world.until_applied(&counts).await;
    replica.stop().await;
    world.end().await;
}

pub async fn a_subscription_goes_on_where_it_was(world: World) {
    let mut counts = BTreeMap::new();
    for _ in 0..3 {
        let replica = world.replica(Mirror::default()).await;
        book_some(&world, &mut counts, 3).await;
        world.until_applied(&counts).await;
        replica.stop().await;
        book_some(&world, &mut counts, 2).await;
    }
    let replica = world.replica(Mirror::default()).await;
    world.until_applied(&counts).await;
    replica.stop().await;
    world.end().await;
}

pub async fn a_second_replica_that_joins_and_a_first_that_leaves_lose_and_repeat_nothing(world: World) {
    let mut counts = BTreeMap::new();
    let first = world.replica(Mirror::default()).await;
    book_some(&world, &mut counts, 10).await;
    let second_applies = Mirror::default();
    let second = world.replica(second_applies.clone()).await;
    book_some(&world, &mut counts, 20).await;
    first.stop().await;
    book_some(&world, &mut counts, 10).await;
    world.until_applied(&counts).await;
    assert!(second_applies.applied.load(Ordering::SeqCst) > 0, "it took over");
    second.stop().await;
    world.end().await;
}

pub async fn a_poison_message_parks_its_key_alone_until_it_is_redriven(world: World) {
    let mirror = Mirror::default();
    mirror.poison.lock().unwrap().insert("account-bad".into());
    let replica = world.replica(mirror.clone()).await;
    let mut counts = BTreeMap::new();
    for _ in 0..4 {
        book_some(&world, &mut counts, 1).await;
        world.book("bad", 2).await;
    }
    world.until_applied(&counts).await;
    let parked = eventually("the key is parked", SOON, || async {
        let parked = replica.subscriptions.parked(Some(MIRROR), None, 100).await.unwrap();
        (parked.len() == 8).then_some(parked)
    })
    .await;
    assert!(parked.iter().all(|message| message.key == "account-bad"));
    assert_eq!(parked.iter().filter(|message| message.error.is_some()).count(), 1, "the rest only waits");

    mirror.poison.lock().unwrap().clear();
    assert_eq!(replica.subscriptions.redrive(MIRROR, "account-bad").await.unwrap(), 8);
    eventually("nothing is parked", SOON, || async {
        replica.subscriptions.parked_counts().await.unwrap().is_empty().then_some(())
    })
    .await;
    world.book("bad", 1).await;
    counts.insert("bad".into(), 9);
    world.until_applied(&counts).await;
    replica.stop().await;
    world.end().await;
}

pub async fn whoever_carries_a_position_reads_what_lies_up_to_it(world: World) {
    let (first, second) = (world.replica(Mirror::default()).await, world.replica(Mirror::default()).await);
    let mut entries = 0;
    for account in ["a", "b", "c", "d", "e"] {
        for _ in 0..3 {
            let position = world.book(account, 2).await;
            entries += 2;
            first.mirror.wait_for(&position, SOON).await.expect("it is reached");
            second.mirror.wait_for(&position, SOON).await.expect("it is reached, whoever applies");
            assert_eq!(journal(&second.log).await.len(), entries);
        }
    }
    first.stop().await;
    second.stop().await;
    world.end().await;
}

pub async fn a_read_model_is_made_anew_from_the_beginning(world: World) {
    let replica = world.replica(Mirror::default()).await;
    let mut counts = BTreeMap::new();
    book_some(&world, &mut counts, 8).await;
    world.until_applied(&counts).await;
    // Somebody has damaged it.
    sqlx::query("DELETE FROM journal WHERE key = 'account-c'").execute(replica.log.pool()).await.unwrap();
    replica.rebuilds.begin(MIRROR).await.unwrap();
    book_some(&world, &mut counts, 2).await;
    eventually("it serves anew", SOON, || async {
        let now = replica.rebuilds.status(MIRROR).await.unwrap();
        (now.state == RebuildState::Serving && now.switched_at.is_some()).then_some(())
    })
    .await;
    book_some(&world, &mut counts, 2).await;
    world.until_applied(&counts).await;
    replica.stop().await;
    world.end().await;
}
