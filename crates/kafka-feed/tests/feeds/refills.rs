//! The relay fills a topic again from the log, by command, while subscriptions follow it: whatever they have seen before,
//! each message has its effect once, and none is missing.

use std::collections::BTreeMap;
use std::time::Instant;

use eventsourcing::{GoOn, SubscriptionState};
use testkit::{SOON, eventually};

use crate::world::{MIRROR, Mirror, Relaying, Replica, Topic, World, assert_each_once_and_in_order, journal};

/// More accounts than partitions, so that every partition has some.
const ACCOUNTS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

async fn book(world: &World, counts: &mut BTreeMap<String, usize>, rounds: usize) {
    for _ in 0..rounds {
        for account in ACCOUNTS {
            world.book(account, 1).await;
            *counts.entry(account.to_owned()).or_default() += 1;
        }
    }
}

/// Waits until everything is applied by one of these, and tells the subscription to read the topic from its beginning
/// whenever one says that it does not go on by itself.
async fn until_applied(replicas: &[&Replica], counts: &BTreeMap<String, usize>) {
    let all: usize = counts.values().sum();
    let how = GoOn { from_beginning: true, ..GoOn::default() };
    let applied = eventually("everything is applied", SOON, async || {
        for replica in replicas {
            if matches!(replica.mirror.status().state, SubscriptionState::Stopped(_)) {
                replica.subscriptions.go_on(MIRROR, how).await.expect("it is told");
            }
        }
        let journal = journal(&replicas[0].log).await;
        (journal.len() >= all).then_some(journal)
    })
    .await;
    assert_each_once_and_in_order(applied, counts);
}

async fn book_until_stopped(world: &World, counts: &mut BTreeMap<String, usize>, relay: &Relaying) {
    let began = Instant::now();
    while !relay.is_stopped().await {
        assert!(began.elapsed() < SOON, "the relay does not see that its topic is another one");
        book(world, counts, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_and_filled_again_brings_each_message_once() {
    let topic = Topic::create().await;
    let world = World::of_topic(&topic).await;
    let relay = world.relay(&topic).await;
    let replica = world.replica(Mirror::default()).await;
    let mut counts = BTreeMap::new();
    book(&world, &mut counts, 8).await;
    until_applied(&[&replica], &counts).await;

    topic.remove().await;
    topic.make().await;
    book_until_stopped(&world, &mut counts, &relay).await;
    replica.until_stopped().await;
    book(&world, &mut counts, 3).await;
    relay.refill().await;
    book(&world, &mut counts, 3).await;
    until_applied(&[&replica], &counts).await;

    // A reader that begins now finds the whole of it, too.
    relay.caught_up().await;
    replica.stop().await;
    let newcomer = World::of_topic(&topic).await;
    let replica = newcomer.replica(Mirror::default()).await;
    until_applied(&[&replica], &counts).await;
    replica.stop().await;
    newcomer.end().await;
    relay.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_filled_again_under_its_readers_brings_each_message_once() {
    let topic = Topic::create().await;
    let world = World::of_topic(&topic).await;
    let relay = world.relay(&topic).await;
    let (first, second) = (world.replica(Mirror::default()).await, world.replica(Mirror::default()).await);
    let mut counts = BTreeMap::new();
    book(&world, &mut counts, 6).await;
    // Some have seen everything when the topic is emptied, and others nothing.
    for _ in 0..2 {
        relay.caught_up().await;
        relay.refill().await;
        book(&world, &mut counts, 6).await;
    }
    until_applied(&[&first, &second], &counts).await;
    first.stop().await;
    book(&world, &mut counts, 3).await;
    until_applied(&[&second], &counts).await;
    second.stop().await;
    relay.stop().await;
    world.end().await;
}
