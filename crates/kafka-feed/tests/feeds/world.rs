//! A log that is written to, a feed of it, and subscribers with a database of their own.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventsourcing::{
    CommandContext, CommandProcessor, DecodeError, EventLog, Feed, HandlerError, IntegrationEvent,
    IntegrationFeed, LogFeed, LogOptions, Metadata, Migrations, Operation, Place, Position, ProcessorOptions,
    Projection, Published, ReadModel, Rebuilds, RecordedEvent, RelayStatus, Relays, Retention, StreamId,
    SubscriptionHandle, SubscriptionState, Subscriptions, View, Wanted,
};
use kafka_feed::{KafkaFeed, KafkaOptions, Relay, record};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};
use service_runtime::{Readiness, Shutdown};
use sqlx::PgConnection;
use testkit::{SOON, TestDatabase, eventually};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// The log that is followed.
pub const LOG: &str = "ledger";
/// The subscription that follows it.
pub const MIRROR: &str = "mirror.entries";
pub const PARTITIONS: u16 = 4;

const SUBSCRIBER: Migrations = &[(
    "journal",
    "CREATE TABLE journal (place bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL, version bigint NOT NULL)",
)];

pub struct Account;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    Booked { amount: i64 },
}
impl eventsourcing::DomainEvent for Entry {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
pub enum Never {}

impl eventsourcing::Decider for Account {
    const CATEGORY: &'static str = "account";
    type State = u64;
    type Command = i64;
    type Event = Entry;
    type Error = Never;

    fn decide(_: &u64, amount: &i64) -> Result<Vec<Entry>, Never> {
        Ok(vec![Entry::Booked { amount: *amount }])
    }

    fn evolve(entries: u64, _: &Entry) -> u64 {
        entries + 1
    }
}

struct Book {
    stream: StreamId,
    entries: usize,
}

impl Operation for Book {
    type Reply = u64;
    type Rejection = Never;

    fn run(&self, view: &mut View<'_>) -> Result<u64, eventsourcing::Halt<Never>> {
        let entries: Vec<_> =
            (0..self.entries).map(|amount| Entry::Booked { amount: amount as i64 }).collect();
        Ok(view.append::<Account>(&self.stream, &entries)?)
    }
}

fn publish(event: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let booked = event.decode::<Account>()?;
    Ok(booked.map(|Entry::Booked { amount }| Published {
        event_type: "shop.ledger.v1.Booked",
        data: amount.to_be_bytes().to_vec(),
    }))
}

async fn open(name: &str, database: &TestDatabase) -> EventLog {
    let poll_interval = Duration::from_millis(10);
    let options = LogOptions { poll_interval, ..LogOptions::new(name, database.url()) };
    EventLog::open(options).await.expect("the log opens")
}

/// The database of a subscriber.
pub async fn subscriber() -> TestDatabase {
    TestDatabase::new("mirror", SUBSCRIBER).await
}

/// Which feed is tried.
enum Bus {
    Log,
    Kafka(Topic),
}

pub struct World {
    bus: Bus,
    upstream: TestDatabase,
    processor: CommandProcessor,
    pub database: TestDatabase,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl World {
    pub async fn of_log() -> Self {
        Self::new(Bus::Log).await
    }

    /// A topic that everything in the log is copied to.
    pub async fn of_kafka() -> Self {
        let world = Self::new(Bus::Kafka(Topic::create().await)).await;
        let Bus::Kafka(topic) = &world.bus else { unreachable!("it was just made") };
        world.tracker.spawn(copy(world.processor.log().clone(), topic.clone(), world.stop.clone()));
        world
    }

    /// A topic that somebody else fills.
    pub async fn of_topic(topic: &Topic) -> Self {
        Self::new(Bus::Kafka(topic.clone())).await
    }

    /// Has the service's own relay fill the topic.
    pub async fn relay(&self, topic: &Topic) -> Relaying {
        let log = self.processor.log();
        let feed = Arc::new(LogFeed::new(log.clone(), "/shop/ledger", publish));
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        Relay::start(feed, log, &topic.options, &shutdown, &readiness).await.expect("the relay starts");
        let (relays, topic) = (Relays::new(log.pool().clone()), topic.options.topic(LOG));
        Relaying { log: log.clone(), relays, topic, shutdown, readiness }
    }

    async fn new(bus: Bus) -> Self {
        let (upstream, database) = (TestDatabase::new(LOG, &[]).await, subscriber().await);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let log = open(LOG, &upstream).await;
        tracker.spawn(log.clone().follow(stop.clone()));
        let processor = CommandProcessor::start(log, ProcessorOptions::default());
        Self { bus, upstream, processor, database, stop, tracker }
    }

    /// Books entries of one account. Returns the position of the last.
    pub async fn book(&self, account: impl std::fmt::Display, entries: usize) -> Position {
        let book = Book { stream: StreamId::of::<Account>(account), entries };
        let context = CommandContext {
            scope: "test".into(),
            command_id: Uuid::now_v7(),
            request_hash: [7; 32],
            metadata: Metadata { correlation_id: "c".into(), actor: "tester".into(), ..Metadata::default() },
            retention: Retention::Client,
        };
        self.processor.execute(book, context).await.expect("it is booked").position
    }

    /// A feed as each replica has one of its own.
    async fn feed(&self, stop: &CancellationToken, tracker: &TaskTracker) -> IntegrationFeed {
        match &self.bus {
            Bus::Log => {
                let log = open(LOG, &self.upstream).await;
                tracker.spawn(log.clone().follow(stop.clone()));
                Arc::new(LogFeed::new(log, "/shop/ledger", publish))
            }
            Bus::Kafka(topic) => KafkaFeed::new(&topic.options, LOG),
        }
    }

    /// A replica of the subscriber.
    pub async fn replica(&self, mirror: Mirror) -> Replica {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let feed = self.feed(&stop, &tracker).await;
        Replica::start(&self.database, feed, mirror, stop, tracker).await
    }

    /// Waits until each account has so many entries in the journal, and checks that each is there once and in order.
    pub async fn until_applied(&self, expected: &BTreeMap<String, usize>) {
        let all: usize = expected.values().sum();
        let log = open("mirror", &self.database).await;
        let journal = eventually("everything is applied", SOON, || async {
            let journal = journal(&log).await;
            (journal.len() >= all).then_some(journal)
        })
        .await;
        assert_each_once_and_in_order(journal, expected);
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("everything stops");
    }
}

/// The relay of the log that is followed.
pub struct Relaying {
    log: EventLog,
    relays: Relays,
    topic: String,
    shutdown: Shutdown,
    readiness: Readiness,
}

impl Relaying {
    async fn status(&self) -> Option<RelayStatus> {
        self.relays.list().await.expect("relays are listed").into_iter().next()
    }

    pub async fn is_stopped(&self) -> bool {
        self.status().await.is_some_and(|relay| matches!(relay.state, SubscriptionState::Stopped(_)))
    }

    /// Has the topic emptied and filled again.
    pub async fn refill(&self) {
        assert!(self.relays.ask(&self.topic, Wanted::Refill).await.expect("it is asked for"));
        eventually("the relay obeys", SOON, async || {
            self.status().await.filter(|relay| relay.wanted.is_none()).map(drop)
        })
        .await;
    }

    /// Waits until the topic has everything that the log has now.
    pub async fn caught_up(&self) {
        let newest = self.log.head().await.expect("the log is there");
        eventually("the topic has everything", SOON, async || {
            self.status().await.filter(|relay| relay.position >= newest).map(drop)
        })
        .await;
    }

    pub async fn stop(self) {
        self.shutdown.request("end of the test");
        self.shutdown.run(&self.readiness, SOON).await.expect("it stops");
    }
}

pub fn assert_each_once_and_in_order(journal: Vec<(String, i64)>, expected: &BTreeMap<String, usize>) {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, version) in journal {
        found.entry(key).or_default().push(version);
    }
    let expected: BTreeMap<String, Vec<i64>> = expected
        .iter()
        .map(|(key, count)| (format!("account-{key}"), (1..=*count as i64).collect()))
        .collect();
    assert_eq!(found, expected);
}

pub async fn journal(log: &EventLog) -> Vec<(String, i64)> {
    let sql = "SELECT key, version FROM journal ORDER BY place";
    sqlx::query_as(sql).fetch_all(log.pool()).await.expect("the journal is read")
}

/// Writes a line for each message; fails on command.
#[derive(Clone, Default)]
pub struct Mirror {
    pub poison: Arc<Mutex<HashSet<String>>>,
    /// Messages that this replica applied.
    pub applied: Arc<AtomicUsize>,
}

impl Projection for Mirror {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        MIRROR
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        message: &IntegrationEvent,
    ) -> Result<(), HandlerError> {
        if self.poison.lock().expect("no test panicked with it").contains(&message.subject) {
            return Err(HandlerError::Poison("this cannot be".into()));
        }
        sqlx::query("INSERT INTO journal (key, version) VALUES ($1, $2)")
            .bind(&message.subject)
            .bind(message.version as i64)
            .execute(connection)
            .await?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

pub struct Replica {
    pub log: EventLog,
    pub subscriptions: Subscriptions,
    pub rebuilds: Rebuilds,
    pub mirror: SubscriptionHandle,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Replica {
    pub async fn start(
        database: &TestDatabase,
        feed: IntegrationFeed,
        mirror: Mirror,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> Self {
        let log = open("mirror", database).await;
        let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
        let model = ReadModel::new(MIRROR, &["journal"]).fed_by(Arc::clone(&feed), mirror.clone());
        let mirror = subscriptions.project(feed, mirror).await.expect("it starts");
        let rebuilds = Rebuilds::start(&log, &subscriptions, vec![model]);
        Self { log, subscriptions, rebuilds, mirror, stop, tracker }
    }

    pub async fn until_stopped(&self) -> String {
        eventually("the subscription stops", SOON, || async {
            match self.mirror.status().state {
                SubscriptionState::Stopped(why) => Some(why),
                _ => None,
            }
        })
        .await
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("everything stops");
    }
}

/// A topic of a test's own, and who writes to it.
#[derive(Clone)]
pub struct Topic {
    pub options: KafkaOptions,
    producer: FutureProducer,
}

impl Topic {
    pub async fn create() -> Self {
        let mut options =
            KafkaOptions::single_broker(testkit::kafka::bootstrap(), testkit::kafka::topic_prefix());
        options.partitions = PARTITIONS;
        let mut config: ClientConfig = options.client_config("test");
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "1");
        let topic = Self { producer: config.create().expect("the producer starts"), options };
        topic.make().await;
        topic
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.options.client_config("test").create().expect("the admin client starts")
    }

    /// Makes the topic; it may be that Kafka has not quite removed a former one.
    pub async fn make(&self) {
        let (admin, name) = (self.admin(), self.options.topic(LOG));
        eventually("the topic is made", SOON, || async {
            let new = NewTopic::new(&name, i32::from(PARTITIONS), TopicReplication::Fixed(1));
            let made = admin.create_topics([&new], &AdminOptions::new()).await.ok()?;
            matches!(made.first(), Some(Ok(_))).then_some(())
        })
        .await;
    }

    pub async fn remove(&self) {
        let name = self.options.topic(LOG);
        let removed =
            self.admin().delete_topics(&[&name], &AdminOptions::new()).await.expect("it is asked for");
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    }

    pub async fn send(&self, incarnation: i32, event: &IntegrationEvent) {
        let topic = self.options.topic(LOG);
        let headers = record::event_headers(LOG, incarnation, event);
        let record = FutureRecord::to(&topic).key(&event.subject).payload(&event.data).headers(headers);
        self.producer.send(record, SOON).await.expect("it is acknowledged");
    }

    /// Sends many without waiting for each.
    pub async fn send_all(&self, incarnation: i32, events: &[IntegrationEvent]) {
        let topic = self.options.topic(LOG);
        let mut sent = Vec::new();
        for event in events {
            let headers = record::event_headers(LOG, incarnation, event);
            let record = FutureRecord::to(&topic).key(&event.subject).payload(&event.data).headers(headers);
            sent.push(self.producer.send_result(record).expect("the queue takes it"));
        }
        for delivery in sent {
            delivery.await.expect("it is told").expect("it is acknowledged");
        }
    }

    /// Tells every partition how far the log is.
    pub async fn watermark(&self, incarnation: i32, position: i64) {
        let topic = self.options.topic(LOG);
        for partition in 0..i32::from(PARTITIONS) {
            let headers = record::watermark_headers(LOG, incarnation, position);
            let record = FutureRecord::<(), ()>::to(&topic).partition(partition).headers(headers);
            self.producer.send(record, SOON).await.expect("it is acknowledged");
        }
    }

    /// Something that no relay writes.
    pub async fn garbage(&self, key: &str) {
        let topic = self.options.topic(LOG);
        let record = FutureRecord::to(&topic).key(key).payload("hello");
        self.producer.send(record, SOON).await.expect("it is acknowledged");
    }
}

/// Copies a log into a topic until `stop`.
async fn copy(log: EventLog, topic: Topic, stop: CancellationToken) {
    let (feed, mut head, mut place) = (LogFeed::new(log, "/shop/ledger", publish), None, Place::default());
    while !stop.is_cancelled() {
        let page = feed.read(0, place, 500).await.expect("the log is read");
        for event in &page.messages {
            topic.send(feed.incarnation(), event).await;
        }
        if page.up_to != place {
            topic.watermark(feed.incarnation(), page.up_to.position).await;
        }
        place = page.up_to;
        let head = head.get_or_insert_with(|| feed.head());
        tokio::select! {
            () = stop.cancelled() => return,
            _ = head.wait_for(|head| *head > place.position) => {}
        }
    }
}
