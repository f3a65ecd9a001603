//! From messages to this service's values. Everything that is wrong with a request is collected, so that its
//! sender learns it at once.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use contracts::shop::product::v1 as wire;
use contracts::shop::r#type::v1::Money;
use prost_types::Timestamp;
use service_runtime::status::{self, Violations};
use tonic::Status;

use crate::application::search::{MAX_FILTER_VALUES, MAX_QUERY_CHARS, SearchFilter, SearchOrder};
use crate::application::{Creation, ListFilter, PriceRange};
use crate::domain::details::{DetailChange, Details, Field, Image};
use crate::domain::limits::{MAX_NAME_CHARS, MAX_REASON_CHARS, MAX_VARIANTS};
use crate::domain::operations::{FileStatus, WantedHandle};
use crate::domain::product::{ProductCommand, ProductStatus, ScheduledPrice, WantedStatus};
use crate::domain::text;
use crate::domain::{
    Assortment, Currency, Handle, InvalidValue, NewVariant, Price, ProductId, ScheduleId, Sku,
};

/// The field of an update mask that is no detail.
pub(super) const STATUS_FIELD: &str = "status";
/// Longest category in a filter, in bytes: a path of ten levels.
const MAX_CATEGORY_BYTES: usize = 10 * (4 * MAX_NAME_CHARS + 3);
/// The seconds of times that are times: from the year 1 to 9999.
const TIMES: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS_PER_SECOND: u32 = 1_000_000_000;
/// Most entries of an update mask: each field some times over.
const MAX_MASK_PATHS: usize = 64;

/// A product to import.
pub(super) struct Import {
    pub handle: Handle,
    pub details: Vec<DetailChange>,
    pub assortment: Assortment,
    pub status: FileStatus,
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Checked(Violations);

impl Checked {
    pub fn field<T>(&mut self, name: impl Into<String>, value: Result<T, InvalidValue>) -> Option<T> {
        value.map_err(|error| self.0.add(name, error.to_string())).ok()
    }

    /// Ends a check: `value` is there unless something was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Status> {
        self.0.into_result()?;
        value.ok_or_else(|| status::internal("a request was refused without a violation"))
    }

    fn product_id(&mut self, text: &str) -> Option<ProductId> {
        self.field("product_id", ProductId::parse(text))
    }

    fn changes(&mut self, changes: Vec<DetailChange>) -> Vec<DetailChange> {
        for (field, why) in changes.iter().flat_map(DetailChange::violations) {
            self.0.add(field, why.to_string());
        }
        changes
    }

    fn assortment(&mut self, variants: Vec<wire::Variant>) -> Option<Assortment> {
        if variants.len() > MAX_VARIANTS {
            return self.field("variants", Err(InvalidValue::TooMany(MAX_VARIANTS)));
        }
        let wanted = variants.len();
        let variants: Vec<_> = variants
            .into_iter()
            .enumerate()
            .filter_map(|(at, v)| self.variant(&format!("variants[{at}]"), v))
            .collect();
        if variants.len() < wanted {
            return None;
        }
        match Assortment::check(variants) {
            Ok(assortment) => Some(assortment),
            Err(violations) => {
                for (field, why) in violations {
                    self.0.add(field, why.to_string());
                }
                None
            }
        }
    }

    fn variant(&mut self, at: &str, variant: wire::Variant) -> Option<NewVariant> {
        let sku = self.field(format!("{at}.sku"), Sku::parse(&variant.sku));
        let price = self.price(&format!("{at}.price"), variant.price);
        let options = variant.options.into_iter().map(|option| (option.name, option.value)).collect();
        Some(NewVariant { sku: sku?, options, price: price?, barcode: variant.barcode })
    }

    fn price(&mut self, at: &str, price: Option<Money>) -> Option<Price> {
        let Some(Money { currency_code, minor_units }) = price else {
            return self.field(at, Err(InvalidValue::Empty));
        };
        let currency = self.currency(&format!("{at}.currency_code"), &currency_code);
        // Its own rule holds in every currency.
        let price = Price::new(minor_units, crate::domain::currency::DEFAULT_CURRENCY);
        let price = self.field(format!("{at}.minor_units"), price);
        Some(Price { minor_units: price?.minor_units, currency: currency? })
    }

    fn currency(&mut self, at: &str, code: &str) -> Option<Currency> {
        self.field(at, Currency::from_code(code).map_err(|_| InvalidValue::Currency))
    }

    fn time(&mut self, name: &str, time: Option<Timestamp>) -> Option<DateTime<Utc>> {
        let Some(Timestamp { seconds, nanos }) = time else {
            return self.field(name, Err(InvalidValue::Empty));
        };
        let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < NANOS_PER_SECOND);
        let known = nanos.filter(|_| TIMES.contains(&seconds));
        let time = known.and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
        self.field(name, time.ok_or(InvalidValue::Time))
    }

    fn reason(&mut self, reason: &str) -> Option<String> {
        self.field("reason", text::reason(reason, MAX_REASON_CHARS)).map(|()| reason.to_owned())
    }

    /// A status out of `known`, of which the first is meant by none.
    fn status<T: Copy>(&mut self, value: i32, known: &[(wire::ProductStatus, T)]) -> Option<T> {
        let found = match wire::ProductStatus::try_from(value) {
            Ok(wire::ProductStatus::Unspecified) => known.first(),
            status => known.iter().find(|(known, _)| Ok(*known) == status),
        };
        if found.is_none() {
            let names: Vec<_> = known.iter().map(|(known, _)| known.as_str_name()).collect();
            self.0.add(STATUS_FIELD, format!("must be one of {}", names.join(", ")));
        }
        found.map(|(_, meant)| *meant)
    }

    /// What somebody typed, with blanks around it as they come.
    fn query(&mut self, query: &str) -> Option<String> {
        self.field("query", text::line(query.trim_matches(' '), MAX_QUERY_CHARS)).map(|()| query.to_owned())
    }

    /// Up to so many values, of which none is empty.
    fn filter_texts(&mut self, name: &str, texts: Vec<String>, max_bytes: usize) -> Vec<String> {
        if texts.len() > MAX_FILTER_VALUES {
            self.0.add(name, InvalidValue::TooMany(MAX_FILTER_VALUES).to_string());
            return Vec::new();
        }
        let mut found = Vec::with_capacity(texts.len());
        for (at, text) in texts.into_iter().enumerate() {
            let at = format!("{name}[{at}]");
            if text.is_empty() {
                self.0.add(at, InvalidValue::Empty.to_string());
            } else {
                found.extend(self.filter_text(&at, text, max_bytes));
            }
        }
        found
    }

    fn filter_text(&mut self, name: &str, text: String, max_bytes: usize) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        let fits = text::line(&text, usize::MAX).and(if text.len() > max_bytes {
            Err(InvalidValue::TooManyBytes(max_bytes))
        } else {
            Ok(())
        });
        self.field(name, fits).map(|()| text)
    }
}

const CREATED_STATUS: [(wire::ProductStatus, bool); 2] =
    [(wire::ProductStatus::Active, true), (wire::ProductStatus::Draft, false)];
const UPDATED_STATUS: [(wire::ProductStatus, WantedStatus); 2] =
    [(wire::ProductStatus::Active, WantedStatus::Active), (wire::ProductStatus::Draft, WantedStatus::Draft)];
const IMPORTED_STATUS: [(wire::ProductStatus, FileStatus); 3] = [
    (wire::ProductStatus::Active, FileStatus::Active),
    (wire::ProductStatus::Draft, FileStatus::Draft),
    (wire::ProductStatus::Discontinued, FileStatus::Discontinued),
];
const LISTED_STATUS: [(wire::ProductStatus, ProductStatus); 3] = [
    (wire::ProductStatus::Active, ProductStatus::Active),
    (wire::ProductStatus::Draft, ProductStatus::Draft),
    (wire::ProductStatus::Discontinued, ProductStatus::Discontinued),
];

pub(super) fn creation(request: wire::CreateProductRequest) -> Result<Creation, Status> {
    let mut checked = Checked::default();
    let handle = match request.handle.as_str() {
        "" => Some(WantedHandle::Derived),
        given => checked.field("handle", Handle::parse(given)).map(WantedHandle::Given),
    };
    let publish = checked.status(request.status, &CREATED_STATUS);
    let details = Details {
        name: request.name,
        description: request.description,
        brand: request.brand,
        category_path: request.category_path,
        supplier: request.supplier,
        attributes: request.attributes,
        tags: request.tags,
        images: images(request.images),
    };
    let details = Details::of(checked.changes(details.into_changes()));
    let assortment = checked.assortment(request.variants);
    let creation = || Some(Creation { handle: handle?, details, assortment: assortment?, publish: publish? });
    checked.finish(creation())
}

/// The product, and what an update changes of it.
pub(super) type Update = (ProductId, Vec<DetailChange>, Option<WantedStatus>);

pub(super) fn update(request: wire::UpdateProductRequest) -> Result<Update, Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(&request.product_id);
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        checked.0.add("update_mask", "must name the fields to change");
    }
    if paths.len() > MAX_MASK_PATHS {
        checked.0.add("update_mask", InvalidValue::TooMany(MAX_MASK_PATHS).to_string());
    }
    let is_known = |path: &str| path == STATUS_FIELD || Field::ALL.iter().any(|field| field.name() == path);
    if paths.iter().any(|path| !is_known(path)) {
        let known: Vec<_> = Field::ALL.into_iter().map(Field::name).chain([STATUS_FIELD]).collect();
        checked.0.add("update_mask", format!("must name no other fields than {}", known.join(", ")));
    }
    let named = |field: &str| paths.iter().any(|path| path == field);
    let status = if named(STATUS_FIELD) { checked.status(request.status, &UPDATED_STATUS) } else { None };
    let details = Details {
        name: request.name,
        description: request.description,
        brand: request.brand,
        category_path: request.category_path,
        supplier: request.supplier,
        attributes: request.attributes,
        tags: request.tags,
        images: images(request.images),
    };
    let changes = details.into_changes().into_iter().filter(|change| named(change.field().name())).collect();
    let changes = checked.changes(changes);
    checked.finish(product_id.map(|product_id| (product_id, changes, status)))
}

pub(super) fn additions(request: wire::AddVariantsRequest) -> Result<(ProductId, Assortment), Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(&request.product_id);
    let assortment = checked.assortment(request.variants);
    checked.finish(product_id.zip(assortment))
}

/// Product, SKU, new price and the reason for it.
pub(super) type PriceChange = (ProductId, Sku, Price, String);

pub(super) fn price_change(request: wire::ChangePriceRequest) -> Result<PriceChange, Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(&request.product_id);
    let sku = checked.field("sku", Sku::parse(&request.sku));
    let price = checked.price("price", request.price);
    let reason = checked.reason(&request.reason);
    let change = || Some((product_id?, sku?, price?, reason?));
    checked.finish(change())
}

pub(super) fn schedule(
    request: wire::SchedulePriceChangeRequest,
) -> Result<(ProductId, ScheduledPrice), Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(&request.product_id);
    let sku = checked.field("sku", Sku::parse(&request.sku));
    let price = checked.price("price", request.price);
    let effective_at = checked.time("effective_time", request.effective_time);
    let reason = checked.reason(&request.reason);
    let scheduled = || {
        let (sku, price, effective_at, reason) = (sku?, price?, effective_at?, reason?);
        Some((product_id?, ScheduledPrice { sku, price, effective_at, reason }))
    };
    checked.finish(scheduled())
}

pub(super) fn withdrawal(
    request: &wire::WithdrawScheduledPriceRequest,
) -> Result<(ProductId, ProductCommand), Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(&request.product_id);
    let schedule_id = checked.field("schedule_id", ScheduleId::parse(&request.schedule_id));
    let reason = checked.reason(&request.reason);
    let withdrawal = || {
        let (schedule_id, reason) = (schedule_id?, reason?);
        Some((product_id?, ProductCommand::WithdrawScheduledPrice { schedule_id, reason }))
    };
    checked.finish(withdrawal())
}

/// A product, and why something is done with it.
pub(super) fn reasoned(product_id: &str, reason: &str) -> Result<(ProductId, String), Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(product_id);
    let reason = checked.reason(reason);
    checked.finish(product_id.zip(reason))
}

pub(super) fn import(request: wire::ImportProductRequest) -> Result<Import, Status> {
    let mut checked = Checked::default();
    let handle = checked.field("handle", Handle::parse(&request.handle));
    let status = checked.status(request.status, &IMPORTED_STATUS);
    let mut details = vec![
        DetailChange::Name(request.name),
        DetailChange::Description(request.description),
        DetailChange::Brand(request.brand),
        DetailChange::CategoryPath(request.category_path),
        DetailChange::Supplier(request.supplier),
        DetailChange::Tags(request.tags),
        DetailChange::Images(images(request.images)),
    ];
    // Most files have none, and take none away.
    if !request.attributes.is_empty() {
        details.push(DetailChange::Attributes(request.attributes));
    }
    let details = checked.changes(details);
    let assortment = checked.assortment(request.variants);
    let import = || Some(Import { handle: handle?, details, assortment: assortment?, status: status? });
    checked.finish(import())
}

pub(super) fn product_id(text: &str) -> Result<ProductId, Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(text);
    checked.finish(product_id)
}

/// A product, and the time to show it at if there is one.
pub(super) fn as_of(
    request: &wire::GetProductAsOfRequest,
    now: DateTime<Utc>,
) -> Result<(ProductId, Option<DateTime<Utc>>), Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(&request.product_id);
    let time = request.time.as_ref().and_then(|time| checked.time("time", Some(*time)));
    checked.0.check(time.is_none_or(|time| time <= now), "time", "must not be in the future");
    checked.finish(product_id.map(|product_id| (product_id, time)))
}

/// A product, and one of its variants if only that is meant.
pub(super) fn price_history(product_id: &str, sku: &str) -> Result<(ProductId, Option<Sku>), Status> {
    let mut checked = Checked::default();
    let product_id = checked.product_id(product_id);
    let sku = if sku.is_empty() { None } else { checked.field("sku", Sku::parse(sku)) };
    checked.finish(product_id.map(|product_id| (product_id, sku)))
}

/// What to find.
pub(super) fn search_filter(
    request: wire::SearchProductsRequest,
) -> Result<(SearchFilter, SearchOrder), Status> {
    let mut checked = Checked::default();
    let status = checked.status(request.status, &LISTED_STATUS);
    let query = checked.query(&request.query);
    let name_bytes = 4 * MAX_NAME_CHARS;
    let brands = checked.filter_texts("brand", request.brand, name_bytes);
    let category = checked.filter_text("category", request.category, MAX_CATEGORY_BYTES);
    let supplier = checked.filter_text("supplier", request.supplier, name_bytes);
    let wanted = checked.filter_texts("option", request.option, 2 * name_bytes + 1);
    let options = wanted.iter().enumerate().filter_map(|(at, option)| {
        let parts = option.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        checked.0.check(parts.is_some(), format!("option[{at}]"), "must be like `Size=M`");
        parts
    });
    let options = options.collect();
    let price = price_range(&mut checked, request.min_price, request.max_price, &request.currency_code);
    let order = match wire::SearchOrder::try_from(request.order_by) {
        Ok(wire::SearchOrder::Unspecified | wire::SearchOrder::Relevance) => Some(SearchOrder::Relevance),
        Ok(wire::SearchOrder::PriceAscending) => Some(SearchOrder::PriceAscending),
        Ok(wire::SearchOrder::PriceDescending) => Some(SearchOrder::PriceDescending),
        Ok(wire::SearchOrder::Newest) => Some(SearchOrder::Newest),
        Ok(wire::SearchOrder::Name) => Some(SearchOrder::Name),
        Err(_) => None,
    };
    checked.0.check(order.is_some(), "order_by", "must be one of the orders");
    let in_stock = request.in_stock;
    let filter = || {
        let filter = SearchFilter {
            status: status?,
            query: query?,
            brands,
            category,
            supplier,
            price,
            options,
            in_stock,
        };
        Some((filter, order?))
    };
    checked.finish(filter())
}

/// What is typed so far.
pub(super) fn suggestion(request: &wire::SuggestProductsRequest) -> Result<String, Status> {
    let mut checked = Checked::default();
    let query = checked.query(&request.query);
    checked.finish(query)
}

pub(super) fn list_filter(request: wire::ListProductsRequest) -> Result<ListFilter, Status> {
    let mut checked = Checked::default();
    let status = checked.status(request.status, &LISTED_STATUS);
    let name_bytes = 4 * MAX_NAME_CHARS;
    let brand = checked.filter_text("brand", request.brand, name_bytes);
    let category = checked.filter_text("category", request.category, MAX_CATEGORY_BYTES);
    let supplier = checked.filter_text("supplier", request.supplier, name_bytes);
    let handle = match request.handle.as_str() {
        "" => None,
        handle => checked.field("handle", Handle::parse(handle)),
    };
    let sku = match request.sku.as_str() {
        "" => None,
        sku => checked.field("sku", Sku::parse(sku)),
    };
    let price = price_range(&mut checked, request.min_price, request.max_price, &request.currency_code);
    let in_stock = request.in_stock;
    checked.finish(status.map(|status| ListFilter {
        status,
        brand,
        category,
        supplier,
        price,
        in_stock,
        handle,
        sku,
    }))
}

fn price_range(checked: &mut Checked, min: i64, max: i64, currency: &str) -> Option<PriceRange> {
    if (min, max, currency) == (0, 0, "") {
        return None;
    }
    checked.0.check(min >= 0, "min_price", "must not be negative");
    checked.0.check(max >= 0, "max_price", "must not be negative");
    checked.0.check(max == 0 || min <= max, "max_price", "must not be below min_price");
    let currency = checked.currency("currency_code", currency)?;
    let bound = |bound: i64| (bound != 0).then_some(bound);
    Some(PriceRange { currency, lowest: bound(min), highest: bound(max) })
}

fn images(images: Vec<wire::Image>) -> Vec<Image> {
    images.into_iter().map(|image| Image { url: image.url, alt_text: image.alt_text }).collect()
}
