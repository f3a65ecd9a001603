//! Products as they were read, in memory. The projections take out what they changed once their transaction is
//! committed; what another replica's projections change leaves after [`CACHE_TTL`]. So nothing here is ever staler than
//! that, and a reader who must see their own write does not ask here at all.
//!
//! A read may overlap with a change: it found the old row, and comes to store it after the change has taken the
//! product out. It gets a ticket before it reads, and a change in between makes the ticket void.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use super::views::ProductView;
use crate::domain::ProductId;

/// The longest time for which an outdated product can be read, in replicas that do not run the projections
/// themselves; and, where they do, of stock that changed in the very moment in which its variant was added.
pub const CACHE_TTL: Duration = Duration::from_secs(5);
/// How much memory the products may take, roughly.
pub const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// Products whose ids fall together share a counter of changes; a change to one costs another one read at most.
const SHARDS: usize = 256;

/// The cache. Clones share it.
#[derive(Clone)]
pub struct ProductCache {
    inner: Arc<Inner>,
}

struct Inner {
    products: Cache<ProductId, Arc<ProductView>>,
    hasher: RandomState,
    /// How many changes there were. Held while the cache is changed, so that no insert comes between a change and
    /// its count.
    changes: Vec<Mutex<u64>>,
}

/// The right to store what is read from now on, until the product changes.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u64);

impl Default for ProductCache {
    fn default() -> Self {
        Self::new(CACHE_TTL, CAPACITY_BYTES)
    }
}

impl ProductCache {
    fn new(ttl: Duration, capacity: u64) -> Self {
        let products = Cache::builder()
            .time_to_live(ttl)
            .max_capacity(capacity)
            .weigher(|_, product: &Arc<ProductView>| {
                u32::try_from(product.approximate_bytes()).unwrap_or(u32::MAX)
            })
            .build();
        let changes = (0..SHARDS).map(|_| Mutex::new(0)).collect();
        Self { inner: Arc::new(Inner { products, hasher: RandomState::new(), changes }) }
    }

    /// The product, if it is here.
    pub fn get(&self, product_id: ProductId) -> Option<Arc<ProductView>> {
        let found = self.inner.products.get(&product_id);
        metrics::counter!("product_cache_reads_total", "hit" => if found.is_some() { "yes" } else { "no" })
            .increment(1);
        found
    }

    /// To be taken before the product is read from the database.
    pub fn ticket(&self, product_id: ProductId) -> Ticket {
        Ticket(*self.changes(product_id))
    }

    /// Stores what was read, unless the product changed since the ticket.
    pub fn store(&self, product: Arc<ProductView>, ticket: Ticket) {
        let changes = self.changes(product.product_id);
        if *changes == ticket.0 {
            self.inner.products.insert(product.product_id, product);
        }
    }

    /// Takes a product out, and voids the tickets of reads in flight.
    pub fn changed(&self, product_id: ProductId) {
        let mut changes = self.changes(product_id);
        *changes += 1;
        self.inner.products.invalidate(&product_id);
    }

    fn changes(&self, product_id: ProductId) -> MutexGuard<'_, u64> {
        let shard = self.inner.hasher.hash_one(product_id) as usize % SHARDS;
        self.inner.changes[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(id: u128, version: u64) -> Arc<ProductView> {
        Arc::new(ProductView { version, ..ProductView::example(uuid::Uuid::from_u128(id).into()) })
    }

    #[test]
    fn what_was_stored_is_found_until_it_changes() {
        let cache = ProductCache::default();
        let (one, two) = (product(1, 1), product(2, 1));
        for product in [&one, &two] {
            cache.store(Arc::clone(product), cache.ticket(product.product_id));
        }
        cache.changed(one.product_id);
        assert_eq!(cache.get(one.product_id), None);
        assert_eq!(cache.get(two.product_id), Some(two));
    }

    #[test]
    fn a_read_that_overlaps_with_a_change_does_not_put_the_old_value_back() {
        let cache = ProductCache::default();
        let (old, new) = (product(1, 1), product(1, 2));
        let before = cache.ticket(old.product_id);
        cache.changed(old.product_id);
        let after = cache.ticket(new.product_id);
        cache.store(Arc::clone(&new), after);
        cache.store(old, before);
        assert_eq!(cache.get(new.product_id), Some(new));
    }

    #[test]
    fn nothing_is_kept_for_longer_than_the_bound_nor_beyond_the_capacity() {
        let short_lived = ProductCache::new(Duration::from_nanos(1), CAPACITY_BYTES);
        let kept = product(1, 1);
        short_lived.store(Arc::clone(&kept), short_lived.ticket(kept.product_id));
        assert_eq!(short_lived.get(kept.product_id), None);

        let small = ProductCache::new(CACHE_TTL, 10_000);
        for id in 0..1_000 {
            let product = product(id, 1);
            small.store(Arc::clone(&product), small.ticket(product.product_id));
        }
        small.inner.products.run_pending_tasks();
        assert!(small.inner.products.weighted_size() <= 10_000 && small.inner.products.entry_count() > 0);
    }
}
