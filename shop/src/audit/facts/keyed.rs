//! The states of many streams, at two places of their log at once: at the end of what was read, and at the
//! checkpoint of a projection, for comparing with its tables. Only what changed in between is kept twice.

use std::collections::HashMap;
use std::hash::Hash;

/// States by key.
pub struct Keyed<K, S> {
    now: HashMap<K, S>,
    /// What keys that changed after the checkpoint were at the checkpoint; `None`: not there yet.
    before: HashMap<K, Option<S>>,
    checkpoint: i64,
}

impl<K: Eq + Hash + Clone, S: Clone + Default> Keyed<K, S> {
    /// With a projection that came as far as `checkpoint`.
    pub fn new(checkpoint: i64) -> Self {
        Self { now: HashMap::new(), before: HashMap::new(), checkpoint }
    }

    /// The state that an event at `position` changes.
    pub fn at(&mut self, key: K, position: i64) -> &mut S {
        if position > self.checkpoint && !self.before.contains_key(&key) {
            self.before.insert(key.clone(), self.now.get(&key).cloned());
        }
        self.now.entry(key).or_default()
    }

    /// The newest state of a key.
    pub fn get(&self, key: &K) -> Option<&S> {
        self.now.get(key)
    }

    /// All newest states.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.now.iter()
    }

    /// The state of a key at the checkpoint.
    pub fn at_checkpoint(&self, key: &K) -> Option<&S> {
        match self.before.get(key) {
            Some(before) => before.as_ref(),
            None => self.now.get(key),
        }
    }

    /// All states at the checkpoint.
    pub fn all_at_checkpoint(&self) -> impl Iterator<Item = (&K, &S)> {
        let unchanged = self.now.iter().filter(|(key, _)| !self.before.contains_key(*key));
        unchanged.chain(self.before.iter().filter_map(|(key, state)| Some((key, state.as_ref()?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_at_the_end_and_at_the_checkpoint() {
        let mut counts: Keyed<&str, u32> = Keyed::new(3);
        for (position, key) in [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "a"), (6, "c")] {
            *counts.at(key, position) += 1;
        }
        assert_eq!(["a", "b", "c"].map(|key| counts.get(&key).copied()), [Some(4), Some(1), Some(1)]);
        assert_eq!(["a", "b", "c"].map(|key| counts.at_checkpoint(&key).copied()), [Some(2), Some(1), None]);
        let mut shown: Vec<_> = counts.all_at_checkpoint().map(|(key, count)| (*key, *count)).collect();
        shown.sort_unstable();
        assert_eq!(shown, [("a", 2), ("b", 1)]);
    }
}
