//! What only a topic can do to its readers: deliver twice, vanish, change, or be written to by somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::Utc;
use eventsourcing::{
    Assignments, Feed, FeedError, GoOn, IntegrationEvent, IntegrationFeed, Page, Place, Position, WentOn,
};
use futures::future::BoxFuture;
use kafka_feed::options::GroupProtocol;
use kafka_feed::{KafkaFeed, KafkaOptions};
use testkit::{SOON, TestDatabase, eventually};
use tokio::sync::watch;
use uuid::Uuid;

use crate::world::{
    LOG, MIRROR, Mirror, PARTITIONS, Replica, Topic, assert_each_once_and_in_order, journal, subscriber,
};

fn event(account: &str, version: u64, position: i64) -> IntegrationEvent {
    IntegrationEvent {
        id: Uuid::now_v7(),
        source: "/shop/ledger".into(),
        event_type: "shop.ledger.v1.Booked".into(),
        time: Utc::now(),
        subject: format!("account-{account}"),
        version,
        position,
        correlation_id: "c".into(),
        traceparent: None,
        data: b"booked".to_vec(),
    }
}

/// Ten accounts with so many entries each, one after the other; positions begin behind `after`.
fn entries(each: u64, after: i64) -> Vec<IntegrationEvent> {
    let all = (1..=each).flat_map(|version| (0..10).map(move |account| (version, account)));
    let numbered = (after + 1..).zip(all);
    numbered.map(|(position, (version, account))| event(&account.to_string(), version, position)).collect()
}

fn counts(each: usize) -> BTreeMap<String, usize> {
    (0..10).map(|account| (account.to_string(), each)).collect()
}

async fn replica(database: &TestDatabase, options: &KafkaOptions, mirror: Mirror) -> Replica {
    let feed = KafkaFeed::new(options, LOG);
    Replica::start(database, feed, mirror, Default::default(), Default::default()).await
}

async fn until_applied(replica: &Replica, messages: usize) -> Vec<(String, i64)> {
    eventually("everything is applied", SOON, || async {
        let journal = journal(&replica.log).await;
        (journal.len() >= messages).then_some(journal)
    })
    .await
}

fn position(incarnation: i32, number: i64) -> Position {
    Position { log: LOG.into(), incarnation, number }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_sends_again_is_dropped_by_its_position() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let replica = replica(&database, &topic.options, Mirror::default()).await;
    let sent = entries(3, 0);
    for upto in [10, 30, 20] {
        for event in &sent[..upto] {
            topic.send(1, event).await;
        }
    }
    topic.watermark(1, 30).await;
    replica.mirror.wait_for(&position(1, 30), SOON).await.unwrap();
    assert_each_once_and_in_order(journal(&replica.log).await, &counts(3));
    replica.stop().await;
}

/// Believes that all partitions are its own, whatever others were given.
struct Zombie(IntegrationFeed);

impl Feed for Zombie {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        self.0.log()
    }

    fn incarnation(&self) -> i32 {
        self.0.incarnation()
    }

    fn partitions(&self) -> i32 {
        self.0.partitions()
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        self.0.read(partition, after, limit)
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.0.newest(partition)
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.0.head()
    }

    fn check(&self, partition: i32, place: Place) -> BoxFuture<'_, Result<(), FeedError>> {
        self.0.check(partition, place)
    }

    fn join(&self, subscription: &str) -> Option<Assignments<IntegrationEvent>> {
        self.0.join(&format!("{subscription}.zombie"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_both_believe_that_a_partition_is_theirs_apply_each_message_once() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let (one, other) = (Mirror::default(), Mirror::default());
    let rightful = replica(&database, &topic.options, one.clone()).await;
    let feed = Arc::new(Zombie(KafkaFeed::new(&topic.options, LOG)));
    let zombie = Replica::start(&database, feed, other.clone(), Default::default(), Default::default()).await;
    for event in entries(20, 0) {
        topic.send(1, &event).await;
    }
    topic.watermark(1, 200).await;
    rightful.mirror.wait_for(&position(1, 200), SOON).await.unwrap();
    assert_each_once_and_in_order(journal(&rightful.log).await, &counts(20));
    rightful.stop().await;
    zombie.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_divided_over_two_replicas_under_load_and_nothing_is_lost() {
    assert_divided(GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_are_they_when_the_broker_decides_who_gets_what() {
    assert_divided(GroupProtocol::Consumer).await;
}

async fn assert_divided(group_protocol: GroupProtocol) {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let options = KafkaOptions { group_protocol, ..topic.options.clone() };
    let (one, other) = (Mirror::default(), Mirror::default());
    let first = replica(&database, &options, one.clone()).await;
    let (mut sent, mut after) = (0_u64, 0);
    let send_more = async |sent: &mut u64, after: &mut i64| {
        *sent += 1;
        for account in 0..10 {
            *after += 1;
            topic.send(1, &event(&account.to_string(), *sent, *after)).await;
        }
    };
    while one.applied.load(Ordering::SeqCst) == 0 {
        send_more(&mut sent, &mut after).await;
    }
    let second = replica(&database, &options, other.clone()).await;
    let began = std::time::Instant::now();
    while other.applied.load(Ordering::SeqCst) == 0 {
        assert!(began.elapsed() < SOON, "the second replica gets no partition");
        send_more(&mut sent, &mut after).await;
    }
    let before = one.applied.load(Ordering::SeqCst);
    while one.applied.load(Ordering::SeqCst) == before {
        assert!(began.elapsed() < SOON, "the first replica has no partition any more");
        send_more(&mut sent, &mut after).await;
    }
    topic.watermark(1, after).await;
    second.mirror.wait_for(&position(1, after), SOON).await.unwrap();
    assert_each_once_and_in_order(journal(&first.log).await, &counts(sent as usize));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_stops_its_readers_until_they_are_told_to_read_it_from_the_beginning() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let replica = replica(&database, &topic.options, Mirror::default()).await;
    let before = entries(3, 0);
    for event in &before {
        topic.send(1, event).await;
    }
    until_applied(&replica, 30).await;
    topic.remove().await;
    topic.make().await;
    let why = replica.until_stopped().await;
    assert!(why.contains("made anew"), "{why}");

    for event in before.iter().chain(&[event("new", 1, 31)]) {
        topic.send(1, event).await;
    }
    topic.watermark(1, 31).await;
    let how = GoOn { from_beginning: true, ..GoOn::default() };
    assert_eq!(replica.subscriptions.go_on(MIRROR, how).await.unwrap(), WentOn::Done);
    replica.mirror.wait_for(&position(1, 31), SOON).await.unwrap();
    let mut expected = counts(3);
    expected.insert("new".into(), 1);
    assert_each_once_and_in_order(journal(&replica.log).await, &expected);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_than_configured_is_refused() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let options = KafkaOptions { partitions: PARTITIONS + 2, ..topic.options.clone() };
    let replica = replica(&database, &options, Mirror::default()).await;
    let why = replica.until_stopped().await;
    assert!(why.contains("4 partitions, and 6 are configured"), "{why}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_incarnation_stops_the_readers_until_they_are_told_the_position_that_both_share() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let replica = replica(&database, &topic.options, Mirror::default()).await;
    for event in entries(2, 0) {
        topic.send(1, &event).await;
    }
    topic.watermark(1, 20).await;
    replica.mirror.wait_for(&position(1, 20), SOON).await.unwrap();
    // The log lost everything behind position 10, and something else took those numbers.
    for event in entries(1, 10).iter().map(|event| IntegrationEvent { version: 3, ..event.clone() }) {
        topic.send(2, &event).await;
    }
    topic.watermark(2, 20).await;
    let why = replica.until_stopped().await;
    assert!(why.contains("incarnation 2"), "{why}");
    assert_each_once_and_in_order(journal(&replica.log).await, &counts(2));

    let how = GoOn { from_beginning: false, checked: Some((2, 10)) };
    assert_eq!(replica.subscriptions.go_on(MIRROR, how).await.unwrap(), WentOn::Done);
    let journal = until_applied(&replica, 30).await;
    assert_each_once_and_in_order(journal, &counts(3));
    replica.mirror.wait_for(&position(2, 20), SOON).await.unwrap();
    assert!(replica.mirror.wait_for(&position(1, 20), SOON).await.is_err(), "that position is of the past");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_no_relay_wrote_stops_its_partition_and_no_other() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    let replica = replica(&database, &topic.options, Mirror::default()).await;
    topic.send(1, &event("a", 1, 1)).await;
    topic.garbage("account-a").await;
    topic.send(1, &event("a", 2, 2)).await;
    let why = replica.until_stopped().await;
    assert!(why.contains("somebody else than the relay"), "{why}");
    for event in entries(1, 2) {
        topic.send(1, &event).await;
    }
    let applied = eventually("other partitions go on", SOON, || async {
        let journal = journal(&replica.log).await;
        (journal.len() > 1).then_some(journal)
    })
    .await;
    assert!(!applied.contains(&("account-a".into(), 2)), "nothing behind it is applied");
    replica.stop().await;
}

/// More than the buffers hold, so the partition is paused and fetched on again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_backlog_comes_whole_and_in_order() {
    const MESSAGES: i64 = 3_500;
    let (topic, database) = (Topic::create().await, subscriber().await);
    let backlog: Vec<_> = (1..=MESSAGES).map(|n| event("a", n as u64, n)).collect();
    topic.send_all(1, &backlog).await;
    topic.watermark(1, MESSAGES).await;
    let replica = replica(&database, &topic.options, Mirror::default()).await;
    replica.mirror.wait_for(&position(1, MESSAGES), SOON).await.unwrap();
    let expected = BTreeMap::from([("a".to_owned(), MESSAGES as usize)]);
    assert_each_once_and_in_order(journal(&replica.log).await, &expected);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_read_the_log_itself_goes_on_in_every_partition_behind_what_it_had_seen() {
    let (topic, database) = (Topic::create().await, subscriber().await);
    for event in entries(3, 0) {
        topic.send(1, &event).await;
    }
    topic.watermark(1, 30).await;
    let admin = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
    sqlx::query(
        "INSERT INTO eventsourcing.checkpoints (subscription, log, incarnation, position) VALUES ($1, $2, 1, 20)",
    )
    .bind(MIRROR)
    .bind(LOG)
    .execute(&admin)
    .await
    .unwrap();
    let replica = replica(&database, &topic.options, Mirror::default()).await;
    replica.mirror.wait_for(&position(1, 30), SOON).await.unwrap();
    let mut applied = journal(&replica.log).await;
    applied.sort();
    let third: Vec<(String, i64)> = (0..10).map(|account| (format!("account-{account}"), 3)).collect();
    assert_eq!(applied, third);
    replica.stop().await;
}
