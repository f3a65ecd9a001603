//! Keeps the cache right in a replica that does not run the projections, and says how fresh it is in every replica.
//! It looks how far the projections are in the database, whoever runs them, and takes out every product that the
//! messages up to there have changed; what this process changes itself has left before, by the projections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contracts::shop::inventory::v1::InventoryEvent;
use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::{
    Decider, EventLog, Feed, FeedError, IntegrationFeed, Place, RebuildError, Rebuilds, SubscriptionHandle,
};
use prost::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::projections::MODEL;
use crate::application::{AsOf, CachedChange, ProductCache};
use crate::domain::ProductId;
use crate::domain::product::Product;

/// Pause between two looks, unless told otherwise: the delay of what another replica changed.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// With more to catch up on than these events the cache is emptied instead.
const MAX_BEHIND: i64 = 500;
/// Incarnations of a log that can be told apart.
const INCARNATIONS: i64 = 1_000_000;

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
struct Seen {
    /// Which version of the tables serves.
    version: i64,
    products: Vec<Place>,
    stock: Vec<Place>,
}

/// Whether little enough lies between two looks to read it.
fn is_near(before: &[Place], now: &[Place]) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|(before, now)| {
            before.incarnation == now.incarnation
                && (0..=MAX_BEHIND).contains(&(now.position - before.position))
        })
}

impl Seen {
    /// Where what is shared must have been read by whoever knows only of changes after these places: at the furthest of
    /// them, since up to there any partition may hold a change that is not known. Positions of another incarnation of
    /// inventory's log mean something else, so that is a part of the version.
    fn floor(&self) -> AsOf {
        let furthest = |places: &[Place]| places.iter().map(|place| place.position).max().unwrap_or(0);
        let incarnation = self.stock.iter().map(|place| place.incarnation).max().unwrap_or(0);
        AsOf {
            version: self.version * INCARNATIONS + i64::from(incarnation),
            products: furthest(&self.products),
            stock: furthest(&self.stock),
        }
    }
}

impl CacheFollower {
    /// Looks every `interval` until `stop`. A look that fails confirms nothing, and the next one covers its part.
    pub async fn run(self, interval: Duration, stop: CancellationToken) {
        let mut seen = None;
        while !stop.is_cancelled() {
            let looked = Instant::now();
            if let Ok(now) = self.look(seen.as_ref()).await {
                seen = Some(now);
                self.cache.confirm(looked);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    async fn look(&self, seen: Option<&Seen>) -> Result<Seen, LookError> {
        let now = Seen {
            // First: a switch after it is seen by the next look.
            version: self.rebuilds.switches(MODEL).await?,
            products: self.read_model.stored_places().await?,
            stock: self.availability.stored_places().await?,
        };
        let followed = seen.filter(|seen| {
            let same_tables = seen.version == now.version;
            same_tables && is_near(&seen.products, &now.products) && is_near(&seen.stock, &now.stock)
        });
        // Else it is the first look, another version of the tables, too much at once, or a checkpoint was moved back.
        let begun;
        let seen = match followed {
            Some(seen) => seen,
            None => {
                begun = self.begin(&now);
                &begun
            }
        };
        self.products(&seen.products, &now.products).await?;
        self.stock(&seen.stock, &now.stock).await?;
        Ok(now)
    }

    /// Empties the cache. What replicas share stays right where the changes since it was read are known: so they are
    /// looked at some way back, where a place some way back is known.
    fn begin(&self, now: &Seen) -> Seen {
        let back = if self.cache.shared().is_some() { MAX_BEHIND } else { 0 };
        let earlier = |places: &[Place]| {
            let is_log = places.iter().all(|place| place.resume.is_none());
            let back = if is_log { back } else { 0 };
            places.iter().map(|place| place.moved_to((place.position - back).max(0))).collect()
        };
        let begun =
            Seen { version: now.version, products: earlier(&now.products), stock: earlier(&now.stock) };
        self.cache.clear(begun.floor());
        begun
    }

    /// Takes out what the events of the log changed. What it takes out beyond `up_to` costs a read at most.
    async fn products(&self, after: &[Place], up_to: &[Place]) -> Result<(), FeedError> {
        let events = read_up_to(&self.log, after, up_to).await?;
        for event in events.iter().filter(|event| event.stream_id.category() == Product::CATEGORY) {
            if let Ok(product_id) = ProductId::parse(event.stream_id.key()) {
                self.cache.changed(product_id, CachedChange::Product(event.position));
            }
        }
        Ok(())
    }

    /// Takes out the products whose stock changed.
    async fn stock(&self, after: &[Place], up_to: &[Place]) -> Result<(), FeedError> {
        let messages = read_up_to(&*self.inventory, after, up_to).await?;
        let changed = messages.iter().filter_map(|message| {
            // What is no inventory event is the projection's to complain about.
            match InventoryEvent::decode(message.data.as_slice()).ok()?.event? {
                Event::StockAvailabilityChanged(changed) => Some((changed.sku, message.position)),
                _ => None,
            }
        });
        // The last change of each, since the messages are in order.
        let changed: BTreeMap<String, i64> = changed.collect();
        if changed.is_empty() {
            return Ok(());
        }
        let skus: Vec<&str> = changed.keys().map(String::as_str).collect();
        let products: Vec<(String, Uuid)> =
            sqlx::query_as("SELECT sku, product_id FROM variants WHERE sku = ANY($1)")
                .bind(skus)
                .fetch_all(self.log.pool())
                .await?;
        for (sku, product_id) in products {
            if let Some(position) = changed.get(&sku) {
                self.cache.changed(product_id.into(), CachedChange::Stock(*position));
            }
        }
        Ok(())
    }
}

/// Everything after a place in each partition, up to another one at least. It takes more than one page where a feed gives
/// what this process appended from memory, and what another did after that from the log.
async fn read_up_to<F: Feed + ?Sized>(
    feed: &F,
    after: &[Place],
    up_to: &[Place],
) -> Result<Vec<F::Message>, FeedError> {
    let mut messages = Vec::new();
    for (partition, (after, up_to)) in (0..).zip(after.iter().zip(up_to)) {
        let mut reached = *after;
        while reached.position < up_to.position {
            let page = feed.read(partition, reached, MAX_BEHIND as usize).await?;
            if page.up_to == reached {
                break;
            }
            messages.extend(page.messages);
            reached = page.up_to;
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: i64, incarnation: i32) -> Place {
        Place { position, incarnation, ..Place::default() }
    }

    #[test]
    fn what_is_shared_must_have_been_read_at_the_furthest_place_that_is_not_known_before() {
        let stock = vec![place(7, 2), place(90, 2), place(40, 2)];
        let seen = Seen { version: 3, products: vec![place(500, 1)], stock };
        // A change at 60 in the second partition is not known, and an entry of 50 may lack it.
        let expected = AsOf { version: 3 * INCARNATIONS + 2, products: 500, stock: 90 };
        assert_eq!(seen.floor(), expected);
    }

    #[test]
    fn another_incarnation_of_a_feed_is_another_version_and_no_small_step() {
        let before = Seen { version: 0, products: vec![place(5, 1)], stock: vec![place(9, 1)] };
        let restored = Seen { version: 0, products: vec![place(5, 1)], stock: vec![place(9, 2)] };
        assert_ne!(before.floor(), restored.floor());
        assert!(is_near(&before.stock, &before.stock) && !is_near(&before.stock, &restored.stock));
    }
}
