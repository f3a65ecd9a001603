//! The producer of one term of a relay: idempotent, without gaps, and patient. A record that it took is acknowledged,
//! or the whole producer is given up; it never goes on behind a record that failed, because consumers drop what comes
//! late. That is why a producer lives for a term and not longer.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use rdkafka::{ClientContext, Message};
use tokio::sync::Notify;

use crate::client::Reporter;
use crate::options::KafkaOptions;

/// The number of a watermark, whose acknowledgement nobody waits for.
pub const WATERMARK: usize = usize::MAX;

/// Kibibytes of records that the client keeps, at most.
const MAX_QUEUED_KIBIBYTES: u32 = 65_536;
/// Records that the client keeps, at most; more than a relay sends ahead of the acknowledgements.
const MAX_QUEUED_RECORDS: usize = 2 * super::run::WINDOW;
/// Longest wait of a record for others to share a request, in milliseconds. What is queued when a request is made
/// shares it anyway.
const LINGER_MS: &str = "0";
/// Bytes of records that share a request.
const BATCH_BYTES: u32 = 262_144;

/// What became of one record.
#[derive(Debug)]
pub struct Report {
    pub number: usize,
    pub partition: usize,
    /// Kafka's number of the record in its partition; `None` when Kafka knew it already and does not say.
    pub outcome: Result<Option<i64>, RDKafkaErrorCode>,
}

/// What the producer's own thread has to tell.
#[derive(Default)]
pub struct Reports {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    reports: Vec<Report>,
    fatal: Option<String>,
}

impl Reports {
    /// Takes what has come, into a list that is reused.
    ///
    /// # Errors
    /// When the producer has failed for good.
    pub fn take(&self, into: &mut Vec<Report>) -> Result<(), String> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        into.append(&mut waiting.reports);
        waiting.fatal.take().map_or(Ok(()), Err)
    }

    /// Returns when something came since it returned last.
    pub async fn come(&self) {
        self.bell.notified().await;
    }

    fn add(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }
}

struct Context {
    reports: Arc<Reports>,
    reporter: Reporter,
}

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        self.reporter.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.reports.add(|waiting| waiting.fatal = Some(reason.to_owned()));
        }
        self.reporter.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let (message, outcome) = match result {
            // A negative number: the broker had it already and does not say where.
            Ok(message) => (message, Ok(Some(message.offset()).filter(|offset| *offset >= 0))),
            Err((error, message)) => {
                (message, Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)))
            }
        };
        let partition = usize::try_from(message.partition()).unwrap_or_default();
        self.reports.add(|waiting| waiting.reports.push(Report { number, partition, outcome }));
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub enum Refused {
    /// The client has all that it can keep: later.
    Full,
    Failed(KafkaError),
}

/// A record before it is sent.
pub struct Outgoing<'a> {
    pub number: usize,
    pub partition: usize,
    pub key: Option<&'a str>,
    pub payload: Option<&'a [u8]>,
    pub headers: OwnedHeaders,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// A producer for the topic of one bounded context.
pub struct Producer {
    inner: Option<ThreadedProducer<Context>>,
    topic: String,
    reports: Arc<Reports>,
}

impl Producer {
    /// # Errors
    /// When the options are refused by Kafka's client.
    pub fn new(options: &KafkaOptions, context: &str, reporter: Reporter) -> Result<Self, KafkaError> {
        let topic = options.topic(context);
        let mut config = options.client_config(&format!("storeline-{context}-relay"));
        config
            .set("enable.idempotence", "true")
            // A record that fails for good ends the producer, instead of leaving a gap before those that follow.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            // Kafka may be away for as long as it likes: what is sent waits and keeps its order.
            .set("message.timeout.ms", "0")
            .set("linger.ms", LINGER_MS)
            .set("batch.size", BATCH_BYTES.to_string())
            .set("queue.buffering.max.messages", MAX_QUEUED_RECORDS.to_string())
            .set("queue.buffering.max.kbytes", MAX_QUEUED_KIBIBYTES.to_string());
        let reports = Arc::<Reports>::default();
        let context = Context { reports: reports.clone(), reporter };
        let inner = ThreadedProducer::from_config_and_context(&config, context)?;
        Ok(Self { inner: Some(inner), topic, reports })
    }

    pub fn reports(&self) -> Arc<Reports> {
        self.reports.clone()
    }

    /// Takes a record. What becomes of it is told by a [`Report`].
    ///
    /// # Errors
    /// When it was not taken; then nothing may be sent behind it.
    pub fn send(&self, record: Outgoing<'_>) -> Result<(), Refused> {
        let Some(producer) = &self.inner else { return Err(Refused::Full) };
        let partition = i32::try_from(record.partition).unwrap_or(i32::MAX);
        let mut outgoing = BaseRecord::with_opaque_to(&self.topic, record.number)
            .partition(partition)
            .timestamp(record.timestamp)
            .headers(record.headers);
        if let Some(key) = record.key {
            outgoing = outgoing.key(key);
        }
        if let Some(payload) = record.payload {
            outgoing = outgoing.payload(payload);
        }
        match producer.send(outgoing) {
            Ok(()) => Ok(()),
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                Err(Refused::Full)
            }
            Err((error, _)) => Err(Refused::Failed(error)),
        }
    }
}

/// Gives up what is not acknowledged: whoever comes next sends it again, from the checkpoint.
impl Drop for Producer {
    fn drop(&mut self) {
        let Some(producer) = self.inner.take() else { return };
        producer.purge(PurgeConfig::default().queue().inflight());
        // Its thread ends within a moment, which is too long for a task.
        std::thread::spawn(move || drop(producer));
    }
}
