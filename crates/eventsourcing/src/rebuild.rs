//! Makes a read model anew beside the one that serves: copies of its tables are filled from position 0 by the same
//! projections, and take the place of the serving ones in one transaction once they have caught up. What served before
//! is kept for a while and can be brought back. No reactor is ever part of a model, and no queue of tasks: what they
//! lead to would happen a second time.
//!
//! What a rebuild has come to is in the database. So it goes on after a crash, in whichever replica takes it up, and
//! until the switch nothing that serves is touched.

mod driver;
mod fill;
mod part;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::feed::{Feed, FeedError};
use crate::log::EventLog;
use crate::subscription::{Projection, Subscriptions, is_outage};
use part::{Part, Source};
use steps::Rebuild;

/// How long what served before is kept after a switch.
pub const FORMER_KEPT: Duration = Duration::from_secs(24 * 3600);

/// To be executed first in a transaction that reads tables of read models with more than one statement, before its first
/// query: no model is switched until its end, so that all of its statements read the same version.
pub const NO_SWITCH: &str = "LOCK TABLE eventsourcing.rebuilds IN ACCESS SHARE MODE";

/// Longest name of a model, in bytes: a schema is named after it, and PostgreSQL cuts names off at 63.
const MAX_NAME_BYTES: usize = 55;

/// Tables, and the projections that fill them.
pub struct ReadModel {
    name: &'static str,
    tables: &'static [&'static str],
    parts: Vec<Box<dyn Part>>,
}

impl ReadModel {
    /// `tables` are all tables that the projections of the model read or write, by name; they are in the schema
    /// `public`. The model is called after the subscription that matters most.
    ///
    /// # Panics
    /// When the name is longer than 55 bytes.
    pub fn new(name: &'static str, tables: &'static [&'static str]) -> Self {
        assert!(name.len() <= MAX_NAME_BYTES, "the name of the model {name} is too long");
        Self { name, tables, parts: Vec::new() }
    }

    /// Adds a projection: one of its own, which tells no cache that is read of what it does, and measures nothing, since
    /// nothing happens that did not happen before.
    #[must_use]
    pub fn fed_by<P: Projection>(mut self, feed: Arc<dyn Feed<Message = P::Message>>, projection: P) -> Self {
        let projection = Arc::new(projection);
        for partition in 0..feed.partitions() {
            self.parts.push(Box::new(Source::new(Arc::clone(&feed), partition, Arc::clone(&projection))));
        }
        self
    }
}

/// Why a rebuild cannot do what it was asked for, or does not go on. What serves is untouched, and what was filled so
/// far stays.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("the database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error("`{subscription}` cannot handle its messages at the moment: {reason}")]
    Unreachable { subscription: &'static str, reason: String },
    #[error(
        "`{subscription}` cannot handle a message after position {after}, which is parked: {reason}; mend the projection, \
         or discard the message, and start the rebuild again"
    )]
    Poison { subscription: String, after: i64, reason: String },
    #[error("there is no read model `{0}` that can be rebuilt")]
    Unknown(String),
    #[error("`{0}` is no read model: what it leads to would happen a second time")]
    NotAModel(String),
    #[error("no rebuild of `{0}` is under way")]
    NotBegun(&'static str),
    #[error("no former version of `{0}` is kept")]
    NoFormer(&'static str),
    #[error("`{0}` is being rebuilt: wait for the end of it, or abandon it")]
    UnderWay(&'static str),
    #[error(
        "the tables or feeds of `{0}` have changed since its former version served: abandon this, and rebuild it"
    )]
    FormerIsOutdated(&'static str),
    #[error("readers, or an audit, keep the switch out")]
    KeptOut,
}

impl RebuildError {
    /// Whether the same may go well later, without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) | Self::Feed(FeedError::Unreachable(error)) => is_outage(error),
            Self::Unreachable { .. } | Self::KeptOut | Self::Feed(FeedError::Away(_)) => true,
            _ => false,
        }
    }
}

/// What happens to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildState {
    /// Nothing: it serves.
    Serving,
    /// A new version is being filled.
    Filling,
    /// What served before catches up, to serve again.
    SwitchingBack,
    /// It does not go on before somebody acts.
    Failed,
}

/// A model as operators see it.
#[derive(Clone, Debug)]
pub struct RebuildStatus {
    pub model: &'static str,
    pub state: RebuildState,
    /// How far what is being filled has come, summed over the logs that it reads; 0 if nothing is.
    pub position: i64,
    /// Where those logs end.
    pub target: i64,
    /// As it was measured last.
    pub events_per_second: f64,
    pub begun_at: Option<DateTime<Utc>>,
    /// What stands in the way.
    pub problem: Option<String>,
    /// When the version that serves began to.
    pub switched_at: Option<DateTime<Utc>>,
    /// Until when the former version is kept, if there is one.
    pub former_kept_until: Option<DateTime<Utc>>,
}

impl RebuildStatus {
    /// How long it takes at the measured rate, when that is known.
    pub fn time_left(&self) -> Option<Duration> {
        let left = (self.target - self.position).max(0) as f64;
        let is_filled = matches!(self.state, RebuildState::Filling | RebuildState::SwitchingBack);
        let seconds = (is_filled && self.events_per_second > 0.0).then(|| left / self.events_per_second)?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// The read models of one service, and the rebuilding of them. One at a time is filled, by one replica. Clones are
/// handles to the same.
#[derive(Clone)]
pub struct Rebuilds {
    inner: Arc<Inner>,
}

struct Inner {
    rebuilds: Vec<Rebuild>,
    subscriptions: Subscriptions,
    /// There may be something to do.
    wake: Notify,
}

impl Rebuilds {
    /// For models whose tables are in the log's database. Goes on with what is under way, and works for as long as the
    /// subscriptions do.
    pub fn start(log: &EventLog, subscriptions: &Subscriptions, models: Vec<ReadModel>) -> Self {
        let each = models.into_iter().map(|model| Rebuild::new(log, model)).collect();
        let inner = Inner { rebuilds: each, subscriptions: subscriptions.clone(), wake: Notify::new() };
        let rebuilds = Self { inner: Arc::new(inner) };
        if !rebuilds.inner.rebuilds.is_empty() {
            let (stop, tracker) = subscriptions.life();
            tracker.spawn(driver::drive(Arc::clone(&rebuilds.inner), stop.clone()));
        }
        rebuilds
    }

    /// All models with what happens to them.
    pub async fn list(&self) -> Result<Vec<RebuildStatus>, RebuildError> {
        let mut all = Vec::new();
        for rebuild in &self.inner.rebuilds {
            all.push(rebuild.status().await?);
        }
        Ok(all)
    }

    /// One model.
    pub async fn status(&self, model: &str) -> Result<RebuildStatus, RebuildError> {
        self.of(model)?.status().await
    }

    /// Has a new version be filled and switched to, or goes on with one that has failed. What is under way stays so.
    pub async fn begin(&self, model: &str) -> Result<RebuildStatus, RebuildError> {
        let rebuild = self.of(model)?;
        rebuild.begin().await?;
        self.inner.wake.notify_one();
        rebuild.status().await
    }

    /// Gives up what is being filled. A former version that was to serve again is kept as before.
    pub async fn abandon(&self, model: &str) -> Result<RebuildStatus, RebuildError> {
        let rebuild = self.of(model)?;
        rebuild.abandon().await?;
        rebuild.status().await
    }

    /// Has what served before catch up and serve again; what serves now takes its place as the former version.
    pub async fn switch_back(&self, model: &str) -> Result<RebuildStatus, RebuildError> {
        let rebuild = self.of(model)?;
        rebuild.take_up_former().await?;
        self.inner.wake.notify_one();
        rebuild.status().await
    }

    /// How often another version of the model began to serve. Whoever remembers what was read forgets it when this
    /// changes, since no event tells what is different now.
    pub async fn switches(&self, model: &str) -> Result<i64, RebuildError> {
        Ok(self.of(model)?.switches().await?)
    }

    fn of(&self, model: &str) -> Result<&Rebuild, RebuildError> {
        let found = self.inner.rebuilds.iter().find(|rebuild| rebuild.name() == model);
        found.ok_or_else(|| match self.inner.subscriptions.contains(model) {
            true => RebuildError::NotAModel(model.to_owned()),
            false => RebuildError::Unknown(model.to_owned()),
        })
    }
}
