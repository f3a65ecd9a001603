//! Buckets of this process: what limits without Redis, what Redis last said with it, and nothing that has to survive.
//! They are bounded in number, whoever comes: beyond that those that were not used for longest are forgotten, which
//! forgives their clients what they took.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::bucket::{self, Limit, Standing};

/// Locks, so that requests on several threads seldom wait for each other.
const SHARDS: usize = 64;

/// A map that forgets what was not used for longest, in two generations: when the younger is full, it becomes the
/// older, and what was in that is gone.
#[derive(Debug)]
pub struct Generations<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    /// Entries of one generation of one shard.
    room: usize,
}

#[derive(Debug)]
struct Shard<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Clone, V: Copy + Default> Generations<K, V> {
    /// Keeps `capacity` entries at most, and at least two in each shard.
    pub fn new(capacity: usize) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new() });
        let shards = (0..SHARDS).map(|_| shard()).collect();
        Self { shards, hasher: RandomState::new(), room: (capacity / SHARDS / 2).max(1) }
    }

    /// The value, if it is here.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(key) {
            return Some(*value);
        }
        let value = *shard.old.get(key)?;
        self.insert(&mut shard, key, value);
        Some(value)
    }

    /// Replaces the value; one that is not here is the default.
    pub fn update<T>(&self, key: &K, change: impl FnOnce(V) -> (V, T)) -> T {
        let mut shard = self.shard(key);
        let former = shard.young.get(key).or_else(|| shard.old.get(key)).copied().unwrap_or_default();
        let (value, result) = change(former);
        self.insert(&mut shard, key, value);
        result
    }

    /// Forgets a value.
    pub fn remove(&self, key: &K) {
        let mut shard = self.shard(key);
        shard.young.remove(key);
        shard.old.remove(key);
    }

    fn insert(&self, shard: &mut Shard<K, V>, key: &K, value: V) {
        if let Some(known) = shard.young.get_mut(key) {
            *known = value;
            return;
        }
        if shard.young.len() >= self.room {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key.clone(), value);
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard<K, V>>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(len).sum()
    }
}

/// The buckets, on a clock of their own.
#[derive(Debug)]
pub struct Buckets<K> {
    states: Generations<K, u64>,
    since: Instant,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// See [`Generations::new`].
    pub fn new(capacity: usize) -> Self {
        Self { states: Generations::new(capacity), since: Instant::now() }
    }

    /// Takes a request from a bucket.
    pub fn take(&self, key: &K, limit: &Limit, now: Instant) -> Standing {
        let now = self.micros(now);
        self.states.update(key, |state| bucket::take(state, now, limit))
    }

    /// What the bucket says to a request when it refuses it.
    pub fn refusal(&self, key: &K, limit: &Limit, now: Instant) -> Option<Standing> {
        let (_, standing) = bucket::take(self.states.get(key)?, self.micros(now), limit);
        standing.retry_after.is_some().then_some(standing)
    }

    /// Makes the bucket like another one that said this a moment ago.
    pub fn learn(&self, key: &K, standing: &Standing, now: Instant) {
        let reset = u64::try_from(standing.reset.as_micros()).unwrap_or(u64::MAX);
        let state = self.micros(now).saturating_add(reset);
        self.states.update(key, |_| (state, ()));
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_million_clients_take_no_more_room_than_the_bound() {
        let buckets = Buckets::<u64>::new(10_000);
        let (limit, now) = (Limit::new(5, Duration::from_secs(60)).unwrap(), Instant::now());
        for client in 0..1_000_000 {
            assert_eq!(buckets.take(&client, &limit, now).retry_after, None);
        }
        assert!(buckets.states.len() <= 10_000, "{}", buckets.states.len());
        assert!(buckets.states.len() >= 4_000, "{}", buckets.states.len());
    }

    #[test]
    fn who_keeps_coming_is_remembered_however_many_others_come() {
        let buckets = Buckets::<u64>::new(1_000);
        let (limit, now) = (Limit::new(5, Duration::from_secs(60)).unwrap(), Instant::now());
        let mut refused = 0;
        for other in 1..100_000_u64 {
            buckets.take(&other, &limit, now);
            if other % 5 == 0 {
                refused += u32::from(buckets.take(&0, &limit, now).retry_after.is_some());
            }
        }
        assert_eq!(refused, 99_999 / 5 - limit.requests());
    }

    #[test]
    fn a_bucket_goes_on_from_what_it_has_learned() {
        let buckets = Buckets::<u64>::new(1_000);
        let (limit, now) = (Limit::new(4, Duration::from_secs(4)).unwrap(), Instant::now());
        assert_eq!(buckets.refusal(&1, &limit, now), None);
        let told = Standing { remaining: 1, reset: Duration::from_secs(3), retry_after: None };
        buckets.learn(&1, &told, now);
        assert_eq!(buckets.take(&1, &limit, now).remaining, 0);
        let refusal = buckets.refusal(&1, &limit, now).expect("it is empty");
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
        assert_eq!(buckets.refusal(&1, &limit, now + Duration::from_secs(1)), None);
    }

    #[test]
    fn what_was_forgotten_is_the_default_again() {
        let set = Generations::<u32, bool>::new(100);
        set.update(&7, |_| (true, ()));
        assert_eq!(set.get(&7), Some(true));
        set.remove(&7);
        assert_eq!(set.get(&7), None);
    }
}
