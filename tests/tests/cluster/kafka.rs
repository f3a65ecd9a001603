//! Brokers die while people shop.

use std::time::{Duration, Instant};

use e2e_tests::cluster::Options;
use e2e_tests::trade::ORDER_DEADLINE;
use testkit::kafka::Brokers;
use testkit::{eventually, is_long, say};

use crate::scene::{SOME, Scene, is_wanted, options, postgres, turn};

/// How long Kafka is away in the long form, which is longer than any session and any time limit of a request to it.
const OUTAGE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn while_kafka_is_away_orders_are_taken_and_once_it_is_back_they_come_to_their_end() {
    let turn = turn().await;
    let mut brokers = Brokers::start(1).await;
    let scene = Scene::start(turn, options(postgres(), brokers.bootstrap())).await;
    brokers.kill(0);
    let (gone, before) = (Instant::now(), scene.shoppers.placed());
    scene.shoppers.more(SOME).await;
    if is_long() {
        eventually("Kafka was away for long", ORDER_DEADLINE, async || {
            (gone.elapsed() > OUTAGE).then_some(())
        })
        .await;
    }
    let meanwhile = scene.shoppers.placed() - before;
    brokers.start_again(0).await;
    scene.goes_on().await;
    let seen = scene.settle(&format!("Kafka killed, {meanwhile} orders taken without it")).await;
    assert!(seen.failures.is_empty(), "orders need no Kafka to be taken: {:?}", seen.failures);
}

#[tokio::test]
async fn one_of_three_brokers_dies_and_comes_back_and_no_shopper_notices() {
    if !is_wanted("one of three brokers killed") {
        return;
    }
    let turn = turn().await;
    let mut brokers = Brokers::start(3).await;
    let replicated = Options { replication: (3, 2), ..options(postgres(), brokers.bootstrap()) };
    let scene = Scene::start(turn, replicated).await;
    for broker in 0..brokers.count() {
        brokers.kill(broker);
        scene.goes_on().await;
        say(format!("{} orders, the last ones without broker {}", scene.shoppers.placed(), broker + 1));
        brokers.start_again(broker).await;
        scene.goes_on().await;
    }
    let seen = scene.settle("one of three brokers killed, each in turn").await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}
