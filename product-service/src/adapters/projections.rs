//! Keep the tables that reads answer from in step with the feeds, and the cache with the tables.

mod availability;
mod read_model;
mod search;

pub use availability::Availability;
pub use read_model::ReadModel;
pub use search::{Compared as ComparedDocument, compare_documents, complete_search, miscounted};

use std::sync::{Arc, Mutex, PoisonError};

use eventsourcing::{EventLog, IntegrationFeed};

use crate::application::{CachedChange, ProductCache};
use crate::domain::ProductId;

/// The read model behind all reads, which is rebuilt as one.
pub const MODEL: &str = "product.read-model";
/// Every table of this service that projections write or read. A new one goes here, too.
pub const TABLES: &[&str] = &[
    "products",
    "variants",
    "price_history",
    "scheduled_prices",
    "availability",
    "product_search",
    "search_words",
    "search_terms",
];

/// What can be rebuilt. Its projections have a cache of their own, which nobody reads.
pub fn rebuildable(log: &EventLog, inventory: IntegrationFeed) -> Vec<eventsourcing::ReadModel> {
    let model = eventsourcing::ReadModel::new(MODEL, TABLES)
        .fed_by(Arc::new(log.clone()), ReadModel::new(ProductCache::default()))
        .fed_by(inventory, Availability::new(ProductCache::default()));
    vec![model]
}

/// Remembers what a transaction changes, and tells the cache once it is committed. After a transaction that failed
/// the next one tells more than it must, which costs a read.
struct Changes {
    cache: ProductCache,
    pending: Mutex<Vec<(ProductId, CachedChange)>>,
}

impl Changes {
    fn new(cache: ProductCache) -> Self {
        Self { cache, pending: Mutex::default() }
    }

    fn note(&self, products: impl IntoIterator<Item = ProductId>, at: CachedChange) {
        let changed = products.into_iter().map(|product_id| (product_id, at));
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(changed);
    }

    fn committed(&self) {
        let changed = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        for (product_id, at) in changed {
            self.cache.committed(product_id, at);
        }
    }
}
