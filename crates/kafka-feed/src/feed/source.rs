//! Questions about a topic that are not answered by reading it in order: how many partitions it has, where they end, and
//! what a single record says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventsourcing::{FeedError, Place};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::KafkaOptions;
use crate::record::{self, Received};

/// Longest wait for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for one of several events that lead to it.
const STEP: Duration = Duration::from_millis(100);

/// Where the records of a partition begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub first: i64,
    /// Behind the last.
    pub end: i64,
}

/// Answers questions about one topic. Clones share a client, which waits for one answer at a time.
#[derive(Clone)]
pub(super) struct Source {
    options: KafkaOptions,
    topic: String,
    client: Arc<Mutex<Option<BaseConsumer>>>,
}

impl Source {
    pub fn new(options: KafkaOptions, topic: String) -> Self {
        Self { options, topic, client: Arc::default() }
    }

    /// How many partitions the topic has; none while it is not there.
    pub fn partitions(&self) -> Result<Option<usize>, FeedError> {
        self.with(|client| {
            let metadata = client.fetch_metadata(Some(&self.topic), PATIENCE).map_err(away)?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == self.topic) else {
                return Ok(None);
            };
            match topic.error().map(RDKafkaErrorCode::from) {
                None => Ok(Some(topic.partitions().len()).filter(|count| *count > 0)),
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
                Some(code) => Err(FeedError::Away(format!("the topic `{}`: {code}", self.topic))),
            }
        })
    }

    /// Where a partition begins and ends.
    pub async fn extent(&self, partition: i32) -> Result<Extent, FeedError> {
        self.ask(move |it| it.extent_now(partition)).await
    }

    pub fn extent_now(&self, partition: i32) -> Result<Extent, FeedError> {
        self.with(|client| {
            let found = client.fetch_watermarks(&self.topic, partition, PATIENCE);
            found.map(|(first, end)| Extent { first, end }).map_err(away)
        })
    }

    /// What the last record before `end` says; none if nothing is there.
    pub async fn last(&self, partition: i32, extent: Extent) -> Result<Option<Received>, FeedError> {
        if extent.end <= extent.first {
            return Ok(None);
        }
        self.ask(move |it| it.record(partition, extent.end - 1)).await.map(Some)
    }

    /// Checks that a place is one of this topic: that the topic was not made anew, and has lost nothing.
    pub async fn check(&self, partition: i32, place: Place) -> Result<(), FeedError> {
        let topic = self.topic.clone();
        let extent = self.extent(partition).await?;
        // Whatever a relay emptied, it fills again from the beginning of the log.
        let resume = place.resume.unwrap_or(extent.first);
        let stop = |what: String| {
            Err(FeedError::Stop(format!(
                "partition {partition} of `{topic}` {what}: the topic was deleted, made anew or cut off; have the relay fill \
                 it from the log, and tell the subscription to go on from the beginning"
            )))
        };
        if resume > extent.end {
            return stop(format!("ends at record {}, and this subscription has seen {resume}", extent.end));
        }
        if resume < extent.first {
            return stop(format!("begins at record {}, and this subscription needs {resume}", extent.first));
        }
        if resume == extent.first {
            return Ok(());
        }
        let before = self.ask(move |it| it.record(partition, resume - 1)).await?;
        let (found, seen) = ((before.incarnation, before.position()), (place.incarnation, place.position));
        // Behind records that it has seen, in another number perhaps, come the ones that it has not.
        if found <= seen || place.incarnation == 0 {
            return Ok(());
        }
        stop(format!(
            "has position {} of incarnation {} in record {}, and this subscription has seen {} of {}",
            found.1,
            found.0,
            resume - 1,
            seen.1,
            seen.0
        ))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, FeedError> + Send + 'static,
    ) -> Result<T, FeedError> {
        let it = self.clone();
        let answered = tokio::task::spawn_blocking(move || question(&it)).await;
        answered.unwrap_or_else(|_| Err(FeedError::Away("a question to Kafka ended early".into())))
    }

    fn record(&self, partition: i32, offset: i64) -> Result<Received, FeedError> {
        self.with(|client| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).map_err(away)?;
            client.assign(&list).map_err(away)?;
            let found = self.fetch(client, partition, offset);
            client.unassign().map_err(away)?;
            found
        })
    }

    fn fetch(&self, client: &BaseConsumer, partition: i32, offset: i64) -> Result<Received, FeedError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match client.poll(STEP) {
                Some(Ok(message)) if message.partition() == partition && message.offset() == offset => {
                    return record::read(&message).map_err(|error| {
                        let topic = &self.topic;
                        FeedError::Stop(format!(
                            "record {offset} in partition {partition} of `{topic}` cannot be taken: {error}"
                        ))
                    });
                }
                Some(Err(error)) => tracing::debug!(topic = self.topic, %error, "a record is not read yet"),
                Some(Ok(_)) | None => {}
            }
        }
        Err(FeedError::Away(format!("record {offset} in partition {partition} of `{}`", self.topic)))
    }

    fn with<T>(&self, question: impl FnOnce(&BaseConsumer) -> Result<T, FeedError>) -> Result<T, FeedError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_none() {
            let name = format!("{}questions", self.options.topic_prefix);
            let mut config = self.options.client_config(&name);
            config
                .set("group.id", &name)
                .set("enable.auto.commit", "false")
                .set("auto.offset.reset", "error");
            // A single record is wanted, soon.
            config.set("fetch.wait.max.ms", "20").set("queued.max.messages.kbytes", "256");
            *client = Some(config.create().map_err(away)?);
        }
        match client.as_ref() {
            Some(client) => question(client),
            None => Err(FeedError::Away("there is no client of Kafka".into())),
        }
    }
}

fn away(error: rdkafka::error::KafkaError) -> FeedError {
    FeedError::Away(error.to_string())
}
