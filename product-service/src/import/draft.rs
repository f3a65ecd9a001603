//! A product while its rows are read. Each row is taken apart as it comes and then forgotten; what is kept is what
//! the product will hold, within the limits, and what is wrong.

use std::collections::BTreeMap;

use super::columns::{Field, OPTION_NAMES, OPTION_VALUES};
use super::issue::{Issues, Rule, quoted};
use super::limits::{
    MAX_ALT_CHARS, MAX_BARCODE_CHARS, MAX_IMAGES, MAX_NAME_CHARS, MAX_SKU_CHARS, MAX_URL_CHARS, MAX_VARIANTS,
    MAX_WORD_CHARS,
};
use super::numbers::{self, Quantity};
use super::row::Row;
use super::text;
use super::{ImportedImage, ProductStatus};
use crate::domain::Currency;
use crate::domain::text::is_web_address;

#[derive(Default)]
pub(super) struct ProductDraft {
    pub handle: String,
    pub first_line: u64,
    pub last_line: u64,
    /// The line where the handle stood before, if its rows do not stand together; then nothing of it is read.
    pub stood_before_at: Option<u64>,
    pub title: Option<String>,
    pub body_html: Option<String>,
    pub brand: Option<String>,
    pub supplier: Option<String>,
    pub category: Option<Vec<String>>,
    pub product_type: Option<Vec<String>>,
    /// Without repetitions.
    pub tags: Option<Vec<String>>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub status: Option<ProductStatus>,
    pub published: Option<bool>,
    pub currency: Option<Currency>,
    pub option_names: [Option<String>; 3],
    /// An option value was written exactly, so it is one whatever it says.
    pub has_exact_option: bool,
    pub variants: Vec<VariantDraft>,
    /// With the position that each has, or would have after the one before it.
    pub images: Vec<(u32, ImportedImage)>,
    pub errors: Issues,
    pub warnings: Issues,
}

pub(super) struct VariantDraft {
    pub line: u64,
    pub sku: Option<String>,
    pub values: [Option<String>; 3],
    pub price_minor: i64,
    pub barcode: Option<String>,
    pub quantity: Option<u32>,
    pub image: Option<String>,
}

impl ProductDraft {
    pub fn new(handle: String, first_line: u64) -> Self {
        ProductDraft { handle, first_line, ..ProductDraft::default() }
    }

    pub fn add(&mut self, row: &Row<'_>, default_currency: Currency) {
        self.last_line = row.last_line;
        if self.stood_before_at.is_some() || !row.check_shape(&mut self.errors) {
            return;
        }
        // The handle itself has been read leniently to find the rows that belong together.
        row.text(Field::Handle, MAX_NAME_CHARS, &mut self.errors);
        self.add_product_fields(row);
        self.add_image(row);
        let variant = [Field::Sku, Field::Barcode, Field::Price, Field::Quantity];
        if variant.iter().chain(&OPTION_VALUES).any(|field| row.says(*field)) {
            self.add_variant(row, default_currency);
        } else if ![Field::Title, Field::Body, Field::ImageUrl].iter().any(|field| row.says(*field)) {
            self.warnings.push(row.line, None, Rule::EmptyRow, "the row has neither a variant nor an image");
        }
    }

    fn add_product_fields(&mut self, row: &Row<'_>) {
        let errors = &mut self.errors;
        let texts = [
            (Field::Title, MAX_NAME_CHARS, &mut self.title),
            (Field::Vendor, MAX_NAME_CHARS, &mut self.brand),
            (Field::Supplier, MAX_NAME_CHARS, &mut self.supplier),
        ];
        for (field, limit, slot) in texts {
            let value = row.text(field, limit, errors);
            keep_first(slot, value, row, field, &mut self.warnings);
        }
        let lists = [(Field::Category, '>', &mut self.category), (Field::Type, '>', &mut self.product_type)];
        for (field, separator, slot) in lists {
            let value = row.list(field, separator, errors);
            keep_first(slot, value, row, field, &mut self.warnings);
        }
        let tags = row.list(Field::Tags, ',', errors);
        let tags = if row.is_exact_list(Field::Tags) { tags } else { tags.map(text::without_repeats) };
        keep_first(&mut self.tags, tags, row, Field::Tags, &mut self.warnings);
        let attributes = row.object(Field::Attributes, errors);
        keep_first(&mut self.attributes, attributes, row, Field::Attributes, &mut self.warnings);
        let body = row.body(errors);
        keep_first(&mut self.body_html, body, row, Field::Body, &mut self.warnings);
        let status = word(row, Field::Status, Rule::StatusUnknown, errors, status_of);
        keep_first(&mut self.status, status, row, Field::Status, &mut self.warnings);
        let published = word(row, Field::Published, Rule::PublishedUnknown, errors, truth_of);
        keep_first(&mut self.published, published, row, Field::Published, &mut self.warnings);
        self.add_option_names(row);
    }

    fn add_option_names(&mut self, row: &Row<'_>) {
        for (slot, field) in self.option_names.iter_mut().zip(OPTION_NAMES) {
            let Some(name) = row.text(field, MAX_NAME_CHARS, &mut self.errors) else { continue };
            match slot {
                Some(first) if !first.eq_ignore_ascii_case(&name) => {
                    let message = format!("the option is named {} above", quoted(first));
                    self.errors.push(row.line, row.name(field), Rule::OptionNameConflict, message);
                }
                Some(_) => {}
                None => *slot = Some(name),
            }
        }
    }

    fn add_image(&mut self, row: &Row<'_>) {
        let position = self.image_position(row);
        let alt = row.text(Field::ImageAlt, MAX_ALT_CHARS, &mut self.errors).unwrap_or_default();
        let Some(url) = url(row, Field::ImageUrl, &mut self.errors) else { return };
        // Tools that flatten a product repeat its image on every row.
        let is_repeated = |(at, image): &(u32, ImportedImage)| {
            image.url == url && position.is_none_or(|position| position == *at)
        };
        if self.images.iter().any(is_repeated) {
            return;
        }
        if self.images.len() == MAX_IMAGES {
            let message = format!("a product has at most {MAX_IMAGES} images");
            self.errors.push(row.line, row.name(Field::ImageUrl), Rule::TooMany, message);
            return;
        }
        let position = position.or(self.images.last().map(|(last, _)| *last)).unwrap_or(0);
        self.images.push((position, ImportedImage { url, alt }));
    }

    fn image_position(&mut self, row: &Row<'_>) -> Option<u32> {
        let position = row.text(Field::ImagePosition, MAX_WORD_CHARS, &mut self.errors)?;
        let number = position.parse().ok();
        if number.is_none() {
            let message = format!("{} is no position, the order of the rows counts", quoted(&position));
            self.warnings.push(row.line, row.name(Field::ImagePosition), Rule::ImagePosition, message);
        }
        number
    }

    fn add_variant(&mut self, row: &Row<'_>, default_currency: Currency) {
        if self.variants.len() == MAX_VARIANTS {
            let message = format!("a product has at most {MAX_VARIANTS} variants");
            self.errors.push(row.line, None, Rule::TooMany, message);
            return;
        }
        let currency = self.add_currency(row, default_currency);
        let price_minor = self.price(row, currency);
        let quantity = self.quantity(row);
        let barcode = self.barcode(row);
        let errors = &mut self.errors;
        let sku = row.text(Field::Sku, MAX_SKU_CHARS, errors);
        let is_exact = row.is_exact(Field::Sku);
        let sku = sku.map(|sku| if is_exact { sku } else { text::without_text_mark(&sku).to_owned() });
        let sku = sku.filter(|sku| !sku.is_empty());
        let values = OPTION_VALUES.map(|field| row.text(field, MAX_NAME_CHARS, errors));
        self.has_exact_option |= OPTION_VALUES.iter().any(|field| row.is_exact(*field));
        let image = url(row, Field::VariantImage, errors);
        self.variants.push(VariantDraft {
            line: row.line,
            sku,
            values,
            price_minor,
            barcode,
            quantity,
            image,
        });
    }

    /// The currency of the product: its first variant row says it, or else the caller.
    fn add_currency(&mut self, row: &Row<'_>, default_currency: Currency) -> Currency {
        let said =
            word(row, Field::Currency, Rule::CurrencyUnknown, &mut self.errors, |code| code.parse().ok());
        let currency = *self.currency.get_or_insert(said.unwrap_or(default_currency));
        if said.is_some_and(|said| said != currency) {
            let message = format!("the product's first price is in {currency}: a product has one currency");
            self.errors.push(row.line, row.name(Field::Currency), Rule::CurrencyMixed, message);
        }
        currency
    }

    /// Zero if it is refused: then the product is too.
    fn price(&mut self, row: &Row<'_>, currency: Currency) -> i64 {
        let errors = &mut self.errors;
        if !row.says(Field::Price) {
            errors.push(
                row.line,
                row.name(Field::Price),
                Rule::PriceMissing,
                "a variant needs a price, 0 if it is free",
            );
            return 0;
        }
        let Some(text) = row.text(Field::Price, MAX_WORD_CHARS, errors) else { return 0 };
        numbers::price(&text, currency).unwrap_or_else(|(rule, why)| {
            errors.push(row.line, row.name(Field::Price), rule, format!("{}: {why}", quoted(&text)));
            0
        })
    }

    fn quantity(&mut self, row: &Row<'_>) -> Option<u32> {
        let text = row.text(Field::Quantity, MAX_WORD_CHARS, &mut self.errors)?;
        let name = row.name(Field::Quantity);
        match numbers::quantity(&text) {
            Ok(Quantity::Pieces(pieces)) => Some(pieces),
            Ok(Quantity::Negative) => {
                let message = format!("{} is counted as 0", quoted(&text));
                self.warnings.push(row.line, name, Rule::QuantityNegative, message);
                Some(0)
            }
            Err((rule, why)) => {
                self.errors.push(row.line, name, rule, format!("{}: {why}", quoted(&text)));
                None
            }
        }
    }

    fn barcode(&mut self, row: &Row<'_>) -> Option<String> {
        let text = row.text(Field::Barcode, MAX_BARCODE_CHARS, &mut self.errors)?;
        if row.is_exact(Field::Barcode) {
            return Some(text);
        }
        let barcode = text::without_text_mark(&text);
        if is_rounded(barcode) {
            let message = format!("{} was rounded by a spreadsheet and is left out", quoted(barcode));
            self.warnings.push(row.line, row.name(Field::Barcode), Rule::BarcodeMangled, message);
            return None;
        }
        (!barcode.is_empty()).then(|| barcode.to_owned())
    }
}

/// Keeps the first value that any row gives; a different one later is worth a warning.
fn keep_first<T: PartialEq>(
    slot: &mut Option<T>,
    value: Option<T>,
    row: &Row<'_>,
    field: Field,
    warnings: &mut Issues,
) {
    match (&slot, value) {
        (None, value) => *slot = value,
        (Some(first), Some(value)) if *first != value => {
            let message = "a row above says something else for this product, and counts";
            warnings.push(row.line, row.name(field), Rule::ValueConflict, message);
        }
        _ => {}
    }
}

/// A cell that holds one of a few known words.
fn word<T>(
    row: &Row<'_>,
    field: Field,
    rule: Rule,
    errors: &mut Issues,
    known: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = row.text(field, MAX_WORD_CHARS, errors)?;
    let value = known(&text.to_ascii_lowercase());
    if value.is_none() {
        errors.push(row.line, row.name(field), rule, format!("{} is not known here", quoted(&text)));
    }
    value
}

fn status_of(word: &str) -> Option<ProductStatus> {
    match word {
        "active" => Some(ProductStatus::Active),
        // Unlisted products are sold to those who know the address: nothing here could keep them off the list.
        "draft" | "unlisted" => Some(ProductStatus::Draft),
        "archived" => Some(ProductStatus::Archived),
        _ => None,
    }
}

fn truth_of(word: &str) -> Option<bool> {
    match word {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// An address that a browser may fetch; `javascript:` and `data:` never get in.
fn url(row: &Row<'_>, field: Field, errors: &mut Issues) -> Option<String> {
    let url = row.text(field, MAX_URL_CHARS, errors)?;
    if !is_web_address(&url) {
        let message = format!("{} is no http or https address", quoted(&url));
        errors.push(row.line, row.name(field), Rule::ImageUrl, message);
        return None;
    }
    Some(url)
}

/// `4.25012E+12`: what a spreadsheet leaves of a long number.
pub(super) fn is_rounded(barcode: &str) -> bool {
    barcode.split_once(['E', 'e']).is_some_and(|(mantissa, exponent)| {
        exponent.starts_with('+')
            && exponent[1..].bytes().all(|byte| byte.is_ascii_digit())
            && mantissa.contains(|c: char| c.is_ascii_digit())
            && mantissa.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
    })
}
