//! What happens to a product. Events that other services hear of only while it is on sale say whether it was.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use eventsourcing::DomainEvent;
use serde::{Deserialize, Serialize};

use super::super::details::{Details, Image};
use super::super::{Currency, Handle, Offer, Price, ScheduleId, Sku, Variant};

/// A fact of one product's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProductEvent {
    /// A draft, still without variants; they follow.
    ProductCreated {
        handle: Handle,
        details: Details,
        /// The names of the options, in the order of the variants' values.
        options: Vec<String>,
        currency: Currency,
    },
    /// At most [`VARIANTS_PER_EVENT`](super::super::limits::VARIANTS_PER_EVENT).
    VariantsAdded {
        variants: Vec<Variant>,
        on_sale: bool,
    },
    /// It can be ordered from now on. Its first variants; the others follow as `VariantsOffered`.
    ProductPublished {
        name: String,
        offers: Vec<Offer>,
    },
    /// Further variants of a product that was just published.
    VariantsOffered {
        offers: Vec<Offer>,
    },
    PriceChanged {
        sku: Sku,
        price: Price,
        previous: Price,
        reason: String,
        on_sale: bool,
    },
    ProductRenamed {
        name: String,
        on_sale: bool,
    },
    DescriptionChanged {
        description: String,
    },
    BrandChanged {
        brand: String,
    },
    ProductRecategorized {
        category_path: Vec<String>,
    },
    SupplierChanged {
        supplier: String,
    },
    AttributesChanged {
        attributes: BTreeMap<String, String>,
    },
    ProductRetagged {
        tags: Vec<String>,
    },
    ImagesChanged {
        images: Vec<Image>,
    },
    ProductDiscontinued {
        reason: String,
        was_on_sale: bool,
    },
    /// It is what it was before it was discontinued: on sale, or a draft.
    ProductReinstated {
        reason: String,
        on_sale: bool,
    },
    /// It will have this price from then on, unless it is withdrawn before.
    PriceChangeScheduled {
        schedule_id: ScheduleId,
        sku: Sku,
        price: Price,
        effective_at: DateTime<Utc>,
        reason: String,
    },
    /// They will not take effect: somebody took one back, or the product was discontinued.
    ScheduledPricesWithdrawn {
        schedules: Vec<ScheduleId>,
        reason: String,
    },
    /// Its time has come. A `PriceChanged` follows if the variant had another price.
    ScheduledPriceTookEffect {
        schedule_id: ScheduleId,
        sku: Sku,
    },
}

impl DomainEvent for ProductEvent {}
