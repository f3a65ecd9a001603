//! From this service's values to messages.

use chrono::{DateTime, Utc};
use contracts::shop::product::v1 as wire;
use contracts::shop::r#type::v1::Money;
use service_runtime::etag;

use crate::application::{PricePoint, ProductView, ScheduledPriceView, VariantView};
use crate::domain::Currency;
use crate::domain::details::{Field, Image};
use crate::domain::operations::{ImportOutcome, ImportReport};
use crate::domain::product::ProductStatus;

pub(super) fn product(view: &ProductView) -> wire::Product {
    wire::Product {
        product_id: view.product_id.to_string(),
        handle: view.handle.to_string(),
        name: view.name.clone(),
        description: view.description.clone(),
        brand: view.brand.clone(),
        category_path: view.category_path.clone(),
        supplier: view.supplier.clone(),
        attributes: view.attributes.clone(),
        tags: view.tags.clone(),
        images: view.images.iter().map(image).collect(),
        status: status(view.status).into(),
        variants: view.variants.iter().map(|v| variant(v, &view.options, view.currency)).collect(),
        created_at: Some(timestamp(view.created_at)),
        updated_at: Some(timestamp(view.updated_at)),
        etag: etag::of(view.version),
        scheduled_prices: view.scheduled_prices.iter().map(|s| scheduled_price(s, view.currency)).collect(),
    }
}

fn scheduled_price(view: &ScheduledPriceView, currency: Currency) -> wire::ScheduledPrice {
    wire::ScheduledPrice {
        schedule_id: view.schedule_id.to_string(),
        sku: view.sku.to_string(),
        price: Some(money(view.price, currency)),
        effective_time: Some(timestamp(view.effective_at)),
        reason: view.reason.clone(),
    }
}

fn variant(view: &VariantView, options: &[String], currency: Currency) -> wire::Variant {
    let option =
        |(name, value): (&String, &String)| wire::OptionValue { name: name.clone(), value: value.clone() };
    wire::Variant {
        sku: view.sku.to_string(),
        options: options.iter().zip(&view.option_values).map(option).collect(),
        price: Some(money(view.price, currency)),
        barcode: view.barcode.clone().unwrap_or_default(),
        in_stock: view.in_stock,
    }
}

pub(super) fn price_change(point: &PricePoint) -> wire::PriceChange {
    wire::PriceChange {
        sku: point.sku.to_string(),
        price: Some(money(point.price, point.currency)),
        previous_price: point.previous.map(|previous| money(previous, point.currency)),
        reason: point.reason.clone(),
        changed_at: Some(timestamp(point.changed_at)),
    }
}

/// `position` is empty when nothing was written on purpose.
pub(super) fn import(report: &ImportReport, position: String) -> wire::ImportProductResponse {
    let outcome = match report.outcome {
        ImportOutcome::Created => wire::ImportOutcome::Created,
        ImportOutcome::Updated => wire::ImportOutcome::Updated,
        ImportOutcome::Unchanged => wire::ImportOutcome::Unchanged,
    };
    let mut changed_fields: Vec<_> =
        report.changed.iter().copied().map(Field::name).map(str::to_owned).collect();
    if report.status_changed {
        changed_fields.push(super::requests::STATUS_FIELD.to_owned());
    }
    // The id that a dry run made up will not be the product's.
    let would_create = position.is_empty() && report.outcome == ImportOutcome::Created;
    wire::ImportProductResponse {
        outcome: outcome.into(),
        product_id: if would_create { String::new() } else { report.product_id.to_string() },
        changed_fields,
        prices_changed: count(report.prices_changed),
        variants_added: count(report.variants_added),
        notes: report.notes.iter().map(ToString::to_string).collect(),
        position,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn status(status: ProductStatus) -> wire::ProductStatus {
    match status {
        ProductStatus::Absent => wire::ProductStatus::Unspecified,
        ProductStatus::Draft => wire::ProductStatus::Draft,
        ProductStatus::Active => wire::ProductStatus::Active,
        ProductStatus::Discontinued => wire::ProductStatus::Discontinued,
    }
}

fn image(image: &Image) -> wire::Image {
    wire::Image { url: image.url.clone(), alt_text: image.alt_text.clone() }
}

fn money(minor_units: i64, currency: Currency) -> Money {
    Money { currency_code: currency.code().to_owned(), minor_units }
}

pub(super) fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() }
}
