//! Which partitions of a topic this process handles for a subscription: a member of a consumer group, and nothing but
//! that. It fetches nothing; places are in the subscriber's database, and Kafka keeps none of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventsourcing::{Assignment, FeedError, IntegrationEvent};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fetcher::Fetcher;
use super::{Inner, Piece};
use crate::options::GroupProtocol;

/// A member that is not heard of for so long is given up by the group, in milliseconds.
const SESSION_TIMEOUT: &str = "10000";
/// How often it says that it is there, in milliseconds.
const HEARTBEAT: &str = "2000";
/// Longest wait for one event of the group.
const POLL: Duration = Duration::from_millis(100);
/// Pause before a topic that is not there, or not as it should be, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Longest wait for a runner to store its place when its partition is taken away.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How often it is measured how much is left to read.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Where partitions go.
pub(super) type Sender = mpsc::Sender<Result<Assignment<IntegrationEvent>, FeedError>>;

/// Is a member until nobody takes partitions any more. It blocks, so it has a thread of its own.
pub(super) fn run(feed: Arc<Inner>, subscription: &str, fetcher: Arc<Fetcher>, sender: Sender) {
    while !sender.is_closed() {
        let why = match checked(&feed).and_then(|()| member(&feed, subscription, &fetcher, &sender)) {
            Ok(()) => return,
            Err(why) => why,
        };
        // When nobody takes it, it ends.
        let _ = sender.blocking_send(Err(why));
        let begun = Instant::now();
        while begun.elapsed() < LOOK_AGAIN && !sender.is_closed() {
            std::thread::sleep(POLL);
        }
    }
}

/// Checks that the topic is as it was configured: keys would be in other partitions than they were.
fn checked(feed: &Inner) -> Result<(), FeedError> {
    let (topic, wanted) = (&feed.topic, usize::from(feed.options.partitions));
    match feed.source.partitions()? {
        None => Err(FeedError::Away(format!("the topic `{topic}` is not there yet"))),
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(FeedError::Stop(format!(
            "the topic `{topic}` has {found} partitions, and {wanted} are configured: the number of partitions never changes"
        ))),
    }
}

fn member(
    feed: &Arc<Inner>,
    subscription: &str,
    fetcher: &Arc<Fetcher>,
    sender: &Sender,
) -> Result<(), FeedError> {
    let group = format!("{}{subscription}", feed.options.topic_prefix);
    let mut config = feed.options.client_config(&group);
    config.set("group.id", &group);
    match feed.options.group_protocol {
        GroupProtocol::Classic => {
            config.set("partition.assignment.strategy", "cooperative-sticky");
            config.set("session.timeout.ms", SESSION_TIMEOUT).set("heartbeat.interval.ms", HEARTBEAT)
        }
        GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
    };
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error").set("queued.max.messages.kbytes", "64");
    let context = Context {
        feed: Arc::clone(feed),
        fetcher: Arc::clone(fetcher),
        sender: sender.clone(),
        held: Mutex::default(),
    };
    let away = |error: KafkaError| FeedError::Away(error.to_string());
    let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(away)?;
    consumer.subscribe(&[&feed.topic]).map_err(away)?;
    let mut measured = Instant::now();
    while !sender.is_closed() {
        // Partitions are paused as soon as they are assigned; a record that comes before is no matter.
        if let Some(Err(error)) = consumer.poll(POLL) {
            if let Some((code, why)) = consumer.client().fatal_error() {
                return Err(FeedError::Away(format!("{code}: {why}")));
            }
            tracing::debug!(subscription, %error, "the group's client tries again");
        }
        if measured.elapsed() >= MEASURE_EVERY {
            consumer.context().measure(subscription);
            measured = Instant::now();
        }
    }
    Ok(())
}

struct Context {
    feed: Arc<Inner>,
    fetcher: Arc<Fetcher>,
    sender: Sender,
    held: Mutex<BTreeMap<i32, Held>>,
}

/// A partition that this process handles.
struct Held {
    taken: CancellationToken,
    /// Cancelled when its runner has ended.
    ended: CancellationToken,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            _ => self.revoked(consumer, list),
        };
        if let Err(error) = done {
            tracing::error!(topic = self.feed.topic, %error, "an assignment of partitions failed");
        }
    }
}

impl Context {
    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        // At the end and paused: nothing is fetched by this client.
        list.set_all_offsets(Offset::End)?;
        consumer.incremental_assign(list)?;
        consumer.pause(list)?;
        for element in list.elements() {
            let partition = element.partition();
            let (taken, ended) = (CancellationToken::new(), CancellationToken::new());
            let piece = Piece { feed: Arc::clone(&self.feed), fetcher: Arc::clone(&self.fetcher), partition };
            let assignment = Assignment {
                partition,
                feed: Arc::new(piece),
                taken: taken.clone(),
                handled: Some(ended.clone().drop_guard()),
            };
            self.held().insert(partition, Held { taken, ended });
            // When nobody takes it, the group is left at once.
            let _ = self.sender.blocking_send(Ok(assignment));
        }
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let taken: Vec<Held> = {
            let mut held = self.held();
            partitions.iter().filter_map(|partition| held.remove(partition)).collect()
        };
        taken.iter().for_each(|held| held.taken.cancel());
        // Whoever gets them next then reads the places that were stored last.
        let begun = Instant::now();
        while begun.elapsed() < HAND_OVER && taken.iter().any(|held| !held.ended.is_cancelled()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        partitions.iter().for_each(|partition| self.fetcher.release(*partition));
        if list.count() == 0 { Ok(()) } else { consumer.incremental_unassign(list) }
    }

    /// Says how many records are left to read, and learns how far the log is.
    fn measure(&self, subscription: &str) {
        let partitions: Vec<i32> = self.held().keys().copied().collect();
        let mut left = 0;
        for partition in partitions {
            // Without an answer the last figure stands.
            let Ok(extent) = self.feed.source.extent_now(partition) else { return };
            left += (extent.end - self.fetcher.arrived(partition).unwrap_or(0)).max(0);
        }
        metrics::gauge!("subscription_backlog_records", "subscription" => subscription.to_owned())
            .set(left as f64);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<i32, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
