//! Handles to running subscriptions: waiting until a position is applied, and how far they are. Nothing here moves one.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgExecutor, PgPool};
use tokio::sync::watch;

use super::SubscriptionStatus;
use super::checkpoint;
use super::progress::Progress;
use crate::feed::Place;
use crate::stream::Position;

/// Why a reader did not get what it waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReached {
    #[error("the position is of the log `{found}`, and this follows `{followed}`")]
    AnotherLog { found: String, followed: String },
    #[error("the position is of another incarnation of the log")]
    AnotherIncarnation,
    #[error("the position was not reached in time")]
    TimedOut,
}

/// Pause between looks at a checkpoint that another process moves.
const CHECKPOINT_POLL: Duration = Duration::from_millis(20);

/// A cheap handle to one running subscription.
#[derive(Clone)]
pub struct SubscriptionHandle {
    pub(super) pool: PgPool,
    pub(super) progress: Arc<Progress>,
}

impl SubscriptionHandle {
    /// Waits until everything up to `position` is applied, in every partition, for as long as `patience`.
    pub async fn wait_for(&self, position: &Position, patience: Duration) -> Result<(), NotReached> {
        let followed = &self.progress.log;
        if position.log != *followed {
            let (found, followed) = (position.log.clone(), followed.clone());
            return Err(NotReached::AnotherLog { found, followed });
        }
        let is_of_this = |incarnation| incarnation == 0 || incarnation == position.incarnation;
        if !is_of_this(self.progress.incarnation()) {
            return Err(NotReached::AnotherIncarnation);
        }
        let reached = self.reach(position.number);
        tokio::time::timeout(patience, reached).await.map_err(|_| NotReached::TimedOut)?;
        // It may have become known meanwhile.
        if is_of_this(self.progress.incarnation()) { Ok(()) } else { Err(NotReached::AnotherIncarnation) }
    }

    pub(super) async fn reach(&self, number: i64) {
        let mut lowest = self.progress.lowest();
        loop {
            if *lowest.borrow_and_update() < number {
                self.progress.hurry(number);
            }
            // Only whether it came is kept: the value is a read lock, which must not live across an await.
            let here = tokio::time::timeout(CHECKPOINT_POLL, async {
                lowest.wait_for(|at| *at >= number).await.is_ok()
            })
            .await;
            if here == Ok(true) {
                return;
            }
            // Another replica may be the one that applies.
            if let Ok(stored) = checkpoint::load(&self.pool, self.progress.name, &self.progress.log).await
                && self.progress.lowest_with(&stored) >= number
            {
                return;
            }
        }
    }

    /// How far it came in the partition that is the furthest behind, as this process knows.
    pub fn checkpoint(&self) -> watch::Receiver<i64> {
        self.progress.lowest()
    }

    /// How far it came in the partition that is the furthest behind, whichever replica runs it, as the database has it:
    /// what it did up to there can be seen.
    pub async fn stored_checkpoint(&self) -> Result<i64, sqlx::Error> {
        self.stored_checkpoint_by(&self.pool).await
    }

    /// The same, as this connection sees it: what it reads afterwards shows what was done up to there.
    pub async fn stored_checkpoint_by(&self, from: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
        Ok(self.places_by(from).await?.into_iter().map(|place| place.position).min().unwrap_or(0))
    }

    /// How far it came in each partition, whichever replica runs it, as the database has it.
    pub async fn stored_places(&self) -> Result<Vec<Place>, sqlx::Error> {
        self.places_by(&self.pool).await
    }

    async fn places_by(&self, from: impl PgExecutor<'_>) -> Result<Vec<Place>, sqlx::Error> {
        let mut places = vec![Place::default(); self.progress.partitions().unsigned_abs() as usize];
        for stored in checkpoint::load(from, self.progress.name, &self.progress.log).await? {
            if let Some(place) = usize::try_from(stored.partition).ok().and_then(|p| places.get_mut(p)) {
                *place = stored.place;
            }
        }
        Ok(places)
    }

    pub fn status(&self) -> SubscriptionStatus {
        self.progress.status()
    }
}
