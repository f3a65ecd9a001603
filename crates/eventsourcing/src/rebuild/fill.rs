//! Fills copies page by page until the switch can do the rest, at a pace that leaves the machine to those who write.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::RebuildError;
use super::part::{Part, next};
use super::steps::{Rebuild, locked_place, move_filled};
use crate::feed::Place;
use crate::subscription::{begin_relaxed, parking};

/// Events that are applied in one transaction.
const PAGE: usize = 250;
/// While others append, it rests after each page for so many times as long as the page took. The factor falls by one
/// whenever it is seen that it does not gain on them: otherwise it might never get there.
const REST_FACTOR: u32 = 2;
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// It is filled until no more events than these are left for the switch, while the serving projections wait for it.
const CLOSE: i64 = 50;
/// How often the rate is measured and noted.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// How a round of filling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// The switch can do the rest.
    CaughtUp,
    /// It was told to stop.
    Stopped,
}

/// Where one projection is.
#[derive(Clone, Copy, Default)]
struct Progress {
    at: i64,
    newest: i64,
    /// So many events are applied one by one, since one of them cannot be.
    careful: usize,
}

impl Progress {
    fn is_close(self) -> bool {
        self.newest - self.at <= CLOSE
    }
}

impl Rebuild {
    /// Fills for as long as `go_on` says. Each page moves its checkpoint in its transaction, so it goes on where it was
    /// after anything.
    pub async fn fill(&self, go_on: impl Fn() -> bool) -> Result<Filled, RebuildError> {
        self.retry_parked().await?;
        let mut progress = vec![Progress::default(); self.model.parts.len()];
        let mut meter = Meter::new();
        let mut pace = Pace { factor: REST_FACTOR, left: i64::MAX };
        loop {
            for (part, place) in self.model.parts.iter().zip(&mut progress) {
                if !go_on() {
                    return Ok(Filled::Stopped);
                }
                let begun = Instant::now();
                let newest = part.newest().await?;
                let others_append = place.newest != 0 && newest > place.newest;
                place.newest = newest;
                self.page(part.as_ref(), place, &mut meter).await?;
                if others_append && !place.is_close() {
                    tokio::time::sleep(pace.rest(begun.elapsed())).await;
                }
            }
            if let Some(rate) = meter.due() {
                self.note_rate(rate).await?;
                pace.look(progress.iter().map(|place| place.newest - place.at).sum());
            }
            if progress.iter().all(|place| place.is_close() && place.careful == 0) {
                let analyze = "SELECT eventsourcing.rebuild_analyze($1, $2)";
                let analyze = sqlx::query(analyze).bind(self.name()).bind(self.model.tables);
                analyze.execute(&self.pool).await?;
                return Ok(Filled::CaughtUp);
            }
        }
    }

    /// Applies a page, or a single event when it is known that one of them cannot be applied.
    async fn page(
        &self,
        part: &dyn Part,
        place: &mut Progress,
        meter: &mut Meter,
    ) -> Result<(), RebuildError> {
        let mut transaction = begin_relaxed(&self.pool).await?;
        let at = self.place_of(part, &mut transaction).await?;
        let limit = if place.careful > 0 { 1 } else { PAGE };
        match part.apply(&mut transaction, at, place.newest.max(at.position), limit).await {
            Ok(to) => {
                move_filled(&mut transaction, part, at, to).await?;
                transaction.commit().await?;
                part.committed();
                meter.count(to.position - at.position);
                place.at = to.position;
                place.careful = if to.position < place.newest { place.careful.saturating_sub(1) } else { 0 };
                Ok(())
            }
            Err(RebuildError::Poison { .. }) if place.careful == 0 => {
                place.careful = PAGE;
                Ok(())
            }
            Err(RebuildError::Poison { subscription, after, reason }) => {
                drop(transaction);
                place.at = at.position;
                match self.set_aside(part, &reason).await? {
                    true => Ok(()),
                    false => Err(RebuildError::Poison { subscription, after, reason }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Where a projection is, which nobody else moves until the end of the transaction.
    async fn place_of(&self, part: &dyn Part, connection: &mut PgConnection) -> Result<Place, RebuildError> {
        let at = locked_place(connection, part, &next(part.subscription())).await?;
        at.ok_or(RebuildError::NotBegun(self.name()))
    }

    /// Parks what cannot be handled. Returns whether the serving model has a message of this key parked, too: then it
    /// lacks the same.
    async fn set_aside(&self, part: &dyn Part, reason: &str) -> Result<bool, RebuildError> {
        let name = next(part.subscription());
        let mut transaction = self.pool.begin().await?;
        let at = self.place_of(part, &mut transaction).await?;
        let to = part.set_aside(&mut transaction, at, reason).await?;
        move_filled(&mut transaction, part, at, to).await?;
        let unknown = parking::first_not_parked_by(&mut transaction, &name, part.subscription()).await?;
        transaction.commit().await?;
        Ok(unknown.is_none())
    }

    /// Handles what was parked before: the projection may have been mended since. What the serving model has parked, too,
    /// stays so.
    async fn retry_parked(&self) -> Result<(), RebuildError> {
        for part in &self.model.parts {
            let name = next(part.subscription());
            loop {
                let mut transaction = self.pool.begin().await?;
                self.place_of(part.as_ref(), &mut transaction).await?;
                let first =
                    parking::first_not_parked_by(&mut transaction, &name, part.subscription()).await?;
                let Some(parked) = first else { break };
                part.apply_parked(&mut transaction, &parked).await?;
                parking::handled(&mut transaction, &parked).await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }
}

/// How long it rests.
struct Pace {
    factor: u32,
    /// Events that were left at the last look.
    left: i64,
}

impl Pace {
    fn rest(&self, page_took: Duration) -> Duration {
        (page_took * self.factor).min(LONGEST_REST)
    }

    fn look(&mut self, left: i64) {
        if left >= self.left {
            self.factor = self.factor.saturating_sub(1);
        }
        self.left = left;
    }
}

/// Measures how fast it goes.
struct Meter {
    since: Instant,
    events: i64,
}

impl Meter {
    fn new() -> Self {
        Self { since: Instant::now(), events: 0 }
    }

    fn count(&mut self, events: i64) {
        self.events += events;
    }

    /// Events per second since the last time, when it is time to note them.
    fn due(&mut self) -> Option<f64> {
        let elapsed = self.since.elapsed();
        if elapsed < NOTE_EVERY {
            return None;
        }
        let rate = self.events as f64 / elapsed.as_secs_f64();
        *self = Self::new();
        Some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_while_it_gains_on_those_who_append_and_less_and_less_while_it_does_not() {
        let took = Duration::from_millis(100);
        let mut pace = Pace { factor: REST_FACTOR, left: i64::MAX };
        for (left, rests) in [(1_000, 200), (900, 200), (900, 100), (950, 0), (990, 0), (10, 0)] {
            pace.look(left);
            assert_eq!(pace.rest(took), Duration::from_millis(rests), "{left} left");
        }
        let fresh = Pace { factor: REST_FACTOR, left: i64::MAX };
        assert_eq!(fresh.rest(Duration::from_secs(60)), LONGEST_REST);
    }
}
