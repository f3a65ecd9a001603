//! Kafka is away for a while.

use eventsourcing::SubscriptionState;
use kafka_feed::KafkaOptions;
use testkit::kafka::Brokers;

use crate::harness::*;

fn is_retrying(state: &SubscriptionState) -> bool {
    matches!(state, SubscriptionState::Retrying(_))
}

#[tokio::test]
async fn while_kafka_is_away_commands_commit_and_afterwards_the_backlog_drains_in_order() {
    let database = database().await;
    let mut brokers = Brokers::start(1).await;
    let options =
        KafkaOptions { partitions: PARTITIONS, ..KafkaOptions::single_broker(brokers.bootstrap(), "") };
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(100).await;
    caught_up(&replica).await;

    brokers.kill(0);
    replica.write(400).await;
    let said = state(&replica, "the relay says that Kafka is away", is_retrying).await;
    assert!(said.position < said.head, "{said:?}");
    assert!(replica.readiness.is_ready(), "traffic is right here: commands commit");
    replica.write(100).await;
    brokers.start_again(0).await;
    caught_up(&replica).await;
    let said = state(&replica, "the relay is well", |state| *state == SubscriptionState::Running).await;
    assert_eq!(said.position, said.head);
    verify(&replica, &options).await;

    // Frozen brokers do not close their connections.
    brokers.freeze(0);
    replica.write(100).await;
    state(&replica, "the relay says that Kafka is away", is_retrying).await;
    brokers.thaw(0);
    caught_up(&replica).await;
    verify(&replica, &options).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_service_starts_without_kafka_and_its_relay_begins_when_it_comes() {
    let database = database().await;
    let mut brokers = Brokers::start(1).await;
    let options =
        KafkaOptions { partitions: PARTITIONS, ..KafkaOptions::single_broker(brokers.bootstrap(), "") };
    brokers.stop(0).await;
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(50).await;
    state(&replica, "the relay waits for Kafka", is_retrying).await;
    brokers.start_again(0).await;
    caught_up(&replica).await;
    verify(&replica, &options).await;
    replica.stop().await;
}
