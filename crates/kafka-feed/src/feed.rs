//! The feed that reads a topic. Partitions are handled by whoever the consumer group gives them to; where a subscription
//! is in each of them stands in its own database and nowhere in Kafka. Beside the group, a rebuild or a cache may read
//! any partition from anywhere.

mod fetcher;
mod group;
mod slot;
mod source;

use std::sync::Arc;

use eventsourcing::{Assignments, Feed, FeedError, IntegrationEvent, IntegrationFeed, Page, Place};
use futures::future::BoxFuture;
use tokio::sync::{Mutex, OnceCell, mpsc, watch};

use crate::KafkaOptions;
use fetcher::Fetcher;
use source::Source;

/// Reads the topic of one log.
pub struct KafkaFeed {
    inner: Arc<Inner>,
}

struct Inner {
    options: KafkaOptions,
    log: String,
    topic: String,
    source: Source,
    /// The highest position that was seen in any partition.
    head: watch::Sender<i64>,
    /// For whoever reads beside the group.
    beside: OnceCell<Fetcher>,
    /// One at a time reads a partition beside the group.
    turns: Vec<Mutex<()>>,
}

impl KafkaFeed {
    /// Of a log that is called like its bounded context, such as `product`. Nothing is connected before it is read.
    #[expect(clippy::new_ret_no_self, reason = "what it is made of is nobody's business")]
    pub fn new(options: &KafkaOptions, log: &str) -> IntegrationFeed {
        let topic = options.topic(log);
        let inner = Inner {
            log: log.to_owned(),
            source: Source::new(options.clone(), topic.clone()),
            topic,
            head: watch::Sender::new(0),
            beside: OnceCell::new(),
            turns: (0..options.partitions).map(|_| Mutex::default()).collect(),
            options: options.clone(),
        };
        Arc::new(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn fetcher(&self, name: &str) -> Result<Fetcher, FeedError> {
        let name = format!("{}{name}", self.options.topic_prefix);
        Fetcher::start(&self.options, &name, &self.topic, &self.log, self.head.clone())
    }

    async fn read_beside(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> Result<Page<IntegrationEvent>, FeedError> {
        let turn = usize::try_from(partition).ok().and_then(|partition| self.turns.get(partition));
        let _turn = match turn {
            Some(turn) => turn.lock().await,
            None => return Err(FeedError::Stop(format!("`{}` has no partition {partition}", self.topic))),
        };
        let fetcher = self.beside.get_or_try_init(|| async { self.fetcher("beside") }).await?;
        let extent = self.source.extent(partition).await?;
        if let Some(resume) = after.resume.filter(|resume| !(extent.first..=extent.end).contains(resume)) {
            return Err(FeedError::Stop(format!(
                "partition {partition} of `{}` has records from {} up to {}, and not {resume}: the topic was made anew",
                self.topic, extent.first, extent.end
            )));
        }
        if after.resume.is_none() && extent.first == extent.end {
            return Ok(Page { messages: Vec::new(), up_to: after });
        }
        fetcher.read_up_to(partition, after, limit, extent.end, source::PATIENCE).await
    }

    async fn newest(&self, partition: i32) -> Result<i64, FeedError> {
        let extent = self.source.extent(partition).await?;
        let last = self.source.last(partition, extent).await?;
        Ok(last.map_or(0, |last| last.position()))
    }
}

impl Feed for KafkaFeed {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        &self.inner.log
    }

    fn incarnation(&self) -> i32 {
        0
    }

    fn partitions(&self) -> i32 {
        i32::from(self.inner.options.partitions)
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        Box::pin(self.inner.read_beside(partition, after, limit))
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        Box::pin(self.inner.newest(partition))
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.inner.head.subscribe()
    }

    fn check(&self, partition: i32, place: Place) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(self.inner.source.check(partition, place))
    }

    fn join(&self, subscription: &str) -> Option<Assignments<IntegrationEvent>> {
        let (sender, receiver) = mpsc::channel(usize::from(self.inner.options.partitions).max(1));
        let (feed, subscription) = (Arc::clone(&self.inner), subscription.to_owned());
        match self.inner.fetcher(&subscription) {
            Ok(fetcher) => {
                let member = move || group::run(feed, &subscription, Arc::new(fetcher), sender);
                // Not one of the runtime's threads, which a process waits for at its end.
                std::thread::spawn(member);
            }
            Err(error) => {
                let _ = sender.try_send(Err(error));
            }
        }
        Some(receiver)
    }
}

/// A partition that the group has given to this process.
struct Piece {
    feed: Arc<Inner>,
    fetcher: Arc<Fetcher>,
    partition: i32,
}

impl Feed for Piece {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        &self.feed.log
    }

    fn incarnation(&self) -> i32 {
        0
    }

    fn partitions(&self) -> i32 {
        i32::from(self.feed.options.partitions)
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        let page = self.fetcher.read(partition, after, limit);
        Box::pin(async move { page })
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        Box::pin(self.feed.newest(partition))
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.fetcher.head(self.partition).unwrap_or_else(|_| self.feed.head.subscribe())
    }

    fn check(&self, partition: i32, place: Place) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(self.feed.source.check(partition, place))
    }
}
