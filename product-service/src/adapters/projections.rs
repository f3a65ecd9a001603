//! Keep the tables that reads answer from in step with the feeds, and the cache with the tables.

mod availability;
mod read_model;
mod search;

pub use availability::Availability;
pub use read_model::ReadModel;
pub use search::{compare_documents, complete_search, miscounted};

use std::sync::{Mutex, PoisonError};

use crate::application::ProductCache;
use crate::domain::ProductId;

/// Remembers what a transaction changes, and tells the cache once it is committed. After a transaction that failed
/// the next one tells more than it must, which costs a read.
struct Changes {
    cache: ProductCache,
    pending: Mutex<Vec<ProductId>>,
}

impl Changes {
    fn new(cache: ProductCache) -> Self {
        Self { cache, pending: Mutex::default() }
    }

    fn note(&self, products: impl IntoIterator<Item = ProductId>) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(products);
    }

    fn committed(&self) {
        let changed = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        for product_id in changed {
            self.cache.changed(product_id);
        }
    }
}
