//! A service with a log of notes, some public and some private, and a reader of its topic that does with every record
//! what a consumer does: it drops whatever is not above the highest position that it has seen in the partition.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::*;
use futures::future::join_all;
use kafka_feed::record::{self, Content, Received};
use kafka_feed::relay::StartError;
use kafka_feed::{KafkaOptions, Relay};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use service_runtime::{Readiness, Shutdown};
use testkit::{SOON, TestDatabase, eventually, read_everything};
use uuid::Uuid;

pub const LOG: &str = "ledger";
pub const PARTITIONS: u16 = 4;
/// Streams that are written to.
const STREAMS: usize = 23;
/// Commands that are on their way at the same time.
const CLIENTS: usize = 32;
/// One event in so many is private.
const PRIVATE_ONE_IN: usize = 4;
/// Longest wait for one answer of Kafka.
const ANSWER: Duration = Duration::from_secs(30);

pub struct Notebook;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NoteEvent {
    Published { text: String },
    Kept { text: String },
}
impl DomainEvent for NoteEvent {}

impl Decider for Notebook {
    const CATEGORY: &'static str = "note";
    type State = ();
    type Command = NoteEvent;
    type Event = NoteEvent;
    type Error = String;

    fn decide((): &(), command: &NoteEvent) -> Result<Vec<NoteEvent>, String> {
        Ok(vec![command.clone()])
    }

    fn evolve((): (), _: &NoteEvent) {}
}

fn publish(event: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let public = event.event_type == "Published";
    let data = || event.data.clone().into_bytes();
    Ok(public.then(|| Published { event_type: "shop.ledger.v1.NotePublished", data: data() }))
}

/// One replica of the service: its own handle to the log, its own relay, its own end.
pub struct Replica {
    pub log: EventLog,
    pub feed: IntegrationFeed,
    pub shutdown: Shutdown,
    pub readiness: Readiness,
    processor: CommandProcessor,
}

impl Replica {
    pub async fn open(database_url: &str) -> Self {
        Self::open_with(LogOptions::new(LOG, database_url)).await
    }

    pub async fn open_with(options: LogOptions) -> Self {
        let log = EventLog::open(options).await.unwrap();
        let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());
        let feed = Arc::new(LogFeed::new(log.clone(), "/shop/ledger", publish));
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        shutdown.worker_tasks().spawn(log.clone().follow(shutdown.stop_working()));
        Self { log, feed, shutdown, readiness, processor }
    }

    pub async fn relay(&self, options: &KafkaOptions) -> Result<Relay, StartError> {
        Relay::start(self.feed.clone(), &self.log, options, &self.shutdown, &self.readiness).await
    }

    /// Appends so many events to many streams, some of them private.
    pub async fn write(&self, events: usize) {
        for first in (0..events).step_by(CLIENTS) {
            let writes = (first..events.min(first + CLIENTS)).map(|number| {
                let text = format!("note {number}");
                let private = number % PRIVATE_ONE_IN == 1;
                let event = if private { NoteEvent::Kept { text } } else { NoteEvent::Published { text } };
                self.append(number % STREAMS, event)
            });
            join_all(writes).await;
        }
    }

    pub async fn append(&self, stream: usize, command: NoteEvent) {
        let stream = StreamId::of::<Notebook>(stream.to_string());
        let context = CommandContext {
            scope: "test".into(),
            command_id: Uuid::now_v7(),
            request_hash: [0; 32],
            metadata: Metadata {
                correlation_id: "a-flow".into(),
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
                ..Metadata::default()
            },
            retention: Retention::Client,
        };
        let decide = Decide::<Notebook> { stream, command, expected_version: None };
        self.processor.execute(decide, context).await.expect("the note is written");
    }

    /// Stops as a process does.
    pub async fn stop(self) {
        self.shutdown.request("end of the test");
        self.shutdown.run(&self.readiness, SOON).await.unwrap();
    }
}

/// Options for the broker of the run, and topics of the test's own.
pub fn options() -> KafkaOptions {
    let prefix = testkit::kafka::topic_prefix();
    KafkaOptions {
        partitions: PARTITIONS,
        ..KafkaOptions::single_broker(testkit::kafka::bootstrap(), prefix)
    }
}

pub async fn database() -> TestDatabase {
    TestDatabase::new(LOG, &[]).await
}

/// Waits until the topic has everything that the log has now, whichever relay does it.
pub async fn caught_up(replica: &Replica) {
    let newest = replica.feed.newest(0).await.unwrap();
    let relays = Relays::new(replica.log.pool().clone());
    eventually("the topic has everything", SOON, || async {
        let relays = relays.list().await.unwrap();
        relays.iter().any(|relay| relay.position >= newest).then_some(())
    })
    .await;
}

/// Waits until the relay of this database is in a state that `is` recognizes; returns what it says.
pub async fn state(replica: &Replica, what: &str, is: impl Fn(&SubscriptionState) -> bool) -> RelayStatus {
    let relays = Relays::new(replica.log.pool().clone());
    eventually(what, SOON, || async {
        let relays = relays.list().await.unwrap();
        relays.into_iter().find(|relay| is(&relay.state))
    })
    .await
}

pub fn is_stopped(state: &SubscriptionState) -> bool {
    matches!(state, SubscriptionState::Stopped(_))
}

/// What a partition holds, in its order.
pub type Partition = Vec<(i64, Received)>;

/// Everything in the topic.
pub async fn records(options: &KafkaOptions) -> Vec<Partition> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || read_topic(&options)).await.unwrap()
}

fn read_topic(options: &KafkaOptions) -> Vec<Partition> {
    let mut config = options.client_config("a-test");
    let config = config.set("group.id", "nobody").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let (topic, mut left) = (options.topic(LOG), Vec::new());
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::from(options.partitions) {
        let (begin, end) = consumer.fetch_watermarks(&topic, partition, ANSWER).unwrap();
        assignment.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        left.push((begin, end));
    }
    consumer.assign(&assignment).unwrap();
    let mut found: Vec<Partition> = vec![Vec::new(); left.len()];
    let ends = |found: &[Partition]| {
        let at_end = |(partition, (begin, end)): (&Partition, &(i64, i64))| {
            partition.last().map_or(*begin, |(offset, _)| offset + 1) >= *end
        };
        found.iter().zip(&left).all(at_end)
    };
    while !ends(&found) {
        let Some(message) = consumer.poll(ANSWER) else { panic!("the topic ends before its end") };
        let Ok(message) = message else { continue };
        let partition = usize::try_from(message.partition()).unwrap();
        found[partition].push((message.offset(), record::read(&message).expect("the record is one of ours")));
    }
    found
}

/// What a consumer takes of a partition: what is above the highest position that it has seen there.
pub fn taken(partition: &Partition) -> Vec<IntegrationEvent> {
    let mut highest = 0;
    let mut taken = Vec::new();
    for (_, received) in partition {
        if received.position() <= highest {
            continue;
        }
        highest = received.position();
        if let Content::Event(event) = &received.content {
            taken.push(event.clone());
        }
    }
    taken
}

/// Checks that consumers of the topic get every public event of the log, once and in order, and returns how many
/// records there are for how many events.
pub async fn verify(replica: &Replica, options: &KafkaOptions) -> (usize, usize) {
    let expected = read_everything(replica.feed.as_ref(), 0).await.unwrap().messages;
    let topic = records(options).await;
    for (number, partition) in topic.iter().enumerate() {
        let of_partition: Vec<&IntegrationEvent> = expected
            .iter()
            .filter(|event| {
                eventsourcing::feed::partition_of(event.subject.as_bytes(), topic.len()) == number
            })
            .collect();
        let taken = taken(partition);
        let positions =
            |events: &[&IntegrationEvent]| -> Vec<i64> { events.iter().map(|e| e.position).collect() };
        let of_taken: Vec<&IntegrationEvent> = taken.iter().collect();
        assert_eq!(positions(&of_taken), positions(&of_partition), "positions in partition {number}");
        assert!(of_taken == of_partition, "the events of partition {number} are others than the log's");
    }
    (topic.iter().map(Vec::len).sum(), expected.len())
}
