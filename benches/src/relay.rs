//! From a commit to Kafka's acknowledgement at a steady rate, beside a bare idempotent producer in the same run, and a log
//! copied into a topic as fast as it goes, beside Kafka's own ProducerPerformance with the same size of records, acks and
//! idempotence. It compiles librdkafka, so it is built only when it is asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eventsourcing::{
    DecodeError, EventLog, IntegrationEvent, IntegrationFeed, LogFeed, Place, Published, RecordedEvent,
    SubscriptionState,
};
use kafka_feed::{KafkaOptions, Relay, record};
use rdkafka::message::Headers;
use rdkafka::producer::{FutureProducer, FutureRecord};
use service_runtime::{Readiness, Shutdown};
use tokio::process::Command;
use uuid::Uuid;

use crate::event::EVENTS_PER_ACCOUNT;
use crate::figures::Unit;
use crate::load::{paced_loop, quantile};
use crate::ours::Ours;
use crate::run::Run;
use crate::store::Store;

/// Events a second whose way is measured.
const RATE: f64 = 500.0;
/// Longest wait for the relay to be at work, or at the end of the log.
const PATIENCE: Duration = Duration::from_secs(120);
/// Records that Kafka's own program sends: more than ours, since it becomes fast only after a while.
const REFERENCE_RECORDS: u64 = 500_000;

fn publish(event: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    Ok(Some(Published { event_type: "shop.bench.v1.Deposited", data: event.data.clone().into_bytes() }))
}

/// A relay at work.
struct Relaying {
    relay: Relay,
    shutdown: Shutdown,
    readiness: Readiness,
}

impl Relaying {
    async fn begin(log: &EventLog, feed: IntegrationFeed, options: &KafkaOptions) -> anyhow::Result<Self> {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let relay = Relay::start(feed, log, options, &shutdown, &readiness).await?;
        let mut state = relay.state();
        let running = state.wait_for(|state| *state == SubscriptionState::Running);
        tokio::time::timeout(PATIENCE, running).await.context("the relay does not run")??;
        Ok(Self { relay, shutdown, readiness })
    }

    async fn end(self) -> anyhow::Result<()> {
        self.shutdown.request("measured");
        Ok(self.shutdown.run(&self.readiness, PATIENCE).await?)
    }
}

fn feed_of(log: &EventLog) -> IntegrationFeed {
    Arc::new(LogFeed::new(log.clone(), "/shop/bench", publish))
}

fn options() -> anyhow::Result<KafkaOptions> {
    let brokers = std::env::var("STORELINE_TEST_KAFKA")
        .context("STORELINE_TEST_KAFKA is not set: run `cargo xtask bench`")?;
    Ok(KafkaOptions::single_broker(brokers, format!("bench-{}.", Uuid::new_v4().simple())))
}

pub async fn relay(run: &mut Run<'_>) -> anyhow::Result<()> {
    delay(run).await?;
    bare_delay(run).await?;
    throughput(run).await
}

async fn delay(run: &mut Run<'_>) -> anyhow::Result<()> {
    let database = run.databases().fresh(Ours::EMPTY).await?;
    let (store, options) = (Ours::open(&database, true).await?, options()?);
    let relaying = Relaying::begin(store.log(), feed_of(store.log()), &options).await?;
    let delays = Arc::new(Mutex::new(Vec::new()));
    let from = Instant::now() + run.times().warm_up;
    paced_loop(run.times(), RATE, |_| {
        let (store, delays, mut acknowledged) =
            (store.clone(), delays.clone(), relaying.relay.acknowledged());
        async move {
            let position = store.append_one().await?;
            let committed = Instant::now();
            acknowledged.wait_for(|at| *at >= position).await?;
            if committed >= from
                && let Ok(mut delays) = delays.lock()
            {
                delays.push(committed.elapsed());
            }
            Ok(())
        }
    })
    .await?;
    let mut delays = delays.lock().map_or_else(|_| Vec::new(), |delays| delays.clone());
    delays.sort_unstable();
    run.record("relay/commit to acknowledged, p50", Unit::Milliseconds, quantile(&delays, 0.5));
    run.record("relay/commit to acknowledged, p99", Unit::Milliseconds, quantile(&delays, 0.99));
    relaying.end().await?;
    store.close().await;
    run.databases().remove(database).await
}

/// The same records at the same rate, without a log.
async fn bare_delay(run: &mut Run<'_>) -> anyhow::Result<()> {
    let options = options()?;
    kafka_feed::topics::Topic::new(&options, "bench", Default::default())?.provide().await?;
    let mut config = options.client_config("storeline-bench");
    let producer: FutureProducer =
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0").create()?;
    let topic: Arc<str> = options.topic("bench").into();
    let payload: Arc<str> = "x".repeat(270).into();
    let sent = paced_loop(run.times(), RATE, |number| {
        let (producer, topic, payload) = (producer.clone(), topic.clone(), payload.clone());
        async move {
            let key = format!("account-{number}");
            let record = FutureRecord::<str, str>::to(&topic).key(&key).payload(&payload);
            producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
            Ok(())
        }
    })
    .await?;
    run.record("limit/bare producer, p50", Unit::Milliseconds, sent.quantile(0.5));
    run.record("limit/bare producer, p99", Unit::Milliseconds, sent.quantile(0.99));
    Ok(())
}

async fn throughput(run: &mut Run<'_>) -> anyhow::Result<()> {
    let events = run.options().accounts * EVENTS_PER_ACCOUNT;
    let database = run.databases().fresh(Ours::seeded(run.options().accounts)).await?;
    let (store, options) = (Ours::open(&database, true).await?, options()?);
    // The topic is there when a service starts, but for its first time.
    kafka_feed::topics::Topic::new(&options, "bench", Default::default())?.provide().await?;
    let feed = feed_of(store.log());
    let (newest, size) = (feed.newest(0).await?, mean_size(&feed).await?);
    let begun = Instant::now();
    let relaying = Relaying::begin(store.log(), feed, &options).await?;
    let mut acknowledged = relaying.relay.acknowledged();
    let all = acknowledged.wait_for(|at| *at >= newest);
    tokio::time::timeout(PATIENCE, all).await.context("the relay does not come to the end of the log")??;
    let per_second = events as f64 / begun.elapsed().as_secs_f64();
    run.record("relay/throughput", Unit::PerSecond, per_second);
    relaying.end().await?;
    store.close().await;
    run.databases().remove(database).await?;
    let reference = producer_performance(&options, size).await?;
    run.record("limit/ProducerPerformance", Unit::PerSecond, reference);
    Ok(())
}

/// Bytes of a record, with its key and headers.
async fn mean_size(feed: &IntegrationFeed) -> anyhow::Result<usize> {
    let page = feed.read(0, Place::at(0), 100).await?;
    ensure!(!page.messages.is_empty(), "the log is empty");
    let size = |event: &IntegrationEvent| {
        let headers = record::event_headers(feed.log(), feed.incarnation(), event);
        let of_headers: usize =
            headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        event.subject.len() + event.data.len() + of_headers
    };
    Ok(page.messages.iter().map(size).sum::<usize>() / page.messages.len())
}

/// What Kafka's own program reaches on a topic like ours, in records a second.
async fn producer_performance(options: &KafkaOptions, size: usize) -> anyhow::Result<f64> {
    let options =
        KafkaOptions { topic_prefix: format!("bench-{}.", Uuid::new_v4().simple()), ..options.clone() };
    kafka_feed::topics::Topic::new(&options, "bench", Default::default())?.provide().await?;
    let jars = std::env::var("STORELINE_TEST_KAFKA_JARS")
        .context("STORELINE_TEST_KAFKA_JARS is not set: run `cargo xtask bench`")?;
    let output = Command::new("java")
        .arg("-cp")
        .arg(PathBuf::from(jars).join("*"))
        .arg("org.apache.kafka.tools.ProducerPerformance")
        .args(["--topic", &options.topic("bench"), "--throughput", "-1"])
        .args(["--num-records", &REFERENCE_RECORDS.to_string(), "--record-size", &size.to_string()])
        .args(["--producer-props", &format!("bootstrap.servers={}", options.brokers)])
        .args(["acks=all", "enable.idempotence=true"])
        .output()
        .await
        .context("java cannot be run")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "ProducerPerformance failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The last line sums up: `500000 records sent, 123456.7 records/sec (...), ...`.
    let sum = said.lines().rev().find(|line| line.contains("records sent")).context("it says nothing")?;
    let rate = sum.split(", ").nth(1).and_then(|part| part.split_whitespace().next());
    rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("`{sum}` has no rate"))
}
