//! Writes products in the format that is read here, so that reading what was written gives the same products. A text that
//! would be read as something else (a tag with a comma, a SKU that begins with an apostrophe) stands in the file as
//! `json:` and the text as JSON; everything else stands there as it is, also what a spreadsheet takes for a formula.

use std::io::Write;

use contracts::shop::product::v1 as wire;
use contracts::shop::r#type::v1::Money;

use super::columns::{Field, written_name};
use super::draft::is_rounded;
use super::text;
use crate::domain::Currency;

/// The columns, in their order.
const COLUMNS: [Field; 20] = [
    Field::Handle,
    Field::Title,
    Field::Body,
    Field::Vendor,
    Field::Category,
    Field::Tags,
    Field::Status,
    Field::OptionName1,
    Field::OptionValue1,
    Field::OptionName2,
    Field::OptionValue2,
    Field::OptionName3,
    Field::OptionValue3,
    Field::Sku,
    Field::Barcode,
    Field::Price,
    Field::Currency,
    Field::ImageUrl,
    Field::ImagePosition,
    Field::ImageAlt,
];
/// Our own, behind those of Shopify.
const OWN_COLUMNS: [Field; 2] = [Field::Supplier, Field::Attributes];
const OPTIONS: [(Field, Field); 3] = [
    (Field::OptionName1, Field::OptionValue1),
    (Field::OptionName2, Field::OptionValue2),
    (Field::OptionName3, Field::OptionValue3),
];

/// A product that the format cannot express.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("product {handle:?}: {what}")]
    Product { handle: String, what: &'static str },
    #[error("the file cannot be written: {0}")]
    Write(#[from] csv::Error),
    #[error("the file cannot be written: {0}")]
    Flush(#[from] std::io::Error),
}

/// A file that products are written to, one after another.
pub struct ProductWriter<W: Write> {
    csv: csv::Writer<W>,
    rows: u64,
}

impl<W: Write> ProductWriter<W> {
    /// Writes the header line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(writer: W) -> Result<Self, WriteError> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(COLUMNS.iter().chain(&OWN_COLUMNS).map(|field| written_name(*field)))?;
        Ok(Self { csv, rows: 0 })
    }

    /// Writes a product: a row for each variant or image, whichever are more.
    ///
    /// # Errors
    /// When the file cannot be written, or the product has a status, a price or a currency that is not known here.
    pub fn write(&mut self, product: &wire::Product) -> Result<(), WriteError> {
        for at in 0..product.variants.len().max(product.images.len()).max(1) {
            let cells = Cells::of(product, at)
                .map_err(|what| WriteError::Product { handle: product.handle.clone(), what })?;
            let columns = COLUMNS.iter().chain(&OWN_COLUMNS);
            self.csv.write_record(columns.map(|field| cells.get(*field)))?;
            self.rows += 1;
        }
        Ok(())
    }

    /// Rows written so far, the header not counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the rest cannot be written.
    pub fn finish(self) -> Result<W, WriteError> {
        self.csv.into_inner().map_err(|error| WriteError::Flush(error.into_error()))
    }
}

/// What a row says.
#[derive(Default)]
struct Cells(Vec<(Field, String)>);

impl Cells {
    fn get(&self, field: Field) -> &str {
        self.0.iter().find(|(of, _)| *of == field).map_or("", |(_, text)| text)
    }

    fn set(&mut self, field: Field, text: String) {
        self.0.push((field, text));
    }

    /// The row with the variant and the image at this place, if there are any.
    fn of(product: &wire::Product, at: usize) -> Result<Self, &'static str> {
        let mut cells = Self::default();
        cells.set(Field::Handle, line(&product.handle));
        if at == 0 {
            cells.set_product(product)?;
        }
        if let Some(variant) = product.variants.get(at) {
            cells.set_variant(product, variant, at == 0)?;
        }
        if let Some(image) = product.images.get(at) {
            cells.set(Field::ImageUrl, line(&image.url));
            cells.set(Field::ImagePosition, (at + 1).to_string());
            cells.set(Field::ImageAlt, line(&image.alt_text));
        }
        Ok(cells)
    }

    fn set_product(&mut self, product: &wire::Product) -> Result<(), &'static str> {
        let status = match product.status() {
            wire::ProductStatus::Active => "active",
            wire::ProductStatus::Draft => "draft",
            wire::ProductStatus::Discontinued => "archived",
            wire::ProductStatus::Unspecified => return Err("it has no status"),
        };
        self.set(Field::Title, line(&product.name));
        self.set(
            Field::Body,
            if text::is_plain_block(&product.description) {
                product.description.clone()
            } else {
                exact(&product.description)
            },
        );
        self.set(Field::Vendor, line(&product.brand));
        self.set(Field::Category, list(&product.category_path, " > "));
        self.set(Field::Tags, list(&product.tags, ", "));
        self.set(Field::Status, status.to_owned());
        self.set(Field::Supplier, line(&product.supplier));
        if !product.attributes.is_empty() {
            let attributes = serde_json::to_string(&product.attributes);
            self.set(Field::Attributes, attributes.map_err(|_| "its attributes cannot be written")?);
        }
        Ok(())
    }

    fn set_variant(
        &mut self,
        product: &wire::Product,
        variant: &wire::Variant,
        is_first: bool,
    ) -> Result<(), &'static str> {
        let is_only = product.variants.len() == 1 && variant.options.len() == 1;
        for (option, (name, value)) in variant.options.iter().zip(OPTIONS) {
            if is_first {
                self.set(name, line(&option.name));
            }
            let looks_like_none = is_only && super::finish::means_no_option(&option.name, &option.value);
            self.set(value, if looks_like_none { exact(&option.value) } else { line(&option.value) });
        }
        let is_marked = |text: &str| text::without_text_mark(text) != text;
        let (sku, barcode) = (&variant.sku, &variant.barcode);
        self.set(Field::Sku, if is_marked(sku) { exact(sku) } else { line(sku) });
        let mangled = is_marked(barcode) || is_rounded(barcode);
        self.set(Field::Barcode, if mangled { exact(barcode) } else { line(barcode) });
        let price = variant.price.as_ref().ok_or("a variant has no price")?;
        self.set(Field::Price, amount(price)?);
        self.set(Field::Currency, price.currency_code.clone());
        Ok(())
    }
}

/// A text on one line.
fn line(text: &str) -> String {
    if text::is_plain_line(text) { text.to_owned() } else { exact(text) }
}

/// Texts in one cell.
fn list(texts: &[String], separator: &str) -> String {
    let joined = texts.join(separator);
    let mark = separator.trim().chars().next().unwrap_or(',');
    let is_plain = text::is_plain_line(&joined) && text::split(&joined, mark).eq(texts);
    if is_plain && joined.chars().count() <= super::limits::MAX_LIST_CHARS { joined } else { exact(texts) }
}

fn exact<T: serde::Serialize + ?Sized>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("texts and lists of texts are JSON");
    format!("{}{json}", text::EXACT_MARK)
}

/// A price with all decimals of its currency.
fn amount(price: &Money) -> Result<String, &'static str> {
    let currency = Currency::from_code(&price.currency_code).map_err(|_| "its currency is not known here")?;
    let minor = u64::try_from(price.minor_units).map_err(|_| "a price is negative")?;
    let exponent = currency.exponent() as usize;
    if exponent == 0 {
        return Ok(minor.to_string());
    }
    let digits = format!("{minor:0width$}", width = exponent + 1);
    let (whole, decimals) = digits.split_at(digits.len() - exponent);
    Ok(format!("{whole}.{decimals}"))
}
