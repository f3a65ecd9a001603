//! What reads answer: products, pages of them, and prices over time.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::details::Image;
use crate::domain::product::ProductStatus;
use crate::domain::{Currency, Handle, ProductId, ScheduleId, Sku};

/// A product as it can be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductView {
    pub product_id: ProductId,
    pub handle: Handle,
    pub name: String,
    pub description: String,
    pub brand: String,
    pub category_path: Vec<String>,
    pub supplier: String,
    pub attributes: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub images: Vec<Image>,
    pub status: ProductStatus,
    /// The names of the options.
    pub options: Vec<String>,
    pub currency: Currency,
    /// In the order in which they were added.
    pub variants: Vec<VariantView>,
    /// Prices to come, the next one first.
    pub scheduled_prices: Vec<ScheduledPriceView>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    pub version: u64,
}

/// A product as it was read, for all that ask for it; and the answer to them, which the first one makes.
#[derive(Debug)]
pub struct ServedProduct {
    view: ProductView,
    answer: OnceLock<Bytes>,
}

impl ServedProduct {
    pub fn shared(view: ProductView) -> Arc<Self> {
        Arc::new(Self { view, answer: OnceLock::new() })
    }

    /// The answer that `make` makes of the product, which must always be the same.
    pub fn answer(&self, make: impl FnOnce(&ProductView) -> Bytes) -> Bytes {
        self.answer.get_or_init(|| make(&self.view)).clone()
    }

    /// Roughly the memory that it takes with an answer of about the product's size.
    pub fn approximate_bytes(&self) -> usize {
        2 * self.view.approximate_bytes()
    }
}

impl Deref for ServedProduct {
    type Target = ProductView;

    fn deref(&self) -> &ProductView {
        &self.view
    }
}

impl PartialEq for ServedProduct {
    fn eq(&self, other: &Self) -> bool {
        self.view == other.view
    }
}

/// A variant as it can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantView {
    pub sku: Sku,
    /// One for each of the product's options.
    pub option_values: Vec<String>,
    /// In minor units of the product's currency.
    pub price: i64,
    pub barcode: Option<String>,
    /// Whether inventory has said so.
    pub in_stock: bool,
}

/// A price to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledPriceView {
    pub schedule_id: ScheduleId,
    pub sku: Sku,
    /// In minor units of the product's currency.
    pub price: i64,
    pub effective_at: DateTime<Utc>,
    pub reason: String,
}

/// A page of products, the newest first.
#[derive(Clone, Debug)]
pub struct ProductPage {
    pub products: Vec<ProductView>,
    /// Behind which product the next page begins; none on the last page.
    pub next: Option<ProductId>,
}

/// A price that a variant has had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricePoint {
    pub key: PricePointKey,
    pub sku: Sku,
    pub currency: Currency,
    pub price: i64,
    /// None for the first price.
    pub previous: Option<i64>,
    pub reason: String,
    pub changed_at: DateTime<Utc>,
}

/// The place of a price in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PricePointKey {
    pub position: i64,
    pub ordinal: i32,
}

/// A page of prices, the newest first.
#[derive(Clone, Debug)]
pub struct PricePage {
    pub prices: Vec<PricePoint>,
    /// Behind which price the next page begins; none on the last page.
    pub next: Option<PricePointKey>,
}

/// What a text or an entry of a list costs in memory beside its characters.
const OVERHEAD_BYTES: usize = 32;

impl ProductView {
    /// How much memory it takes, roughly.
    pub fn approximate_bytes(&self) -> usize {
        let list = |list: &[String]| list.iter().map(|text| text.len() + OVERHEAD_BYTES).sum::<usize>();
        let variant = |v: &VariantView| 4 * OVERHEAD_BYTES + v.sku.as_str().len() + list(&v.option_values);
        let scheduled = |s: &ScheduledPriceView| size_of_val(s) + s.sku.as_str().len() + s.reason.len();
        size_of::<Self>()
            + self.handle.as_str().len()
            + self.name.len()
            + self.description.len()
            + self.brand.len()
            + self.supplier.len()
            + list(&self.category_path)
            + list(&self.tags)
            + list(&self.options)
            + self.attributes.iter().map(|(k, v)| k.len() + v.len() + 2 * OVERHEAD_BYTES).sum::<usize>()
            + self.images.iter().map(|i| i.url.len() + i.alt_text.len() + 2 * OVERHEAD_BYTES).sum::<usize>()
            + self.variants.iter().map(variant).sum::<usize>()
            + self.scheduled_prices.iter().map(scheduled).sum::<usize>()
    }
}

#[cfg(test)]
impl ProductView {
    pub(super) fn example(product_id: ProductId) -> Self {
        let at = DateTime::UNIX_EPOCH;
        Self {
            product_id,
            handle: Handle::parse("knife").unwrap(),
            name: "Knife".into(),
            description: String::new(),
            brand: String::new(),
            category_path: vec![],
            supplier: String::new(),
            attributes: BTreeMap::new(),
            tags: vec![],
            images: vec![],
            status: ProductStatus::Active,
            options: vec![],
            currency: Currency::from_code("EUR").unwrap(),
            variants: vec![],
            scheduled_prices: vec![],
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }
}
