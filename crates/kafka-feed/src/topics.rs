//! A service's topic: made when it is not there, and compared with what is configured when it is. Nothing is altered
//! that is there: what differs is reported with what to do, and a wrong number of partitions is refused, since keys
//! would move between partitions and lose their order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::Reporter;
use crate::options::KafkaOptions;

/// Longest wait for one answer of a broker.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Brokers hear of a topic one after another; by then every one has heard of it.
const HEARD_OF_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks whether the broker that is asked has heard of the topic.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const CLEANUP_POLICY: &str = "cleanup.policy";
const MIN_INSYNC: &str = "min.insync.replicas";
const UNLIMITED: &str = "-1";
const DELETE: &str = "delete";

/// Why a topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Kafka, or a part of it, does not answer: it may later.
    #[error("Kafka does not answer: {0}")]
    Unreachable(#[from] KafkaError),
    #[error("Kafka refuses to {what} the topic `{topic}`: {code}")]
    Refused { what: &'static str, topic: String, code: RDKafkaErrorCode },
    #[error(
        "the topic `{topic}` has {found} partitions, and {configured} are configured: keys would move between \
         partitions and lose their order. Set STORELINE_KAFKA_PARTITIONS to {found}, or let every service use a new \
         topic prefix"
    )]
    Partitions { topic: String, found: usize, configured: usize },
}

impl TopicError {
    /// Whether waiting cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Refused { code, .. } => matches!(
                code,
                RDKafkaErrorCode::InvalidReplicationFactor
                    | RDKafkaErrorCode::InvalidConfig
                    | RDKafkaErrorCode::InvalidTopic
                    | RDKafkaErrorCode::PolicyViolation
            ),
            Self::Partitions { .. } => true,
        }
    }

    /// Whether a broker that was asked does not know of the topic yet, or of its part in it.
    fn is_unheard_of(&self) -> bool {
        let code = match self {
            Self::Unreachable(error) => error.rdkafka_error_code(),
            Self::Refused { code, .. } => Some(*code),
            Self::Partitions { .. } => None,
        };
        matches!(
            code,
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::NotLeaderForPartition
            )
        )
    }
}

/// Where a partition begins and ends, in Kafka's numbers: the first record that is there, and one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub begin: i64,
    pub end: i64,
}

/// One topic, and the connection that it is looked at through. Clones share it.
#[derive(Clone)]
pub struct Topic {
    client: Arc<ThreadedProducer<Reporter>>,
    name: Arc<str>,
    options: Arc<KafkaOptions>,
}

impl Topic {
    /// The topic of a bounded context. Connects to nobody yet.
    ///
    /// # Errors
    /// When the options are refused by Kafka's client, such as a certificate file that is none.
    pub fn new(options: &KafkaOptions, context: &str, reporter: Reporter) -> Result<Self, KafkaError> {
        let config = options.client_config(&format!("storeline-{context}-topic"));
        Ok(Self {
            client: Arc::new(ThreadedProducer::from_config_and_context(&config, reporter)?),
            name: options.topic(context).into(),
            options: Arc::new(options.clone()),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the topic if it is not there, and compares it with what is configured. Returns what differs without
    /// being wrong: each a sentence that says what to do.
    ///
    /// # Errors
    /// When it cannot be used, or not yet.
    pub async fn provide(&self) -> Result<Vec<String>, TopicError> {
        if !self.exists().await? {
            self.create().await?;
        }
        let begun = Instant::now();
        loop {
            match self.compare_and_reach().await {
                Err(error) if error.is_unheard_of() && begun.elapsed() < HEARD_OF_WITHIN => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                compared => return compared,
            }
        }
    }

    async fn exists(&self) -> Result<bool, TopicError> {
        Ok(self.replicas().await?.is_some())
    }

    /// The number of replicas of each partition; `None` when there is no such topic.
    async fn replicas(&self) -> Result<Option<Vec<usize>>, TopicError> {
        let (client, name) = (self.client.clone(), self.name.clone());
        let metadata = blocking(move || client.client().fetch_metadata(Some(&name), ANSWER_LIMIT)).await?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == &*self.name) else {
            return Ok(None);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None if topic.partitions().is_empty() => Ok(None),
            None => Ok(Some(topic.partitions().iter().map(|partition| partition.replicas().len()).collect())),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(self.refused("describe", code)),
        }
    }

    async fn create(&self) -> Result<(), TopicError> {
        let min_insync = self.options.min_insync.to_string();
        let replication = TopicReplication::Fixed(i32::from(self.options.replication));
        let topic = NewTopic::new(&self.name, i32::from(self.options.partitions), replication)
            .set(RETENTION_MS, UNLIMITED)
            .set(RETENTION_BYTES, UNLIMITED)
            .set(CLEANUP_POLICY, DELETE)
            .set(MIN_INSYNC, &min_insync);
        let limits =
            AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT)).request_timeout(Some(ANSWER_LIMIT));
        let answers = self.admin()?.create_topics([&topic], &limits).await?;
        match answers.into_iter().next() {
            Some(Ok(_)) => tracing::info!(topic = &*self.name, "the topic is made"),
            // Another replica was faster.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {}
            Some(Err((_, code))) => return Err(self.refused("make", code)),
        }
        Ok(())
    }

    /// Compares, and sees that somebody answers for every partition.
    async fn compare_and_reach(&self) -> Result<Vec<String>, TopicError> {
        let differences = self.compare().await?;
        self.extents().await?;
        Ok(differences)
    }

    async fn compare(&self) -> Result<Vec<String>, TopicError> {
        let configured = usize::from(self.options.partitions);
        let Some(replicas) = self.replicas().await? else {
            // Not every broker knows of it yet.
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition).into());
        };
        if replicas.len() != configured {
            return Err(TopicError::Partitions {
                topic: self.name.to_string(),
                found: replicas.len(),
                configured,
            });
        }
        let limits = AdminOptions::new().request_timeout(Some(ANSWER_LIMIT));
        let resource = ResourceSpecifier::Topic(&self.name);
        let answers = self.admin()?.describe_configs([&resource], &limits).await?;
        let settings = match answers.into_iter().next() {
            Some(Ok(settings)) => settings,
            Some(Err(code)) => return Err(self.refused("describe", code)),
            None => return Ok(Vec::new()),
        };
        let fewest = replicas.into_iter().min().unwrap_or_default();
        Ok(differences(&self.name, &self.options, fewest, |name| setting(&settings, name)))
    }

    /// Where each partition begins and ends.
    ///
    /// # Errors
    /// When not every partition has somebody who answers for it.
    pub async fn extents(&self) -> Result<Vec<Extent>, TopicError> {
        let (client, name) = (self.client.clone(), self.name.clone());
        let partitions = i32::from(self.options.partitions);
        let extents = blocking(move || {
            let extent = |partition| {
                let (begin, end) = client.client().fetch_watermarks(&name, partition, ANSWER_LIMIT)?;
                Ok(Extent { begin, end })
            };
            (0..partitions).map(extent).collect::<Result<Vec<_>, KafkaError>>()
        });
        Ok(extents.await?)
    }

    /// Deletes every record that is in the topic, and leaves the topic. Returns where each partition begins and ends
    /// then.
    ///
    /// # Errors
    /// When a partition could not be emptied; others may be.
    pub async fn empty(&self) -> Result<Vec<Extent>, TopicError> {
        let mut ends = TopicPartitionList::new();
        for partition in 0..i32::from(self.options.partitions) {
            ends.add_partition_offset(&self.name, partition, Offset::End)?;
        }
        let limits =
            AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT)).request_timeout(Some(ANSWER_LIMIT));
        let emptied = self.admin()?.delete_records(&ends, &limits).await?;
        for element in emptied.elements() {
            element.error()?;
        }
        self.extents().await
    }

    /// For one question: nobody takes what such a client says beside its answers, and it would pile up.
    fn admin(&self) -> Result<Admin, KafkaError> {
        let mut config = self.options.client_config("storeline-topics");
        config.set_log_level(RDKafkaLogLevel::Emerg);
        Ok(Admin(Some(config.create()?)))
    }

    fn refused(&self, what: &'static str, code: RDKafkaErrorCode) -> TopicError {
        TopicError::Refused { what, topic: self.name.to_string(), code }
    }
}

/// A client whose end, which takes a moment, nobody waits for.
struct Admin(Option<AdminClient<DefaultClientContext>>);

impl std::ops::Deref for Admin {
    type Target = AdminClient<DefaultClientContext>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is taken when it is dropped, and not before")
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}

/// Kafka's client blocks for some of its questions.
async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer,
        // The runtime ends, and nobody waits for the answer.
        Err(_) => Err(KafkaError::Canceled),
    }
}

fn setting(settings: &ConfigResource, name: &str) -> Option<String> {
    settings.get(name).and_then(|entry| entry.value.clone())
}

/// What differs between a topic and what is configured, each with what to do.
fn differences(
    topic: &str,
    options: &KafkaOptions,
    replication: usize,
    setting: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    if replication != usize::from(options.replication) {
        let wanted = options.replication;
        found.push(format!(
            "a partition of `{topic}` has {replication} replicas, and {wanted} are configured: reassign its partitions \
             with kafka-reassign-partitions, or set STORELINE_KAFKA_REPLICATION to {replication}"
        ));
    }
    let min_insync = options.min_insync.to_string();
    let wanted = [
        (
            RETENTION_MS,
            UNLIMITED,
            "history would be deleted, and no consumer could be built from the beginning",
        ),
        (
            RETENTION_BYTES,
            UNLIMITED,
            "history would be deleted, and no consumer could be built from the beginning",
        ),
        (CLEANUP_POLICY, DELETE, "compaction would delete events of the same stream"),
        (MIN_INSYNC, min_insync.as_str(), "so many replicas have what is acknowledged"),
    ];
    for (name, wanted, why) in wanted {
        let Some(value) = setting(name).filter(|value| value != wanted) else { continue };
        found.push(format!(
            "`{topic}` has {name}={value}, and {wanted} is wanted ({why}): kafka-configs --alter --entity-type topics \
             --entity-name {topic} --add-config {name}={wanted}"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replication: usize, settings: &[(&str, &str)]) -> Vec<String> {
        let options =
            KafkaOptions { replication: 3, min_insync: 2, ..KafkaOptions::single_broker("b:1", "") };
        differences("t", &options, replication, |name| {
            settings.iter().find(|(setting, _)| *setting == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const RIGHT: [(&str, &str); 4] =
        [(RETENTION_MS, "-1"), (RETENTION_BYTES, "-1"), (CLEANUP_POLICY, "delete"), (MIN_INSYNC, "2")];

    #[test]
    fn a_topic_as_configured_has_no_differences() {
        assert_eq!(found(3, &RIGHT), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_reported_with_what_to_do() {
        let wrong = [
            (RETENTION_MS, "604800000"),
            (RETENTION_BYTES, "1"),
            (CLEANUP_POLICY, "compact"),
            (MIN_INSYNC, "1"),
        ];
        let found = found(2, &wrong);
        assert_eq!(found.len(), 5);
        assert!(found[0].contains("2 replicas, and 3 are configured: reassign"), "{}", found[0]);
        for (difference, (name, value)) in found[1..].iter().zip(wrong) {
            assert!(difference.contains(&format!("{name}={value}")), "{difference}");
            assert!(difference.contains("kafka-configs --alter"), "{difference}");
        }
    }
}
