//! Products as they were read, in memory. The projections of this process take out what they changed once their
//! transaction is committed; what other replicas change, a follower takes out that looks how far the projections are,
//! whoever runs them ([`crate::adapters::CacheFollower`]). Each of its looks confirms the cache, and one whose last
//! confirmation is older than [`CONFIRMED_FOR`] answers nothing: so with the follower behind, stopped or cut off from
//! the database, nothing here is staler than that. A reader who must see their own write does not ask here at all.
//!
//! A read may overlap with a change: it found the old row, and comes to store it after the change has taken the
//! product out. It gets a ticket before it reads, and a change in between makes the ticket void.
//!
//! For the products that replicas share ([`SharedProducts`]) it remembers more of the changes: up to where in the feeds
//! a product must have been read to be right now. What it has forgotten of them counts as changed.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;
use moka::sync::Cache;

use super::shared::{AsOf, SharedProducts};
use super::views::ServedProduct;
use crate::domain::ProductId;

/// The longest time for which an outdated product can be read: so old is the look that confirmed the cache at most.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(2);
/// The longest time for which a product stays. It bounds the one change that no look sees: an operator has another
/// replica handle a parked message again.
pub const CACHE_TTL: Duration = Duration::from_secs(30);
/// How much memory the products may take, roughly.
pub const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// Products whose ids fall together share a counter of changes; a change to one costs another one read at most.
const SHARDS: usize = 256;
/// Products of a shard whose last change is remembered, some 32,000 in all; then the shard begins anew.
const CHANGES_KEPT: usize = 128;
/// Counter: products asked for without a position, by whether they were answered from memory.
const READS: &str = "product_cache_reads_total";

/// The cache. Clones share it.
#[derive(Clone)]
pub struct ProductCache {
    inner: Arc<Inner>,
}

struct Inner {
    products: Cache<ProductId, Arc<ServedProduct>>,
    hasher: RandomState,
    /// Held while the cache is changed, so that no insert comes between a change and its count.
    changes: Vec<Mutex<Changes>>,
    shared: Option<SharedProducts>,
    since: Instant,
    /// Until when it may answer, in microseconds after `since`.
    confirmed_until: AtomicU64,
    hits: OnceLock<Counter>,
    misses: OnceLock<Counter>,
}

/// What changed of the products of a shard.
#[derive(Default)]
struct Changes {
    count: u64,
    /// Up to where a product that is not in `last` must have been read.
    floor: AsOf,
    /// The last change of each product that changed after the floor.
    last: HashMap<ProductId, AsOf>,
}

impl Changes {
    fn note(&mut self, product_id: ProductId, at: Change) {
        self.count += 1;
        let changed = self.floor.and(at);
        if changed == self.floor {
            return;
        }
        if self.last.len() >= CHANGES_KEPT && !self.last.contains_key(&product_id) {
            self.floor = self.last.drain().fold(self.floor, |floor, (_, last)| floor.max(last));
        }
        let last = self.last.entry(product_id).or_insert(self.floor);
        *last = last.and(at);
    }
}

/// What changed a product: the event at a position of one of the two feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of this service's log.
    Product(i64),
    /// Of inventory's feed.
    Stock(i64),
}

/// The right to store what is read from now on, until the product changes.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    count: u64,
    /// Up to where the product must have been read to be right at the moment.
    pub needed: AsOf,
}

impl Default for ProductCache {
    fn default() -> Self {
        Self::new(CACHE_TTL, CAPACITY_BYTES, None)
    }
}

impl ProductCache {
    /// A cache in front of the products that replicas share, if they do.
    pub fn before(shared: Option<SharedProducts>) -> Self {
        Self::new(CACHE_TTL, CAPACITY_BYTES, shared)
    }

    fn new(ttl: Duration, capacity: u64, shared: Option<SharedProducts>) -> Self {
        let products = Cache::builder()
            .time_to_live(ttl)
            .max_capacity(capacity)
            .weigher(|_, product: &Arc<ServedProduct>| {
                u32::try_from(product.approximate_bytes()).unwrap_or(u32::MAX)
            })
            .build();
        let inner = Inner {
            products,
            hasher: RandomState::new(),
            changes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shared,
            since: Instant::now(),
            confirmed_until: AtomicU64::new(0),
            hits: OnceLock::new(),
            misses: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The product, if it is here and the cache is confirmed.
    pub fn get(&self, product_id: ProductId) -> Option<Arc<ServedProduct>> {
        let inner = &self.inner;
        let found = self.is_confirmed().then(|| inner.products.get(&product_id)).flatten();
        match &found {
            Some(_) => inner.hits.get_or_init(|| metrics::counter!(READS, "hit" => "yes")).increment(1),
            None => inner.misses.get_or_init(|| metrics::counter!(READS, "hit" => "no")).increment(1),
        }
        found
    }

    /// To be called when everything that had changed by `looked` has been taken out: the cache may answer until
    /// [`CONFIRMED_FOR`] after it.
    pub fn confirm(&self, looked: Instant) {
        let until = self.micros(looked + CONFIRMED_FOR);
        self.inner.confirmed_until.fetch_max(until, Ordering::AcqRel);
    }

    /// What replicas share.
    pub fn shared(&self) -> Option<&SharedProducts> {
        self.inner.shared.as_ref()
    }

    /// To be taken before the product is read.
    pub fn ticket(&self, product_id: ProductId) -> Ticket {
        let changes = self.changes(product_id);
        let needed = changes.last.get(&product_id).copied().unwrap_or(changes.floor);
        Ticket { count: changes.count, needed }
    }

    /// Stores what was read, unless the product changed since the ticket.
    pub fn store(&self, product: Arc<ServedProduct>, ticket: Ticket) {
        let changes = self.changes(product.product_id);
        if changes.count == ticket.count {
            self.inner.products.insert(product.product_id, product);
        }
    }

    /// Takes a product out, and voids the tickets of reads in flight.
    pub fn changed(&self, product_id: ProductId, at: Change) {
        let mut changes = self.changes(product_id);
        changes.note(product_id, at);
        self.inner.products.invalidate(&product_id);
    }

    /// Takes a product out that this process has changed in the tables, here and where it is shared.
    pub fn committed(&self, product_id: ProductId, at: Change) {
        self.changed(product_id, at);
        if let Some(shared) = self.shared() {
            shared.changed(product_id, at);
        }
    }

    /// Takes everything out, and voids all tickets. What is shared is right only if it was read at `now` or later.
    pub fn clear(&self, now: AsOf) {
        // Held all together, so that nothing is stored between the counting and the clearing.
        let mut changes: Vec<_> = self.inner.changes.iter().map(lock).collect();
        for changes in &mut changes {
            changes.count += 1;
            changes.floor = now;
            changes.last.clear();
        }
        self.inner.products.invalidate_all();
    }

    /// Whether a look not long ago has taken out everything that had changed.
    pub fn is_confirmed(&self) -> bool {
        self.micros(Instant::now()) < self.inner.confirmed_until.load(Ordering::Acquire)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.inner.since).as_micros()).unwrap_or(u64::MAX)
    }

    fn changes(&self, product_id: ProductId) -> MutexGuard<'_, Changes> {
        let shard = self.inner.hasher.hash_one(product_id) as usize % SHARDS;
        lock(&self.inner.changes[shard])
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::views::ProductView;
    use super::*;

    fn product(id: u128, version: u64) -> Arc<ServedProduct> {
        ServedProduct::shared(ProductView {
            version,
            ..ProductView::example(uuid::Uuid::from_u128(id).into())
        })
    }

    fn confirmed() -> ProductCache {
        let cache = ProductCache::default();
        cache.confirm(Instant::now());
        cache
    }

    fn keep(cache: &ProductCache, product: &Arc<ServedProduct>) {
        cache.store(Arc::clone(product), cache.ticket(product.product_id));
    }

    #[test]
    fn what_was_stored_is_found_until_it_changes() {
        let cache = confirmed();
        let (one, two) = (product(1, 1), product(2, 1));
        keep(&cache, &one);
        keep(&cache, &two);
        cache.changed(one.product_id, Change::Product(5));
        assert_eq!(cache.get(one.product_id), None);
        assert_eq!(cache.get(two.product_id), Some(two));
    }

    #[test]
    fn a_read_that_overlaps_with_a_change_does_not_put_the_old_value_back() {
        let cache = confirmed();
        let (old, new) = (product(1, 1), product(1, 2));
        let before = cache.ticket(old.product_id);
        cache.changed(old.product_id, Change::Stock(5));
        let after = cache.ticket(new.product_id);
        cache.store(Arc::clone(&new), after);
        cache.store(old, before);
        assert_eq!(cache.get(new.product_id), Some(new));
    }

    #[test]
    fn a_cleared_cache_is_empty_and_takes_nothing_that_was_read_before() {
        let cache = confirmed();
        let (one, two) = (product(1, 1), product(2, 1));
        keep(&cache, &one);
        let before = cache.ticket(two.product_id);
        cache.clear(AsOf::default());
        cache.store(Arc::clone(&two), before);
        assert_eq!((cache.get(one.product_id), cache.get(two.product_id)), (None, None));
    }

    #[test]
    fn it_answers_only_for_a_while_after_it_was_confirmed() {
        let cache = ProductCache::default();
        let one = product(1, 1);
        keep(&cache, &one);
        assert_eq!(cache.get(one.product_id), None, "nobody has looked yet");
        let now = Instant::now();
        let too_long_ago = now.checked_sub(CONFIRMED_FOR).unwrap();
        cache.confirm(too_long_ago);
        assert_eq!(cache.get(one.product_id), None);
        cache.confirm(now);
        cache.confirm(too_long_ago);
        assert_eq!(cache.get(one.product_id), Some(one));
    }

    #[test]
    fn nothing_is_kept_for_longer_than_the_bound_nor_beyond_the_capacity() {
        let short_lived = ProductCache::new(Duration::from_nanos(1), CAPACITY_BYTES, None);
        short_lived.confirm(Instant::now());
        let kept = product(1, 1);
        keep(&short_lived, &kept);
        assert_eq!(short_lived.get(kept.product_id), None);

        let small = ProductCache::new(CACHE_TTL, 10_000, None);
        for id in 0..1_000 {
            keep(&small, &product(id, 1));
        }
        small.inner.products.run_pending_tasks();
        assert!(small.inner.products.weighted_size() <= 10_000 && small.inner.products.entry_count() > 0);
    }

    fn as_of(version: i64, products: i64, stock: i64) -> AsOf {
        AsOf { version, products, stock }
    }

    #[test]
    fn a_shared_product_must_have_been_read_after_its_last_change_in_either_feed() {
        let cache = confirmed();
        let (one, other) = (product(1, 1).product_id, product(2, 1).product_id);
        cache.clear(as_of(3, 100, 10));
        assert_eq!(cache.ticket(one).needed, as_of(3, 100, 10));
        cache.changed(one, Change::Product(120));
        cache.changed(one, Change::Stock(15));
        cache.changed(one, Change::Product(110));
        assert_eq!(cache.ticket(one).needed, as_of(3, 120, 15));
        assert_eq!(cache.ticket(other).needed, as_of(3, 100, 10));
        // A parked message that is handled at last has an old position.
        cache.changed(other, Change::Product(90));
        assert_eq!(cache.ticket(other).needed, as_of(3, 100, 10));
        cache.clear(as_of(4, 200, 20));
        assert_eq!(cache.ticket(one).needed, as_of(4, 200, 20));
    }

    #[test]
    fn what_is_forgotten_of_changes_counts_as_changed() {
        let cache = confirmed();
        let changed = 2 * u128::try_from(SHARDS * CHANGES_KEPT).unwrap();
        for id in 0..changed {
            let position = i64::try_from(id).unwrap() + 1;
            cache.changed(product(id, 1).product_id, Change::Product(position));
        }
        let mut kept = 0;
        for shard in &cache.inner.changes {
            kept += lock(shard).last.len();
        }
        assert!(kept <= SHARDS * CHANGES_KEPT, "{kept}");
        for id in 0..changed {
            let position = i64::try_from(id).unwrap() + 1;
            assert!(cache.ticket(product(id, 1).product_id).needed.products >= position);
        }
    }
}
