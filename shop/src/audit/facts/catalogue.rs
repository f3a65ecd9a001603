//! Products, their variants and the claims on SKUs, from the product log; and what two other services should have
//! copied of it and of the inventory log. Texts are kept as fingerprints, since a catalogue is large.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use eventsourcing::{Decider, RecordedEvent};
use product_service::domain::claims::SkuEvent;
use product_service::domain::product::{Product, ProductEvent, ProductState, ProductStatus};
use product_service::domain::{Offer, Price, ScheduleId};
use uuid::Uuid;

use super::Keyed;
use crate::audit::cut::Reached;

/// The projection behind `products` and `variants`.
pub const READ_MODEL: &str = "product.read-model";
/// The timers that let scheduled prices take effect.
pub const TIMERS: &str = "product.price-timers";
/// The order service's copy of the catalogue.
pub const COPY: &str = "order.catalogue";

/// The whole catalogue.
pub struct Catalogue {
    pub products: Keyed<Uuid, ProductFacts>,
    /// By SKU.
    pub variants: Keyed<String, VariantFacts>,
    /// Scheduled prices by their ids, also those that have ended.
    pub schedules: Keyed<Uuid, ScheduleFacts>,
    /// Who claimed a SKU.
    pub claims: HashMap<String, Uuid>,
    /// SKUs that a second product got, and that product.
    pub taken_twice: Vec<(String, Uuid)>,
    pub copy: CatalogueCopy,
}

/// One product.
#[derive(Clone, Default)]
pub struct ProductFacts {
    pub status: ProductStatus,
    pub name: Fingerprint,
    pub variants: i32,
    /// Prices to come.
    pub scheduled: i32,
    pub version: u64,
}

/// One variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariantFacts {
    pub product: Uuid,
    pub price: i64,
    pub currency: &'static str,
}

/// A scheduled price.
#[derive(Clone, Default)]
pub struct ScheduleFacts {
    pub sku: String,
    pub sold: VariantFacts,
    pub effective_at: DateTime<Utc>,
    /// Whether it is still to come.
    pub pending: bool,
    /// Position of the event that scheduled it.
    pub since: i64,
}

/// What the order service should know at its checkpoint: the fold of what was published.
pub struct CatalogueCopy {
    reached: Reached,
    pub products: HashMap<Uuid, CopiedProduct>,
    pub variants: HashMap<String, CopiedVariant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedProduct {
    pub name: Fingerprint,
    pub discontinued: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedVariant {
    pub title: Fingerprint,
    pub sold: VariantFacts,
}

/// Tells texts apart without keeping them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    pub fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Catalogue {
    /// With the checkpoint of [`READ_MODEL`], and how far [`COPY`] came.
    pub fn new(checkpoint: i64, copied: Reached) -> Self {
        Self {
            products: Keyed::new(checkpoint),
            variants: Keyed::new(checkpoint),
            schedules: Keyed::new(checkpoint),
            claims: HashMap::new(),
            taken_twice: Vec::new(),
            copy: CatalogueCopy { reached: copied, products: HashMap::new(), variants: HashMap::new() },
        }
    }

    pub fn see(&mut self, event: &RecordedEvent, product: Uuid, happened: &ProductEvent) {
        let facts = self.products.at(product, event.position);
        let mut state = ProductState::default();
        state.status = facts.status;
        facts.status = Product::evolve(state, happened).status;
        facts.version = event.version;
        match happened {
            ProductEvent::ProductCreated { details, .. } => facts.name = Fingerprint::of(&details.name),
            ProductEvent::ProductRenamed { name, .. } => facts.name = Fingerprint::of(name),
            ProductEvent::VariantsAdded { variants, .. } => {
                facts.variants += variants.len() as i32;
                for variant in variants {
                    let sku = variant.sku.as_str();
                    let known = self.variants.get(&sku.to_owned()).map(|known| known.product);
                    if known.is_some() {
                        self.taken_twice.push((sku.to_owned(), product));
                    }
                    *self.variants.at(sku.to_owned(), event.position) = sold(product, &variant.price);
                }
            }
            ProductEvent::PriceChanged { sku, price, .. } => {
                *self.variants.at(sku.as_str().to_owned(), event.position) = sold(product, price);
            }
            ProductEvent::PriceChangeScheduled { schedule_id, sku, price, effective_at, .. } => {
                facts.scheduled += 1;
                *self.schedules.at(schedule_id.as_uuid(), event.position) = ScheduleFacts {
                    sku: sku.as_str().to_owned(),
                    sold: sold(product, price),
                    effective_at: *effective_at,
                    pending: true,
                    since: event.position,
                };
            }
            ProductEvent::ScheduledPricesWithdrawn { schedules, .. } => self.end(event, product, schedules),
            ProductEvent::ScheduledPriceTookEffect { schedule_id, .. } => {
                self.end(event, product, std::slice::from_ref(schedule_id));
            }
            _ => {}
        }
    }

    fn end(&mut self, event: &RecordedEvent, product: Uuid, schedules: &[ScheduleId]) {
        for schedule_id in schedules {
            self.schedules.at(schedule_id.as_uuid(), event.position).pending = false;
            self.products.at(product, event.position).scheduled -= 1;
        }
    }

    pub fn claim(&mut self, sku: &str, SkuEvent::SkuClaimed { product_id }: &SkuEvent) {
        let owner = product_id.as_uuid();
        if self.claims.insert(sku.to_owned(), owner).is_some() {
            self.taken_twice.push((sku.to_owned(), owner));
        }
    }

    /// What the order service makes of an event.
    pub fn copy(&mut self, event: &RecordedEvent, product: Uuid, happened: &ProductEvent) {
        if event.position > self.copy.reached.of(event.stream_id.as_str()) {
            return;
        }
        match happened {
            ProductEvent::ProductPublished { name, offers } => {
                let copied = CopiedProduct { name: Fingerprint::of(name), discontinued: false };
                self.copy.products.insert(product, copied);
                self.copy.offer(product, offers.iter().cloned());
            }
            ProductEvent::VariantsOffered { offers } => self.copy.offer(product, offers.iter().cloned()),
            ProductEvent::VariantsAdded { variants, on_sale: true } => {
                self.copy.offer(product, variants.iter().map(Offer::from));
            }
            ProductEvent::PriceChanged { sku, price, on_sale: true, .. } => {
                if let Some(variant) = self.copy.variants.get_mut(sku.as_str()) {
                    variant.sold = sold(product, price);
                }
            }
            ProductEvent::ProductRenamed { name, on_sale: true } => {
                if let Some(copied) = self.copy.products.get_mut(&product) {
                    copied.name = Fingerprint::of(name);
                }
            }
            ProductEvent::ProductDiscontinued { was_on_sale: true, .. } => {
                if let Some(copied) = self.copy.products.get_mut(&product) {
                    copied.discontinued = true;
                }
            }
            ProductEvent::ProductReinstated { on_sale: true, .. } => {
                if let Some(copied) = self.copy.products.get_mut(&product) {
                    copied.discontinued = false;
                }
            }
            // The others are not published.
            _ => {}
        }
    }
}

impl CatalogueCopy {
    fn offer(&mut self, product: Uuid, offers: impl Iterator<Item = Offer>) {
        for Offer { sku, title, price } in offers {
            let variant = CopiedVariant { title: Fingerprint::of(&title), sold: sold(product, &price) };
            self.variants.insert(sku.as_str().to_owned(), variant);
        }
    }
}

fn sold(product: Uuid, price: &Price) -> VariantFacts {
    VariantFacts { product, price: price.minor_units, currency: price.currency.code() }
}
