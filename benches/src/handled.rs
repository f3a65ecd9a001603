//! What a subscription's handler saw: how many events, how long after their append, and whether each came once. What is
//! missing at the end was lost. In which order they came is not looked at: a reactor keeps it within a key alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Longest time without any progress before the rest counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(6);

/// A set of positions, which are dense: a bit for each.
#[derive(Default)]
struct Positions(Vec<u64>);

impl Positions {
    /// Returns whether it is new.
    fn insert(&mut self, position: usize) -> bool {
        let (word, bit) = (position / 64, 1 << (position % 64));
        if word >= self.0.len() {
            self.0.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }
}

/// Counts events.
pub struct Handled {
    epoch: Instant,
    count: AtomicU64,
    positions: Mutex<Positions>,
    repeats: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
    delays: Mutex<Vec<(u64, Duration)>>,
}

impl Default for Handled {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            count: AtomicU64::new(0),
            positions: Mutex::default(),
            repeats: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            delays: Mutex::default(),
        }
    }
}

impl Handled {
    /// Now, as events carry it.
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// An event arrived at the handler.
    pub fn on(&self, position: i64, at: u64) {
        if !self.positions.lock().unwrap_or_else(PoisonError::into_inner).insert(position as usize) {
            self.repeats.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if at > 0 {
            let delay = Duration::from_nanos(self.now().saturating_sub(at));
            self.delays.lock().unwrap_or_else(PoisonError::into_inner).push((at, delay));
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count >= self.wanted.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Events that came more than once.
    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Waits until so many were handled, or nothing came for [`LOST_AFTER`]. Returns how many are missing.
    pub async fn missing_of(&self, wanted: u64) -> u64 {
        self.wanted.store(wanted, Ordering::Relaxed);
        let mut before = self.count();
        while before < wanted {
            let reached = tokio::time::timeout(LOST_AFTER, self.reached.notified()).await;
            let now = self.count();
            if reached.is_err() && now == before {
                break;
            }
            before = now;
        }
        wanted.saturating_sub(self.count())
    }

    /// From append to handler, sorted: of the events whose append was called `from` so many nanoseconds on.
    pub fn delays(&self, from: u64) -> Vec<Duration> {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chosen: Vec<Duration> =
            delays.iter().filter(|(at, _)| *at >= from).map(|(_, delay)| *delay).collect();
        chosen.sort_unstable();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_event_counts_once_and_repeats_are_told_apart() {
        let handled = Handled::default();
        for position in [1, 5, 2, 2, 5] {
            handled.on(position, 0);
        }
        assert_eq!((handled.count(), handled.repeats()), (3, 2));
        assert_eq!(handled.missing_of(3).await, 0);
    }
}
