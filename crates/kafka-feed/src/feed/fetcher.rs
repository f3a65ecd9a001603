//! Fetches partitions of one topic from the places that readers want, into bounded buffers. It belongs to no group and
//! stores nothing in Kafka; which partitions are read is its owner's business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventsourcing::{FeedError, IntegrationEvent, Page, Place};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::{Notify, mpsc, watch};

use super::slot::{Flow, Slot, Wanted};
use crate::KafkaOptions;
use crate::record;

/// How long a broker waits for more when it has nothing: a partition that is added waits for the end of it, too.
const FETCH_WAIT: &str = "100";
/// Kilobytes that librdkafka keeps for itself, beside the buffers here.
const PREFETCHED_KILOBYTES: &str = "8192";
/// Pause before a partition is fetched on after that was full, in milliseconds.
const FULL_PAUSE: &str = "10";
/// Pause between looks while somebody waits for what arrives.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Reads partitions of one topic. It ends with the value.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

struct Shared {
    topic: String,
    log: String,
    partitions: Vec<Partition>,
    /// The highest position in any partition.
    head: watch::Sender<i64>,
}

struct Partition {
    slot: Mutex<Slot>,
    head: watch::Sender<i64>,
    arrived: Notify,
}

impl Partition {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Command {
    Start { partition: i32, offset: Option<i64>, generation: u64 },
    Resume(i32),
    Release(i32),
}

impl Fetcher {
    /// Within a runtime of tokio.
    pub fn start(
        options: &KafkaOptions,
        name: &str,
        topic: &str,
        log: &str,
        head: watch::Sender<i64>,
    ) -> Result<Self, FeedError> {
        let mut config = options.client_config(name);
        // Without a group there is no way to assign, but nobody joins this one.
        config
            .set("group.id", name)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", FETCH_WAIT);
        config
            .set("queued.max.messages.kbytes", PREFETCHED_KILOBYTES)
            .set("fetch.queue.backoff.ms", FULL_PAUSE);
        let consumer: StreamConsumer = config
            .create()
            .map_err(|error| FeedError::Stop(format!("Kafka's client does not start: {error}")))?;
        let partition =
            || Partition { slot: Mutex::default(), head: watch::Sender::new(0), arrived: Notify::new() };
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            log: log.to_owned(),
            partitions: (0..options.partitions).map(|_| partition()).collect(),
            head,
        });
        let (commands, received) = mpsc::unbounded_channel();
        tokio::spawn(fetch(consumer, Arc::clone(&shared), received));
        Ok(Self { shared, commands })
    }

    pub fn head(&self, partition: i32) -> Result<watch::Receiver<i64>, FeedError> {
        Ok(self.shared.of(partition)?.head.subscribe())
    }

    /// What has arrived after a place, at once. Whoever reads from another place than where it is has it fetched from
    /// there.
    pub fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> Result<Page<IntegrationEvent>, FeedError> {
        let it = self.shared.of(partition)?;
        let mut slot = it.slot();
        if self.seek(partition, it, &mut slot, after) {
            return Ok(Page { messages: Vec::new(), up_to: after });
        }
        let (page, wanted) = slot.take(limit)?;
        if wanted == Wanted::Resume {
            let _ = self.commands.send(Command::Resume(partition));
        }
        Ok(page)
    }

    /// The same, but waits until so many messages are there, or all before the record `end`, or it was for too long.
    pub async fn read_up_to(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
        end: i64,
        patience: Duration,
    ) -> Result<Page<IntegrationEvent>, FeedError> {
        let it = self.shared.of(partition)?;
        self.seek(partition, it, &mut it.slot(), after);
        let arrived = async {
            while !it.slot().has(limit, end) {
                let _ = tokio::time::timeout(LOOK_AGAIN, it.arrived.notified()).await;
            }
        };
        if tokio::time::timeout(patience, arrived).await.is_err() {
            let what = format!("partition {partition} of `{}` was not read in time", self.shared.topic);
            return Err(FeedError::Away(what));
        }
        self.read(partition, after, limit)
    }

    /// Nobody here reads a partition any more.
    pub fn release(&self, partition: i32) {
        if let Ok(it) = self.shared.of(partition) {
            it.slot().release();
            let _ = self.commands.send(Command::Release(partition));
        }
    }

    /// Record up to which a partition has arrived here, if anybody reads it.
    pub fn arrived(&self, partition: i32) -> Option<i64> {
        self.shared.of(partition).ok()?.slot().tail().resume
    }

    fn seek(&self, partition: i32, it: &Partition, slot: &mut Slot, after: Place) -> bool {
        let Wanted::Start { offset, generation } = slot.seek(after) else { return false };
        it.head.send_replace(after.position);
        let _ = self.commands.send(Command::Start { partition, offset, generation });
        true
    }
}

impl Shared {
    fn of(&self, partition: i32) -> Result<&Partition, FeedError> {
        let found = usize::try_from(partition).ok().and_then(|partition| self.partitions.get(partition));
        let topic = &self.topic;
        found.ok_or_else(|| FeedError::Stop(format!("`{topic}` has no partition {partition}")))
    }

    fn list(&self, partition: i32) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        list
    }

    fn carry_out(&self, command: Command, consumer: &StreamConsumer) -> Result<(), KafkaError> {
        match command {
            Command::Start { partition, offset, generation } => {
                self.unassign(partition, consumer)?;
                let mut list = TopicPartitionList::new();
                let offset = offset.map_or(Offset::Beginning, Offset::Offset);
                list.add_partition_offset(&self.topic, partition, offset)?;
                consumer.incremental_assign(&list)?;
                if let Ok(it) = self.of(partition) {
                    it.slot().arm(generation);
                }
                Ok(())
            }
            Command::Resume(partition) => consumer.resume(&self.list(partition)),
            Command::Release(partition) => self.unassign(partition, consumer),
        }
    }

    fn unassign(&self, partition: i32, consumer: &StreamConsumer) -> Result<(), KafkaError> {
        if consumer.assignment()?.find_partition(&self.topic, partition).is_none() {
            return Ok(());
        }
        // A pause outlives the assignment.
        let list = self.list(partition);
        consumer.resume(&list)?;
        consumer.incremental_unassign(&list)
    }

    fn take_in(&self, message: &impl Message, consumer: &StreamConsumer) -> Result<(), KafkaError> {
        let partition = message.partition();
        let Ok(it) = self.of(partition) else { return Ok(()) };
        let (flow, position) = {
            let mut slot = it.slot();
            (slot.offer(&self.log, message.offset(), record::read(message)), slot.tail().position)
        };
        let raise = |head: &mut i64| {
            let is_higher = position > *head;
            *head = position.max(*head);
            is_higher
        };
        it.head.send_if_modified(raise);
        self.head.send_if_modified(raise);
        it.arrived.notify_one();
        match flow {
            Flow::GoOn => Ok(()),
            Flow::Pause => consumer.pause(&self.list(partition)),
            Flow::End => self.unassign(partition, consumer),
        }
    }

    /// librdkafka tries again by itself what may go well then. What may not, and that no broker is there, readers learn.
    fn note(&self, error: &KafkaError) {
        let is_serious = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::OffsetOutOfRange
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::Fatal
            )
        );
        if !is_serious {
            tracing::debug!(topic = self.topic, %error, "Kafka's client tries again");
            return;
        }
        tracing::warn!(topic = self.topic, %error, "a topic cannot be read at the moment");
        for partition in &self.partitions {
            partition.slot().break_off(&error.to_string());
            partition.arrived.notify_one();
        }
    }
}

async fn fetch(
    consumer: StreamConsumer,
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    loop {
        let done = tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(command) => shared.carry_out(command, &consumer),
                None => break,
            },
            message = consumer.recv() => match message {
                Ok(message) => shared.take_in(&message, &consumer),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = done {
            shared.note(&error);
        }
    }
    // Closing waits for the network.
    let _ = tokio::task::spawn_blocking(move || drop(consumer)).await;
}
