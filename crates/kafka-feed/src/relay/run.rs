//! One term of a relay: reads the log ahead of what is acknowledged, sends, takes the acknowledgements, and stores how
//! far nothing is missing. It ends with the first thing that is not as it should be; what that means is the
//! [driver](super::driver)'s to say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use eventsourcing::feed::partition_of;
use eventsourcing::{FeedError, IntegrationEvent, Page, Place, RelayPlace, SubscriptionState, fault};
use futures::future::BoxFuture;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::watch;

use super::driver::{Driver, Ended, compare};
use super::flight::Flight;
use super::producer::{Outgoing, Producer, Refused, Report, Reports, WATERMARK};
use crate::record;
use crate::topics::{Extent, Topic, TopicError};

/// Records that are sent ahead of the acknowledgements, at most.
pub(super) const WINDOW: usize = 20_000;
/// Events that are read at once.
const PAGE: usize = 2000;
/// Events that wait to be sent below which the next page is read.
const READ_BELOW: usize = PAGE;
/// How often the checkpoint is stored. What was acknowledged since is sent again after a crash, and dropped.
const STORE_EVERY: Duration = Duration::from_millis(250);
/// Shortest time between two watermarks of one partition.
const WATERMARK_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked whether an operator wants something.
const WANTED_EVERY: Duration = Duration::from_secs(2);
/// How often the topic is compared with what was sent. Between, acknowledgements tell.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Longest pause between two rounds.
const TICK: Duration = Duration::from_millis(500);
/// Without an acknowledgement for so long, Kafka counts as away. It is said at once, and then in doubling intervals.
const AWAY_AFTER: Duration = Duration::from_secs(5);
/// Longest wait for the last acknowledgements when the process stops.
const LAST_WAIT: Duration = Duration::from_secs(3);

type Reading = BoxFuture<'static, Result<Page<IntegrationEvent>, FeedError>>;
/// What the topic is, and what it had acknowledged before that was asked.
type Checking = BoxFuture<'static, (Result<Vec<Extent>, TopicError>, Vec<i64>)>;

/// What was read and is not sent.
enum Waiting {
    Event(IntegrationEvent),
    /// Everything up to here was before this.
    UpTo(i64),
}

pub(super) struct Run<'d> {
    driver: &'d Driver,
    lease: u64,
    term: i64,
    producer: Producer,
    reports: Arc<Reports>,
    /// Reports that are being looked at.
    taken: Vec<Report>,
    flight: Flight,
    head: watch::Receiver<i64>,
    /// Up to where the log was read.
    read_up_to: i64,
    /// Whether there may be more than the head tells.
    may_have_more: bool,
    /// Whether the newest page was as large as it may be.
    in_bulk: bool,
    reading: Option<Reading>,
    waiting: VecDeque<Waiting>,
    begins: Vec<i64>,
    /// Where each partition ends, as far as is acknowledged.
    ends: Vec<i64>,
    stored: i64,
    stored_at: Instant,
    watermarks: Watermarks,
    looked_at: Instant,
    checked_at: Instant,
    checking: Option<Checking>,
    measured_at: Instant,
    /// When something was acknowledged, or there was nothing to be.
    progress_at: Instant,
    /// After how long without progress it is said next.
    say_after: Duration,
}

/// Up to where each partition's consumers know that they have everything.
struct Watermarks {
    told: Vec<i64>,
    /// When each partition got its newest watermark.
    sent_at: Vec<Option<Instant>>,
    /// Every partition knows at least this.
    everywhere: i64,
}

impl<'d> Run<'d> {
    pub fn begin(driver: &'d Driver, place: RelayPlace, lease: u64) -> Result<Self, Ended> {
        let producer = Producer::new(&driver.options, driver.feed.log(), driver.reporter.clone())?;
        let partitions = place.ends.len();
        let now = Instant::now();
        Ok(Self {
            driver,
            lease,
            term: place.term,
            reports: producer.reports(),
            producer,
            taken: Vec::new(),
            flight: Flight::beginning_at(place.position),
            head: driver.feed.head(),
            read_up_to: place.position,
            may_have_more: true,
            in_bulk: false,
            reading: None,
            waiting: VecDeque::new(),
            begins: place.begins,
            ends: place.ends,
            stored: place.position,
            stored_at: now,
            watermarks: Watermarks {
                told: vec![0; partitions],
                sent_at: vec![None; partitions],
                everywhere: 0,
            },
            looked_at: now,
            checked_at: now,
            checking: None,
            measured_at: now,
            progress_at: now,
            say_after: AWAY_AFTER,
        })
    }

    pub async fn go(&mut self) -> Ended {
        loop {
            if self.driver.stop.is_cancelled() {
                return self.finish().await.err().unwrap_or(Ended::Over);
            }
            if !self.driver.leases.holds(self.lease) {
                return Ended::Again("the lease is lost".into());
            }
            if let Err(ended) = self.round().await {
                return ended;
            }
        }
    }

    /// Does what can be done, and waits for something to do.
    async fn round(&mut self) -> Result<(), Ended> {
        self.take_reports().await?;
        self.send_waiting()?;
        self.send_watermarks()?;
        self.begin_reading();
        self.store_now_and_then().await?;
        self.look_around().await?;
        self.measure();
        let pause = self.pause();
        let wants_events = self.reading.is_none() && self.waiting.len() < READ_BELOW;
        tokio::select! {
            biased;
            () = self.driver.stop.cancelled() => {}
            () = self.reports.come() => {}
            page = ready(&mut self.reading) => self.take_page(page?),
            (extents, ends) = ready(&mut self.checking) => self.take_extents(extents, &ends)?,
            _ = self.head.changed(), if wants_events => {}
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }

    /// Takes what Kafka says of the records that were sent.
    async fn take_reports(&mut self) -> Result<(), Ended> {
        let mut taken = std::mem::take(&mut self.taken);
        let fatal = self.reports.take(&mut taken);
        if !taken.is_empty() {
            self.progress().await;
        }
        for report in taken.drain(..) {
            self.take_report(&report)?;
        }
        self.taken = taken;
        fatal.map_err(|why| Ended::Again(format!("Kafka's client has given up: {why}")))?;
        let acknowledged = self.flight.acknowledged_up_to();
        self.driver
            .acknowledged
            .send_if_modified(|known| std::mem::replace(known, acknowledged) != acknowledged);
        Ok(())
    }

    fn take_report(&mut self, report: &Report) -> Result<(), Ended> {
        let topic = self.driver.topic.name();
        let offset = match report.outcome {
            Ok(offset) => offset,
            Err(
                code @ (RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition),
            ) => return Err(Ended::Again(format!("the topic `{topic}` is gone: {code}"))),
            Err(code) => return Err(Ended::Again(format!("Kafka did not take a record: {code}"))),
        };
        if let Some(offset) = offset
            && let Some(end) = self.ends.get_mut(report.partition)
        {
            if offset < *end {
                let now = [Extent { begin: 0, end: offset }];
                let why = compare(topic, &now, &[0], std::slice::from_ref(end));
                return Err(Ended::Stop(why.err().unwrap_or_default()));
            }
            *end = offset + 1;
        }
        if report.number == WATERMARK {
            return Ok(());
        }
        if let Some(sent) = self.flight.acknowledge(report.number) {
            self.driver.metrics.acknowledged.increment(1);
            self.driver.metrics.commit_to_acknowledged.record(age(sent.recorded_at));
        }
        Ok(())
    }

    /// Kafka answers.
    async fn progress(&mut self) {
        let away = self.progress_at.elapsed();
        self.progress_at = Instant::now();
        if self.say_after == AWAY_AFTER {
            return;
        }
        self.say_after = AWAY_AFTER;
        let topic = self.driver.topic.name();
        tracing::info!(topic, "Kafka acknowledges again, after {} s", away.as_secs());
        self.driver.say(self.term, SubscriptionState::Running).await;
    }

    fn take_page(&mut self, page: Page<IntegrationEvent>) {
        let up_to = page.up_to.position;
        self.may_have_more = up_to > self.read_up_to;
        self.read_up_to = up_to.max(self.read_up_to);
        self.in_bulk = page.messages.len() >= PAGE;
        if !page.messages.is_empty() {
            fault::point("relay.before");
        }
        self.waiting.extend(page.messages.into_iter().map(Waiting::Event));
        self.waiting.push_back(Waiting::UpTo(up_to));
    }

    fn begin_reading(&mut self) {
        if self.reading.is_some() || self.waiting.len() >= READ_BELOW {
            return;
        }
        let head = *self.head.borrow_and_update();
        if !self.may_have_more && head <= self.read_up_to {
            return;
        }
        let (feed, after) = (self.driver.feed.clone(), self.read_up_to);
        let read = async move { feed.read(0, Place::at(after), PAGE).await };
        self.reading = Some(if self.in_bulk {
            // Beside the sending of the page before.
            let reading = tokio::spawn(read);
            Box::pin(async move {
                reading.await.unwrap_or(Err(FeedError::Unreachable(sqlx::Error::WorkerCrashed)))
            })
        } else {
            Box::pin(read)
        });
    }

    /// Sends what waits, as far as it may be ahead.
    fn send_waiting(&mut self) -> Result<(), Ended> {
        let was_empty = self.flight.is_empty();
        while let Some(waiting) = self.waiting.front() {
            match waiting {
                Waiting::UpTo(position) => self.flight.read_up_to(*position),
                Waiting::Event(event) => {
                    if self.flight.len() >= WINDOW {
                        break;
                    }
                    let partition = partition_of(event.subject.as_bytes(), self.ends.len());
                    let (log, incarnation) = (self.driver.feed.log(), self.driver.feed.incarnation());
                    let sent = self.producer.send(Outgoing {
                        number: self.flight.next_number(),
                        partition,
                        key: Some(&event.subject),
                        payload: Some(&event.data),
                        headers: record::event_headers(log, incarnation, event),
                        timestamp: event.time.timestamp_millis(),
                    });
                    match sent {
                        Ok(()) => {}
                        Err(Refused::Full) => break,
                        Err(Refused::Failed(error)) => {
                            return Err(Ended::Again(format!(
                                "the event at position {} cannot be sent: {error}",
                                event.position
                            )));
                        }
                    }
                    self.flight.sent(event.position, event.time);
                    self.watermarks.told[partition] = event.position;
                }
            }
            self.waiting.pop_front();
        }
        if was_empty {
            self.progress_at = Instant::now();
        }
        Ok(())
    }

    /// Tells the partitions in which nothing happened how far the log is.
    fn send_watermarks(&mut self) -> Result<(), Ended> {
        let up_to = self.flight.sent_up_to();
        if self.watermarks.everywhere >= up_to {
            return Ok(());
        }
        let mut everywhere = true;
        for partition in 0..self.watermarks.told.len() {
            if self.watermarks.told[partition] >= up_to {
                continue;
            }
            if self.watermarks.sent_at[partition].is_some_and(|at| at.elapsed() < WATERMARK_EVERY) {
                everywhere = false;
                continue;
            }
            let (log, incarnation) = (self.driver.feed.log(), self.driver.feed.incarnation());
            let sent = self.producer.send(Outgoing {
                number: WATERMARK,
                partition,
                key: None,
                payload: None,
                headers: record::watermark_headers(log, incarnation, up_to),
                timestamp: Utc::now().timestamp_millis(),
            });
            match sent {
                Ok(()) => {}
                Err(Refused::Full) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error.into()),
            }
            self.watermarks.told[partition] = up_to;
            self.watermarks.sent_at[partition] = Some(Instant::now());
        }
        if everywhere {
            self.watermarks.everywhere = up_to;
        }
        Ok(())
    }

    async fn store_now_and_then(&mut self) -> Result<(), Ended> {
        if self.flight.acknowledged_up_to() == self.stored || self.stored_at.elapsed() < STORE_EVERY {
            return Ok(());
        }
        self.store().await
    }

    async fn store(&mut self) -> Result<(), Ended> {
        let position = self.flight.acknowledged_up_to();
        fault::point("relay.acknowledged");
        if !self.driver.store.advance(self.term, position, &self.ends).await? {
            return Err(Ended::Again("another relay has begun".into()));
        }
        fault::point("relay.stored");
        self.stored = position;
        self.stored_at = Instant::now();
        Ok(())
    }

    /// Looks now and then at what does not announce itself.
    async fn look_around(&mut self) -> Result<(), Ended> {
        if self.looked_at.elapsed() >= WANTED_EVERY {
            self.looked_at = Instant::now();
            if self.driver.store.wanted().await?.is_some() {
                return Err(Ended::Over);
            }
        }
        if self.checking.is_none() && self.checked_at.elapsed() >= CHECK_EVERY {
            let (topic, ends) = (self.driver.topic.clone(), self.ends.clone());
            self.checking = Some(Box::pin(async move { (look_at(&topic).await, ends) }));
        }
        if self.flight.is_empty() || self.progress_at.elapsed() < self.say_after {
            return Ok(());
        }
        let why = self.driver.reporter.newest_error().unwrap_or_else(|| "it does not say why".into());
        let away = self.progress_at.elapsed().as_secs();
        let why = format!("Kafka has acknowledged nothing for {away} s: {why}");
        let (topic, backlog) = (self.driver.topic.name(), self.backlog());
        tracing::warn!(topic, backlog, why, "the relay waits, and sends again when Kafka is back");
        self.say_after *= 2;
        self.driver.say(self.term, SubscriptionState::Retrying(why)).await;
        Ok(())
    }

    /// Compares the topic as it is with what it had acknowledged.
    fn take_extents(&mut self, extents: Result<Vec<Extent>, TopicError>, ends: &[i64]) -> Result<(), Ended> {
        self.checked_at = Instant::now();
        match extents {
            Ok(extents) => {
                compare(self.driver.topic.name(), &extents, &self.begins, ends).map_err(Ended::Stop)
            }
            Err(error) if error.is_final() => Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "the topic cannot be looked at");
                Ok(())
            }
        }
    }

    fn backlog(&self) -> i64 {
        let head = (*self.head.borrow()).max(self.read_up_to);
        head - self.flight.acknowledged_up_to()
    }

    fn measure(&mut self) {
        if self.measured_at.elapsed() < TICK {
            return;
        }
        self.measured_at = Instant::now();
        let metrics = &self.driver.metrics;
        metrics.backlog.set(self.backlog() as f64);
        metrics.oldest.set(self.flight.oldest().map_or(0.0, |oldest| age(oldest.recorded_at)));
    }

    /// Until when there is nothing to do, unless something comes.
    fn pause(&self) -> Duration {
        let mut pause = TICK;
        if self.flight.acknowledged_up_to() != self.stored {
            pause = pause.min(STORE_EVERY.saturating_sub(self.stored_at.elapsed()));
        }
        if self.watermarks.everywhere < self.flight.sent_up_to() {
            let due = |at: &Option<Instant>| {
                at.map_or(Duration::ZERO, |at| WATERMARK_EVERY.saturating_sub(at.elapsed()))
            };
            let behind = |(told, at): (&i64, _)| (*told < self.flight.sent_up_to()).then(|| due(at));
            let (told, sent_at) = (&self.watermarks.told, &self.watermarks.sent_at);
            pause = told.iter().zip(sent_at).filter_map(behind).fold(pause, Duration::min);
        }
        pause
    }

    /// Waits a moment for what is in flight, and stores how far it came.
    async fn finish(&mut self) -> Result<(), Ended> {
        let reports = self.reports.clone();
        let last = async {
            while !self.flight.is_empty() {
                reports.come().await;
                self.take_reports().await?;
            }
            Ok::<(), Ended>(())
        };
        tokio::time::timeout(LAST_WAIT, last).await.unwrap_or(Ok(()))?;
        if self.flight.acknowledged_up_to() != self.stored {
            self.store().await?;
        }
        Ok(())
    }
}

async fn look_at(topic: &Topic) -> Result<Vec<Extent>, TopicError> {
    topic.provide().await?;
    topic.extents().await
}

/// What a future gives, which is gone then; never, when there is none.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(running) = future else { return std::future::pending().await };
    let output = running.await;
    *future = None;
    output
}

/// Seconds since a time.
pub(super) fn age(time: DateTime<Utc>) -> f64 {
    (Utc::now() - time).as_seconds_f64().max(0.0)
}
