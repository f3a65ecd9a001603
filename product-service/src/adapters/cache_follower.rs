//! Keeps the cache right in a replica that does not run the projections, and says how fresh it is in every replica.
//! It looks how far the projections are in the database, whoever runs them, and takes out every product that the
//! messages up to there have changed; what this process changes itself has left before, by the projections.

use std::time::{Duration, Instant};

use contracts::shop::inventory::v1::InventoryEvent;
use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::{
    Decider, EventLog, Feed, FeedError, IntegrationFeed, RebuildError, Rebuilds, SubscriptionHandle,
};
use prost::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::projections::MODEL;
use crate::application::ProductCache;
use crate::domain::ProductId;
use crate::domain::product::Product;

/// Pause between two looks, unless told otherwise: the delay of what another replica changed.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// With more to catch up on than these events the cache is emptied instead.
const MAX_BEHIND: i64 = 500;

/// What it follows.
pub struct CacheFollower {
    pub cache: ProductCache,
    pub log: EventLog,
    pub rebuilds: Rebuilds,
    pub inventory: IntegrationFeed,
    /// Reads `log`.
    pub read_model: SubscriptionHandle,
    /// Reads `inventory`.
    pub availability: SubscriptionHandle,
}

/// Why a look confirmed nothing.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How far the projections were at a look.
#[derive(Clone, Copy)]
struct Seen {
    /// Which version of the tables serves.
    version: i64,
    read_model: i64,
    availability: i64,
}

impl CacheFollower {
    /// Looks every `interval` until `stop`. A look that fails confirms nothing, and the next one covers its part.
    pub async fn run(self, interval: Duration, stop: CancellationToken) {
        let mut seen = None;
        while !stop.is_cancelled() {
            let looked = Instant::now();
            if let Ok(now) = self.look(seen).await {
                seen = Some(now);
                self.cache.confirm(looked);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    async fn look(&self, seen: Option<Seen>) -> Result<Seen, LookError> {
        let now = Seen {
            // First: a switch after it is seen by the next look.
            version: self.rebuilds.switches(MODEL).await?,
            read_model: self.read_model.stored_checkpoint().await?,
            availability: self.availability.stored_checkpoint().await?,
        };
        match seen {
            Some(seen)
                if now.version == seen.version
                    && (0..=MAX_BEHIND).contains(&(now.read_model - seen.read_model))
                    && (0..=MAX_BEHIND).contains(&(now.availability - seen.availability)) =>
            {
                self.products(seen.read_model, now.read_model).await?;
                self.stock(seen.availability, now.availability).await?;
            }
            // The first look, another version of the tables, too much at once, or a checkpoint that was moved back.
            _ => self.cache.clear(),
        }
        Ok(now)
    }

    /// Takes out what the events of the log changed. What it takes out beyond `up_to` costs a read at most.
    async fn products(&self, after: i64, up_to: i64) -> Result<(), FeedError> {
        let events = read_up_to(&self.log, after, up_to).await?;
        let products = events.iter().filter(|event| event.stream_id.category() == Product::CATEGORY);
        for product_id in products.filter_map(|event| ProductId::parse(event.stream_id.key()).ok()) {
            self.cache.changed(product_id);
        }
        Ok(())
    }

    /// Takes out the products whose stock changed.
    async fn stock(&self, after: i64, up_to: i64) -> Result<(), FeedError> {
        let messages = read_up_to(&*self.inventory, after, up_to).await?;
        let changed = messages.iter().filter_map(|message| {
            // What is no inventory event is the projection's to complain about.
            match InventoryEvent::decode(message.data.as_slice()).ok()?.event? {
                Event::StockAvailabilityChanged(changed) => Some(changed.sku),
                _ => None,
            }
        });
        let skus: Vec<String> = changed.collect();
        if skus.is_empty() {
            return Ok(());
        }
        let products: Vec<(Uuid,)> =
            sqlx::query_as("SELECT DISTINCT product_id FROM variants WHERE sku = ANY($1)")
                .bind(skus)
                .fetch_all(self.log.pool())
                .await?;
        for (product_id,) in products {
            self.cache.changed(product_id.into());
        }
        Ok(())
    }
}

/// Everything after a position, up to another one at least. It takes more than one page where a feed gives what this
/// process appended from memory, and what another did after that from the log.
async fn read_up_to<F: Feed + ?Sized>(
    feed: &F,
    after: i64,
    up_to: i64,
) -> Result<Vec<F::Message>, FeedError> {
    let (mut messages, mut reached) = (Vec::new(), after);
    while reached < up_to {
        let page = feed.read(reached, MAX_BEHIND as usize).await?;
        if page.up_to == reached {
            break;
        }
        messages.extend(page.messages);
        reached = page.up_to;
    }
    Ok(messages)
}
