//! Products as they were at a time: folded from the log, which is the only one that knows. It is for people who look
//! into the past, a product at a time; what shoppers read comes from the tables.

use chrono::{DateTime, Utc};
use eventsourcing::{DecodeError, EventLog, RecordedEvent};

use super::views::{ProductView, ScheduledPriceView, VariantView};
use crate::domain::operations::product_stream;
use crate::domain::product::{Product, ProductEvent, ProductStatus};
use crate::domain::{ProductId, Variant};

/// Events that are read at once.
const PAGE: usize = 500;

/// Reads of the past.
#[derive(Clone)]
pub struct Past {
    log: EventLog,
}

/// What there was at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum ThereWas {
    /// There is no such product.
    Nothing,
    /// The product came later.
    NothingYet {
        created_at: DateTime<Utc>,
    },
    Product(Box<ProductView>),
}

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error(transparent)]
    Read(#[from] sqlx::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Past {
    pub fn new(log: EventLog) -> Self {
        Self { log }
    }

    /// A product with everything that was recorded of it up to a time, or at all.
    pub async fn product(
        &self,
        product_id: ProductId,
        time: Option<DateTime<Utc>>,
    ) -> Result<ThereWas, PastError> {
        let stream = product_stream(product_id);
        let mut view = None;
        let mut version = 0;
        loop {
            let page = self.log.read_stream(&stream, version, PAGE).await?;
            let Some(last) = page.last() else { break };
            version = last.version;
            for event in &page {
                if time.is_some_and(|time| event.recorded_at > time) {
                    return Ok(there_was(view, Some(event.recorded_at)));
                }
                if let Some(happened) = event.decode::<Product>()? {
                    view = fold(view, product_id, event, happened);
                }
            }
        }
        Ok(there_was(view, None))
    }
}

fn there_was(view: Option<ProductView>, next: Option<DateTime<Utc>>) -> ThereWas {
    match (view, next) {
        (Some(view), _) => ThereWas::Product(Box::new(view)),
        (None, Some(created_at)) => ThereWas::NothingYet { created_at },
        (None, None) => ThereWas::Nothing,
    }
}

/// The product after one more event. Before its creation there is none.
fn fold(
    view: Option<ProductView>,
    product_id: ProductId,
    event: &RecordedEvent,
    happened: ProductEvent,
) -> Option<ProductView> {
    let at = event.recorded_at;
    let mut view = match (view, happened) {
        (_, ProductEvent::ProductCreated { handle, details, options, currency }) => ProductView {
            product_id,
            handle,
            name: details.name,
            description: details.description,
            brand: details.brand,
            category_path: details.category_path,
            supplier: details.supplier,
            attributes: details.attributes,
            tags: details.tags,
            images: details.images,
            status: ProductStatus::Draft,
            options,
            currency,
            variants: Vec::new(),
            scheduled_prices: Vec::new(),
            created_at: at,
            updated_at: at,
            version: event.version,
        },
        (Some(mut view), happened) => {
            apply(&mut view, happened);
            view
        }
        (None, _) => return None,
    };
    (view.updated_at, view.version) = (at, event.version);
    Some(view)
}

fn apply(view: &mut ProductView, happened: ProductEvent) {
    match happened {
        // The first event, or an offer of variants that are here already.
        ProductEvent::ProductCreated { .. } | ProductEvent::VariantsOffered { .. } => {}
        ProductEvent::VariantsAdded { variants, .. } => {
            view.variants.extend(variants.into_iter().map(variant));
        }
        ProductEvent::ProductPublished { .. } => view.status = ProductStatus::Active,
        ProductEvent::PriceChanged { sku, price, .. } => {
            if let Some(variant) = view.variants.iter_mut().find(|variant| variant.sku == sku) {
                variant.price = price.minor_units;
            }
        }
        ProductEvent::ProductRenamed { name, .. } => view.name = name,
        ProductEvent::DescriptionChanged { description } => view.description = description,
        ProductEvent::BrandChanged { brand } => view.brand = brand,
        ProductEvent::ProductRecategorized { category_path } => view.category_path = category_path,
        ProductEvent::SupplierChanged { supplier } => view.supplier = supplier,
        ProductEvent::AttributesChanged { attributes } => view.attributes = attributes,
        ProductEvent::ProductRetagged { tags } => view.tags = tags,
        ProductEvent::ImagesChanged { images } => view.images = images,
        ProductEvent::ProductDiscontinued { .. } => view.status = ProductStatus::Discontinued,
        ProductEvent::ProductReinstated { on_sale, .. } => {
            view.status = if on_sale { ProductStatus::Active } else { ProductStatus::Draft };
        }
        ProductEvent::PriceChangeScheduled { schedule_id, sku, price, effective_at, reason } => {
            let price = price.minor_units;
            let scheduled = ScheduledPriceView { schedule_id, sku, price, effective_at, reason };
            view.scheduled_prices.push(scheduled);
            view.scheduled_prices.sort_by_key(|scheduled| (scheduled.effective_at, scheduled.schedule_id));
        }
        ProductEvent::ScheduledPricesWithdrawn { schedules, .. } => {
            view.scheduled_prices.retain(|scheduled| !schedules.contains(&scheduled.schedule_id));
        }
        ProductEvent::ScheduledPriceTookEffect { schedule_id, .. } => {
            view.scheduled_prices.retain(|scheduled| scheduled.schedule_id != schedule_id);
        }
    }
}

fn variant(variant: Variant) -> VariantView {
    let Variant { sku, option_values, price, barcode } = variant;
    VariantView { sku, option_values, price: price.minor_units, barcode, in_stock: false }
}
