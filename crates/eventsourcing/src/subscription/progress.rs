//! How far one subscription is in each partition, and what it does there, as this process knows. Runners tell it,
//! handles ask it; the truth is in the database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::checkpoint::Checkpoint;
use super::{SubscriptionState, SubscriptionStatus};

pub(super) struct Progress {
    pub name: &'static str,
    pub log: String,
    partitions: Vec<Partition>,
    /// The lowest position of all partitions.
    lowest: watch::Sender<i64>,
    states: Mutex<BTreeMap<Option<i32>, SubscriptionState>>,
    state: watch::Sender<SubscriptionState>,
    head: watch::Receiver<i64>,
    /// 0 while it is not known.
    incarnation: AtomicI32,
}

#[derive(Default)]
struct Partition {
    position: AtomicI64,
    /// A runner of this process handles it.
    is_here: AtomicBool,
    parked_keys: AtomicI64,
    /// Somebody waits for the effect.
    hurry: Notify,
}

impl Progress {
    pub fn new(
        name: &'static str,
        log: &str,
        partitions: i32,
        incarnation: i32,
        head: watch::Receiver<i64>,
    ) -> Self {
        Self {
            name,
            log: log.to_owned(),
            partitions: (0..partitions.max(1)).map(|_| Partition::default()).collect(),
            lowest: watch::Sender::new(0),
            states: Mutex::default(),
            state: watch::Sender::new(SubscriptionState::StandBy),
            head,
            incarnation: AtomicI32::new(incarnation),
        }
    }

    fn of(&self, partition: i32) -> &Partition {
        // A feed that names a partition which it does not have would be a fault of this program.
        &self.partitions[partition.unsigned_abs() as usize]
    }

    pub fn partitions(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// A runner has come to a position.
    pub fn reached(&self, partition: i32, position: i64) {
        self.of(partition).position.store(position, Ordering::Release);
        self.lowest.send_replace(self.compute_lowest(|_| 0));
    }

    /// What the database has of partitions that other processes handle.
    pub fn heard(&self, stored: &[Checkpoint]) {
        for checkpoint in stored.iter().filter(|c| c.partition < self.partitions()) {
            let partition = self.of(checkpoint.partition);
            if !partition.is_here.load(Ordering::Acquire) {
                partition.position.store(checkpoint.place.position, Ordering::Release);
            }
            self.learn_incarnation(checkpoint.place.incarnation);
        }
        self.lowest.send_replace(self.compute_lowest(|_| 0));
    }

    /// The lowest position of all partitions, where the database may know of a higher one than this process does.
    pub fn lowest_with(&self, stored: &[Checkpoint]) -> i64 {
        let position_of = |partition: usize| {
            let found = stored.iter().find(|c| usize::try_from(c.partition) == Ok(partition));
            found.map_or(0, |checkpoint| checkpoint.place.position)
        };
        self.compute_lowest(position_of)
    }

    fn compute_lowest(&self, or_higher: impl Fn(usize) -> i64) -> i64 {
        let positions = self.partitions.iter().enumerate();
        let positions = positions.map(|(i, p)| p.position.load(Ordering::Acquire).max(or_higher(i)));
        positions.min().unwrap_or(0)
    }

    pub fn lowest(&self) -> watch::Receiver<i64> {
        self.lowest.subscribe()
    }

    pub fn head(&self) -> i64 {
        *self.head.borrow()
    }

    pub fn incarnation(&self) -> i32 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub fn learn_incarnation(&self, incarnation: i32) {
        if incarnation != 0 {
            self.incarnation.store(incarnation, Ordering::Release);
        }
    }

    /// A runner of this process begins, or has ended, to handle a partition.
    pub fn set_here(&self, partition: i32, is_here: bool) {
        let it = self.of(partition);
        it.is_here.store(is_here, Ordering::Release);
        if !is_here {
            it.parked_keys.store(0, Ordering::Release);
            self.states().remove(&Some(partition));
            self.show_state();
        }
    }

    /// What a partition, or with `None` the feed as a whole, is about.
    pub fn set_state(&self, partition: Option<i32>, state: SubscriptionState) {
        self.states().insert(partition, state);
        self.show_state();
    }

    /// The worst state counts for all.
    fn show_state(&self) {
        let rank = |state: &SubscriptionState| match state {
            SubscriptionState::StandBy => 0,
            SubscriptionState::Running => 1,
            SubscriptionState::Retrying(_) => 2,
            SubscriptionState::Stopped(_) => 3,
        };
        let states = self.states();
        let worst = states.values().max_by_key(|state| rank(state)).cloned();
        let worst = worst.unwrap_or(SubscriptionState::StandBy);
        let stopped = if matches!(worst, SubscriptionState::Stopped(_)) { 1.0 } else { 0.0 };
        metrics::gauge!("subscription_stopped", "subscription" => self.name).set(stopped);
        self.state.send_replace(worst);
    }

    pub fn state(&self) -> SubscriptionState {
        self.state.borrow().clone()
    }

    /// Somebody waits for what lies up to `position`.
    pub fn hurry(&self, position: i64) {
        for partition in &self.partitions {
            if partition.position.load(Ordering::Acquire) < position {
                partition.hurry.notify_one();
            }
        }
    }

    pub async fn hurried(&self, partition: i32) {
        self.of(partition).hurry.notified().await;
    }

    /// Says how far what this process handles is behind.
    pub fn measure(&self, read_up_to: i64) {
        let head = self.head().max(read_up_to);
        let here = self.partitions.iter().filter(|p| p.is_here.load(Ordering::Acquire));
        let lowest = here.map(|p| p.position.load(Ordering::Acquire)).min().unwrap_or(head);
        let lag = (head - lowest).max(0);
        metrics::gauge!("subscription_lag_events", "subscription" => self.name).set(lag as f64);
    }

    /// Notes how many keys of a partition are parked. Returns how many are in all that this process handles.
    pub fn set_parked_keys(&self, partition: i32, keys: usize) -> i64 {
        self.of(partition).parked_keys.store(i64::try_from(keys).unwrap_or(i64::MAX), Ordering::Release);
        let all = self.partitions.iter().map(|p| p.parked_keys.load(Ordering::Acquire)).sum::<i64>();
        metrics::gauge!("subscription_parked_keys", "subscription" => self.name).set(all as f64);
        all
    }

    pub fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            name: self.name,
            log: self.log.clone(),
            checkpoint: *self.lowest.borrow(),
            head: self.head(),
            state: self.state(),
        }
    }

    fn states(&self) -> std::sync::MutexGuard<'_, BTreeMap<Option<i32>, SubscriptionState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(partitions: i32) -> Progress {
        Progress::new("totals", "ledger", partitions, 1, watch::Sender::new(9).subscribe())
    }

    #[test]
    fn what_lies_behind_the_slowest_partition_is_not_reached_and_the_database_may_know_better() {
        let progress = progress(3);
        for (partition, position) in [(0, 5), (1, 9), (2, 7)] {
            progress.reached(partition, position);
        }
        assert_eq!(*progress.lowest().borrow(), 5);
        let stored = |partition, position| Checkpoint {
            partition,
            place: crate::feed::Place::at(position),
            moved_at: chrono::DateTime::UNIX_EPOCH,
        };
        assert_eq!(progress.lowest_with(&[stored(0, 8), stored(1, 2)]), 7);
        progress.set_here(0, true);
        progress.heard(&[stored(0, 1), stored(2, 6)]);
        assert_eq!(*progress.lowest().borrow(), 5, "what is handled here is known better here");
    }

    #[test]
    fn the_worst_state_of_any_partition_is_shown() {
        let progress = progress(2);
        assert_eq!(progress.state(), SubscriptionState::StandBy);
        progress.set_state(Some(0), SubscriptionState::Running);
        progress.set_state(Some(1), SubscriptionState::Stopped("why".into()));
        assert_eq!(progress.state(), SubscriptionState::Stopped("why".into()));
        progress.set_here(1, false);
        assert_eq!(progress.state(), SubscriptionState::Running);
        progress.set_state(None, SubscriptionState::Retrying("away".into()));
        assert_eq!(progress.state(), SubscriptionState::Retrying("away".into()));
    }
}
