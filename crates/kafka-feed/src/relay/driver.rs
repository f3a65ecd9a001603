//! What leads a relay from term to term: it waits for the lease, looks at what the topic and the stored place say to each
//! other, has a term run, and decides what its end means: again, or not before an operator has spoken. It sends nothing
//! itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventsourcing::backoff::Backoff;
use eventsourcing::{
    FeedError, IntegrationFeed, Leases, Place, RelayPlace, RelayStore, SubscriptionState, Wanted,
};
use rdkafka::error::KafkaError;
use service_runtime::readiness::Component;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::Recorded;
use super::run::Run;
use crate::client::Reporter;
use crate::options::KafkaOptions;
use crate::topics::{Extent, Topic, TopicError};

/// How often a relay that stands by tries to get the lease, and a stopped one looks for what an operator asks.
const LOOK: Duration = Duration::from_secs(1);
/// Pauses between terms that fail.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A term that lasted for so long is no repeated failure.
const GOOD_TERM: Duration = Duration::from_secs(10);

/// Why a term ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The lease is gone, or the process stops.
    Over,
    /// Begin again, from the checkpoint.
    Again(String),
    /// An operator has to say what to do.
    Stop(String),
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<FeedError> for Ended {
    fn from(error: FeedError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<KafkaError> for Ended {
    fn from(error: KafkaError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<TopicError> for Ended {
    fn from(error: TopicError) -> Self {
        if error.is_final() { Self::Stop(error.to_string()) } else { Self::Again(error.to_string()) }
    }
}

pub(super) struct Driver {
    pub feed: IntegrationFeed,
    pub options: Arc<KafkaOptions>,
    pub topic: Topic,
    pub store: RelayStore,
    pub leases: Leases,
    pub reporter: Reporter,
    pub metrics: Recorded,
    pub readiness: Component,
    pub acknowledged: watch::Sender<i64>,
    pub state: watch::Sender<SubscriptionState>,
    pub stop: CancellationToken,
}

impl Driver {
    pub async fn run(self) {
        self.readiness.ready();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !self.stop.is_cancelled() {
            let begun = Instant::now();
            let mut term = 0;
            let ended = self.term(&mut term).await;
            if begun.elapsed() >= GOOD_TERM {
                backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
            }
            match ended {
                Ended::Over => self.metrics.stand_by(),
                Ended::Again(why) => {
                    self.measure_backlog().await;
                    tracing::warn!(topic = self.topic.name(), why, "the relay begins again");
                    self.say(term, SubscriptionState::Retrying(why)).await;
                    self.sleep(backoff.take()).await;
                }
                Ended::Stop(why) => {
                    tracing::error!(topic = self.topic.name(), why, "the relay has stopped");
                    self.say(term, SubscriptionState::Stopped(why)).await;
                    self.wait_for_operator().await;
                }
            }
        }
    }

    /// Runs for as long as the lease is held.
    async fn term(&self, term: &mut i64) -> Ended {
        match self.begin(term).await {
            Ok(Some(mut run)) => run.go().await,
            Ok(None) => Ended::Over,
            Err(ended) => ended,
        }
    }

    async fn begin(&self, term: &mut i64) -> Result<Option<Run<'_>>, Ended> {
        let name = format!("relay {}", self.topic.name());
        let Some(lease) = self.leases.try_acquire(&name).await? else {
            self.state.send_replace(SubscriptionState::StandBy);
            self.readiness.ready();
            self.metrics.stand_by();
            self.sleep(LOOK).await;
            return Ok(None);
        };
        self.metrics.active.set(1.0);
        let place = self.store.begin(self.feed.incarnation()).await?;
        *term = place.term;
        self.acknowledged.send_replace(place.position);
        let differences = match self.topic.provide().await {
            Ok(differences) => differences,
            Err(error) => {
                if error.is_final() {
                    // Whatever it is that an operator asks for, it is not possible.
                    self.store.decline(place.term).await?;
                }
                return Err(match (Ended::from(error), self.reporter.newest_error()) {
                    (Ended::Again(why), Some(newest)) => Ended::Again(format!("{why} ({newest})")),
                    (ended, _) => ended,
                });
            }
        };
        self.say_differences(&differences);
        let place = match place.wanted {
            Some(wanted) => self.obey(place, wanted).await?,
            None => self.check(place).await?,
        };
        self.say(place.term, SubscriptionState::Running).await;
        Ok(Some(Run::begin(self, place, lease)?))
    }

    /// Does what an operator asked for. The place is another one then, and the topic is taken as it is.
    async fn obey(&self, place: RelayPlace, wanted: Wanted) -> Result<RelayPlace, Ended> {
        let topic = self.topic.name();
        let (position, extents) = match wanted {
            Wanted::Refill => {
                tracing::warn!(topic, "the topic is emptied, and filled again from the log");
                (0, self.topic.empty().await?)
            }
            Wanted::ResumeAfter(position) => {
                let newest = self.feed.newest(0).await?;
                if position > newest {
                    self.store.decline(place.term).await?;
                    return Err(Ended::Stop(format!(
                        "the relay cannot go on after {position}: the log ends at {newest}"
                    )));
                }
                tracing::warn!(topic, position, "the relay goes on after a position that it was told");
                (position, self.topic.extents().await?)
            }
        };
        let place = RelayPlace {
            incarnation: self.feed.incarnation(),
            position,
            begins: extents.iter().map(|extent| extent.begin).collect(),
            ends: extents.iter().map(|extent| extent.end).collect(),
            wanted: None,
            ..place
        };
        self.move_to(place).await
    }

    async fn move_to(&self, place: RelayPlace) -> Result<RelayPlace, Ended> {
        if !self.store.move_to(&place).await? {
            return Err(Ended::Again("another relay has begun".into()));
        }
        self.acknowledged.send_replace(place.position);
        Ok(place)
    }

    /// Checks that log and topic are what they were when the place was stored.
    async fn check(&self, place: RelayPlace) -> Result<RelayPlace, Ended> {
        let (log, incarnation) = (self.feed.log(), self.feed.incarnation());
        if place.incarnation != incarnation {
            return Err(Ended::Stop(format!(
                "the log `{log}` has incarnation {incarnation}, and its topic was filled from incarnation {}: the log \
                 was restored. Go on after a position that both share, or fill the topic again (shop relay)",
                place.incarnation
            )));
        }
        let newest = self.feed.newest(0).await?;
        if place.position > newest {
            return Err(Ended::Stop(format!(
                "the log `{log}` ends at {newest}, and its topic has events up to {}: the log has lost events",
                place.position
            )));
        }
        let extents = self.topic.extents().await?;
        if !place.begins.is_empty() {
            compare(self.topic.name(), &extents, &place.begins, &place.ends).map_err(Ended::Stop)?;
            return Ok(place);
        }
        if extents.iter().any(|extent| extent.end > 0) {
            return Err(Ended::Stop(format!(
                "the topic `{}` holds records already, and nothing is known of how they came there: choose another \
                 prefix, or have it emptied and filled from the log (shop relay refill)",
                self.topic.name()
            )));
        }
        let zeros = vec![0; extents.len()];
        self.move_to(RelayPlace { begins: zeros.clone(), ends: zeros, ..place }).await
    }

    /// Nothing goes on by itself now, but the log does, and how far the topic is behind can be seen.
    async fn wait_for_operator(&self) {
        self.metrics.stopped.set(1.0);
        while !self.stop.is_cancelled() {
            self.sleep(LOOK).await;
            match self.store.wanted().await {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(error) => tracing::debug!(%error, "what operators want cannot be read"),
            }
            self.measure_backlog().await;
        }
        self.metrics.stopped.set(0.0);
    }

    /// How far the topic is behind while nothing is sent; the database may be away, too.
    async fn measure_backlog(&self) {
        let position = *self.acknowledged.borrow();
        if let Ok(newest) = self.feed.newest(0).await {
            self.metrics.backlog.set((newest - position).max(0) as f64);
        }
        if let Ok(page) = self.feed.read(0, Place::at(position), 1).await
            && let Some(oldest) = page.messages.first()
        {
            self.metrics.oldest.set(super::run::age(oldest.time));
        }
    }

    /// Makes known what the relay does, here and to whoever asks another replica.
    pub async fn say(&self, term: i64, state: SubscriptionState) {
        match &state {
            // Traffic to this replica is right all the same: commands commit, and their events wait in the log.
            SubscriptionState::Stopped(why) => self.readiness.degraded(&format!("stopped: {why}")),
            SubscriptionState::Retrying(why) => self.readiness.degraded(why),
            SubscriptionState::Running | SubscriptionState::StandBy => self.readiness.ready(),
        }
        if let Err(error) = self.store.report(term, &state).await {
            tracing::debug!(%error, "what the relay does cannot be stored");
        }
        self.state.send_replace(state);
    }

    pub fn say_differences(&self, differences: &[String]) {
        for difference in differences {
            tracing::warn!(topic = self.topic.name(), "{difference}");
        }
        self.metrics.differences.set(differences.len() as f64);
    }

    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What is wrong with a topic that begins and ends here, while it once began at `begins` and reached `ends`.
pub(super) fn compare(topic: &str, now: &[Extent], begins: &[i64], ends: &[i64]) -> Result<(), String> {
    let remedy = "Have it emptied and filled again from the log (shop relay refill)";
    for (partition, (now, (begin, end))) in now.iter().zip(begins.iter().zip(ends)).enumerate() {
        if now.end < *end {
            return Err(format!(
                "partition {partition} of the topic `{topic}` ends at {} and has acknowledged {end} records: it was \
                 deleted and made anew, or Kafka has lost what it acknowledged. {remedy}",
                now.end
            ));
        }
        if now.begin > *begin {
            return Err(format!(
                "partition {partition} of the topic `{topic}` begins at {} and began at {begin}: records were deleted, \
                 and no consumer can be built from the beginning. See to its retention. {remedy}",
                now.begin
            ));
        }
    }
    Ok(())
}
