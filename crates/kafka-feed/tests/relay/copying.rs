//! What stands in a topic while nothing is wrong.

use std::time::Duration;

use eventsourcing::{LogOptions, SubscriptionState};
use kafka_feed::record::Content;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testkit::{SOON, eventually};

use crate::harness::*;

#[tokio::test]
async fn every_public_event_stands_in_the_topic_once_in_order_and_with_all_that_it_carries() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    replica.write(300).await;
    let relay = replica.relay(&options).await.unwrap();
    replica.write(300).await;
    let newest = replica.feed.newest(0).await.unwrap();
    let mut acknowledged = relay.acknowledged();
    tokio::time::timeout(SOON, acknowledged.wait_for(|at| *at >= newest)).await.unwrap().unwrap();
    caught_up(&replica).await;
    replica.stop().await;

    let reader = Replica::open(database.url()).await;
    verify(&reader, &options).await;
    let topic = records(&options).await;
    for partition in &topic {
        for (_, received) in partition {
            assert_eq!((received.log.as_str(), received.incarnation), (LOG, reader.feed.incarnation()));
        }
        let positions = partition.iter().map(|(_, received)| received.position());
        assert!(positions.is_sorted(), "nothing was repeated");
    }
    let events = topic.iter().flatten().filter(|(_, received)| matches!(received.content, Content::Event(_)));
    assert_eq!(events.count(), 450, "one event in four is private");
}

#[tokio::test]
async fn partitions_in_which_nothing_happens_are_told_how_far_the_log_is() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.append(1, NoteEvent::Published { text: "heard by one partition".into() }).await;
    replica.append(2, NoteEvent::Kept { text: "heard by none".into() }).await;
    let newest = replica.feed.newest(0).await.unwrap();
    eventually("every partition is told", SOON, || async {
        let topic = records(&options).await;
        let far = |partition: &Partition| partition.last().is_some_and(|(_, last)| last.position() >= newest);
        topic.iter().all(far).then_some(())
    })
    .await;
    verify(&replica, &options).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_key_goes_where_kafkas_own_partitioner_sends_it() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    let mut config = options.client_config("a-test");
    let producer: FutureProducer = config.set("partitioner", "murmur2_random").create().unwrap();
    let topic = options.topic(LOG);
    for number in 0..40 {
        let key = format!("order-{number}");
        let sent = producer.send(FutureRecord::<str, str>::to(&topic).key(&key), SOON).await.unwrap();
        let ours = eventsourcing::feed::partition_of(key.as_bytes(), usize::from(PARTITIONS));
        assert_eq!(usize::try_from(sent.partition).unwrap(), ours, "{key}");
    }
    replica.stop().await;
}

#[tokio::test]
async fn a_relay_goes_on_where_the_one_before_stopped() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(100).await;
    caught_up(&replica).await;
    replica.stop().await;

    let replica = Replica::open(database.url()).await;
    replica.write(100).await;
    let _relay = replica.relay(&options).await.unwrap();
    caught_up(&replica).await;
    replica.stop().await;
    let reader = Replica::open(database.url()).await;
    let (records, events) = verify(&reader, &options).await;
    let topic = self::records(&options).await;
    let watermarks = topic.iter().flatten();
    let watermarks = watermarks.filter(|(_, received)| matches!(received.content, Content::Watermark { .. }));
    assert_eq!(records - watermarks.count(), events, "what was acknowledged is not sent again");
}

#[tokio::test]
async fn of_two_replicas_one_relays_and_hears_of_the_others_commits() {
    let (database, options) = (database().await, options());
    let first = Replica::open(database.url()).await;
    let relay = first.relay(&options).await.unwrap();
    let mut state = relay.state();
    tokio::time::timeout(SOON, state.wait_for(|state| *state == SubscriptionState::Running))
        .await
        .unwrap()
        .unwrap();
    let second = Replica::open(database.url()).await;
    let standing_by = second.relay(&options).await.unwrap();
    second.write(200).await;
    caught_up(&first).await;
    assert_eq!(*standing_by.state().borrow(), SubscriptionState::StandBy);
    verify(&first, &options).await;

    // When the one at work goes, the other takes over.
    first.stop().await;
    second.write(100).await;
    caught_up(&second).await;
    verify(&second, &options).await;
    second.stop().await;
}

#[tokio::test]
async fn a_relay_that_hardly_ever_looks_hears_the_other_replica_ring() {
    let (database, options) = (database().await, options());
    let rarely = Duration::from_secs(86_400);
    let deaf = LogOptions { poll_interval: rarely, ..LogOptions::new(LOG, database.url()) };
    let at_work = Replica::open_with(deaf).await;
    let relay = at_work.relay(&options).await.unwrap();
    let mut state = relay.state();
    let running = state.wait_for(|state| *state == SubscriptionState::Running);
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    let other = Replica::open(database.url()).await;
    let _standing_by = other.relay(&options).await.unwrap();
    // What was rung before somebody listened is found with what is rung later.
    eventually("the bell is heard", SOON, || async {
        other.write(1).await;
        (*relay.acknowledged().borrow() > 0).then_some(())
    })
    .await;
    other.stop().await;
    at_work.stop().await;
}
