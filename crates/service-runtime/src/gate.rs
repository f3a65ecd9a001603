//! A limit with a bounded queue before it: so many at a time, so many more that wait, each for so long, and the rest is
//! turned away at once. It counts; what it counts, and what the refused are told, is for its owner.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The limit. It admits in the order of arrival.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    queue: Semaphore,
    max_wait: Duration,
}

/// There was no place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many at once")]
pub struct Full;

impl Gate {
    /// At most `places` at a time, and `queue` that wait for `max_wait` at most.
    pub fn new(places: usize, queue: usize, max_wait: Duration) -> Self {
        let semaphore = |size: usize| Semaphore::new(size.min(Semaphore::MAX_PERMITS));
        Self { places: Arc::new(semaphore(places)), queue: semaphore(queue), max_wait }
    }

    /// Takes a place, now.
    ///
    /// # Errors
    /// When there is none.
    pub fn try_enter(&self) -> Result<OwnedSemaphorePermit, Full> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Full)
    }

    /// Takes a place, or waits for one, but not past `deadline`.
    ///
    /// # Errors
    /// When the queue is full, or no place was free in time.
    pub async fn enter(&self, deadline: Option<Instant>) -> Result<OwnedSemaphorePermit, Full> {
        if let Ok(place) = self.try_enter() {
            return Ok(place);
        }
        let _queued = self.queue.try_acquire().map_err(|_| Full)?;
        let until = Instant::now() + self.max_wait;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let place = tokio::time::timeout_at(until, Arc::clone(&self.places).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_if_the_queue_has_room_and_not_for_ever() {
        let gate = Arc::new(Gate::new(1, 1, Duration::from_secs(1)));
        let place = gate.enter(None).await.unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(None).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(gate.enter(None).await.unwrap_err(), Full, "the queue is full");
        drop(place);
        let second = waiting.await.unwrap().unwrap();
        let begun = Instant::now();
        assert_eq!(gate.enter(None).await.unwrap_err(), Full);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        drop(second);
        drop(gate.enter(None).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_past_their_deadline() {
        let gate = Gate::new(1, 1, LONG);
        let _place = gate.try_enter().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(gate.enter(Some(deadline)).await.unwrap_err(), Full);
        assert_eq!(Instant::now(), deadline);
    }
}
