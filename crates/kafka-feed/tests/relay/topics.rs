//! The topic is not what it should be: made anew, shortened, filled by others, or made for something else.

use eventsourcing::{Relays, SubscriptionState, Wanted};
use kafka_feed::KafkaOptions;
use kafka_feed::client::Reporter;
use kafka_feed::record::Content;
use kafka_feed::relay::StartError;
use kafka_feed::topics::{Extent, Topic, TopicError};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testkit::{SOON, eventually};

use crate::harness::*;

/// A broker that is asked too early is asked too early now and then.
const NEW_TOPICS: usize = 12;

fn admin(options: &KafkaOptions) -> AdminClient<DefaultClientContext> {
    options.client_config("a-test").create().unwrap()
}

/// Deletes the topic and makes it again, as somebody might by hand.
async fn make_anew(options: &KafkaOptions) {
    let (admin, topic) = (admin(options), options.topic(LOG));
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    eventually("the topic can be made again", SOON, || async {
        let again = NewTopic::new(&topic, i32::from(options.partitions), TopicReplication::Fixed(1));
        let made = admin.create_topics([&again], &AdminOptions::new()).await.unwrap();
        made[0].is_ok().then_some(())
    })
    .await;
}

async fn refill(replica: &Replica, options: &KafkaOptions) {
    let relays = Relays::new(replica.log.pool().clone());
    assert!(relays.ask(&options.topic(LOG), Wanted::Refill).await.unwrap());
    state(replica, "the relay works again", |state| *state == SubscriptionState::Running).await;
    caught_up(replica).await;
    verify(replica, options).await;
}

#[tokio::test]
async fn a_topic_that_was_made_anew_stops_the_relay_and_is_filled_again_by_command() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(200).await;
    caught_up(&replica).await;
    make_anew(&options).await;
    // What is sent now begins the new topic.
    let stopped = tokio::select! {
        stopped = state(&replica, "the relay stops", is_stopped) => stopped,
        () = write_for_ever(&replica) => unreachable!("it writes for ever"),
    };
    let SubscriptionState::Stopped(why) = &stopped.state else { unreachable!("it was recognized") };
    assert!(why.contains("made anew") && why.contains("refill"), "{why}");
    assert!(replica.readiness.is_ready(), "commands commit all the same");
    replica.write(20).await;
    refill(&replica, &options).await;
    replica.stop().await;
}

async fn write_for_ever(replica: &Replica) {
    loop {
        replica.write(20).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_topic_that_was_made_anew_while_no_relay_ran_is_noticed_at_the_start() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(100).await;
    caught_up(&replica).await;
    replica.stop().await;
    make_anew(&options).await;

    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    state(&replica, "the relay stops", is_stopped).await;
    refill(&replica, &options).await;
    replica.stop().await;
}

#[tokio::test]
async fn history_that_kafka_deleted_stops_the_relay_and_is_filled_again_by_command() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(100).await;
    caught_up(&replica).await;
    replica.stop().await;
    // As a finite retention does.
    Topic::new(&options, LOG, Reporter::default()).unwrap().empty().await.unwrap();

    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    let stopped = state(&replica, "the relay stops", is_stopped).await;
    assert!(format!("{stopped:?}").contains("records were deleted"), "{stopped:?}");
    refill(&replica, &options).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_topic_with_records_of_unknown_origin_is_not_written_to() {
    let (database, options) = (database().await, options());
    Topic::new(&options, LOG, Reporter::default()).unwrap().provide().await.unwrap();
    let producer: FutureProducer = options.client_config("a-test").create().unwrap();
    let topic = options.topic(LOG);
    producer.send(FutureRecord::<str, str>::to(&topic).key("k").payload("v"), SOON).await.unwrap();

    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(20).await;
    let stopped = state(&replica, "the relay stops", is_stopped).await;
    assert_eq!(stopped.position, 0);
    refill(&replica, &options).await;
    replica.stop().await;
}

#[tokio::test]
async fn after_a_restore_the_relay_stops_and_goes_on_after_the_position_that_it_is_told() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(60).await;
    caught_up(&replica).await;
    let shared = replica.feed.newest(0).await.unwrap();
    replica.stop().await;
    let owner = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
    sqlx::query("ALTER TABLE eventlog.identity DISABLE TRIGGER ALL").execute(&owner).await.unwrap();
    sqlx::query("UPDATE eventlog.identity SET incarnation = incarnation + 1").execute(&owner).await.unwrap();

    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(40).await;
    let stopped = state(&replica, "the relay stops", is_stopped).await;
    assert!(format!("{stopped:?}").contains("restored"), "{stopped:?}");
    let relays = Relays::new(replica.log.pool().clone());
    assert!(relays.ask(&options.topic(LOG), Wanted::ResumeAfter(shared)).await.unwrap());
    caught_up(&replica).await;
    let incarnation = replica.feed.incarnation();
    for (_, received) in records(&options).await.iter().flatten() {
        if matches!(received.content, Content::Event(_)) {
            assert_eq!(received.incarnation == incarnation, received.position() > shared, "{received:?}");
        }
    }
    owner.close().await;
    replica.stop().await;
}

#[tokio::test]
async fn a_topic_that_was_just_made_is_as_good_as_an_old_one() {
    for _ in 0..NEW_TOPICS {
        let topic = Topic::new(&options(), LOG, Reporter::default()).unwrap();
        assert_eq!(topic.provide().await.unwrap(), Vec::<String>::new());
        assert_eq!(
            topic.extents().await.unwrap(),
            vec![Extent { begin: 0, end: 0 }; usize::from(PARTITIONS)]
        );
    }
}

#[tokio::test]
async fn a_wrong_number_of_partitions_is_refused_and_other_differences_are_reported() {
    let options = options();
    let topic = Topic::new(&options, LOG, Reporter::default()).unwrap();
    assert_eq!(topic.provide().await.unwrap(), Vec::<String>::new());
    assert_eq!(topic.provide().await.unwrap(), Vec::<String>::new(), "it is there already");

    let resource = AlterConfig::new(ResourceSpecifier::Topic(topic.name())).set("retention.ms", "1000000");
    admin(&options).alter_configs([&resource], &AdminOptions::new()).await.unwrap();
    let found = eventually("the difference is seen", SOON, || async {
        let found = topic.provide().await.unwrap();
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert!(found[0].contains("retention.ms=1000000"), "{found:?}");

    let other = KafkaOptions { partitions: PARTITIONS + 1, ..options.clone() };
    let refused = Topic::new(&other, LOG, Reporter::default()).unwrap().provide().await;
    assert!(matches!(refused, Err(TopicError::Partitions { .. })), "{refused:?}");
    let database = database().await;
    let replica = Replica::open(database.url()).await;
    let refused = replica.relay(&other).await.err().expect("it is refused");
    assert!(matches!(refused, StartError::Topic(TopicError::Partitions { .. })), "{refused}");
    replica.stop().await;
}
