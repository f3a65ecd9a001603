//! Reads and writes product files in Shopify's CSV format, of both generations of its column names, one product at a time. It is
//! pure: bytes in, products and errors out, and requests made of products. It stores nothing, asks no service, and does
//! not make HTML safe to show.
//!
//! A product is a run of rows with the same handle; each row adds a variant, an image or both. A product with
//! anything wrong in any of its rows is refused as a whole, with every reason, and the others go on. Memory is that of
//! one product plus 24 bytes for each handle and SKU (they must be unique in the file).
//!
//! What is written is read back as it was, see [`ProductWriter`]: a cell that begins with `json:` and goes on as a JSON
//! text, or as a list of them where a list is read, is taken exactly.
//!
//! Three columns are ours: `Attributes (JSON)`, an object of texts, which counts when it is not empty; `Supplier`, which counts even when it is empty (files without it: a product metafield with
//! the key `supplier`, else the vendor), and `Currency` (else what the caller says, since Shopify's files name none).

mod columns;
mod draft;
mod finish;
mod input;
mod issue;
pub mod limits;
mod numbers;
mod request;
mod row;
mod sku;
mod text;
mod write;

use std::collections::BTreeMap;
use std::io::Read;

use csv::ByteRecord;
use serde::Serialize;

use columns::{Columns, Field};
use draft::ProductDraft;
use finish::Seen;
use input::BoundedLines;
use limits::{MAX_ROW_BYTES, MAX_ROWS};
use row::Row;

pub use crate::domain::currency::{Currency, DEFAULT_CURRENCY, UnknownCurrency};
pub use columns::{IgnoredBecause, IgnoredColumn};
pub use issue::{FileError, ImportError, RefusedProduct, RowIssue, Rule};
pub use request::to_request;
pub use write::{ProductWriter, WriteError};

/// What the file does not say.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions {
    /// The currency of products whose rows name none.
    pub default_currency: Currency,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { default_currency: DEFAULT_CURRENCY }
    }
}

/// A product that holds all rules of the import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedProduct {
    /// In lower case; unique in the file. Made of the title where the file has none.
    pub handle: String,
    pub title: String,
    /// As the file has it, without control characters; empty when it has none. Not safe to show as it is.
    pub body_html: String,
    /// The vendor; empty when the file names none.
    pub brand: String,
    /// Empty when our own column is, or when a file without it names neither a supplier nor a vendor.
    pub supplier: String,
    /// From the root down; empty when the file names neither a category nor a type.
    pub category_path: Vec<String>,
    /// Without repetitions, in the order of the file.
    pub tags: Vec<String>,
    /// Empty when the file has none, or no such column.
    pub attributes: BTreeMap<String, String>,
    pub status: ProductStatus,
    /// The names of the options, at most three; none for a product with a single, plain variant.
    pub options: Vec<String>,
    /// At least one.
    pub variants: Vec<ImportedVariant>,
    /// In the order in which they are to be shown.
    pub images: Vec<ImportedImage>,
    /// The line of the first row, counted from 1 (the header).
    pub first_line: u64,
    /// The last line of the last row.
    pub last_line: u64,
    /// What was doubtful, at most [`limits::MAX_ISSUES`].
    pub warnings: Vec<RowIssue>,
}

/// What is stocked and sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedVariant {
    /// Unique in the file.
    pub sku: String,
    /// The file gave none. The same handle and option values make the same SKU in every import.
    pub sku_was_derived: bool,
    /// One for each of the product's options, in their order.
    pub option_values: Vec<String>,
    /// In minor units of the currency, not negative.
    pub price_minor: i64,
    /// The same for all variants of a product.
    pub currency: Currency,
    pub barcode: Option<String>,
    /// None when the file does not say; a negative one is 0 with a warning.
    pub quantity: Option<u32>,
    /// The address of this variant's own image.
    pub image: Option<String>,
    /// The line of its row, counted from 1 (the header).
    pub line: u64,
}

/// A picture of the product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedImage {
    /// With http or https.
    pub url: String,
    /// Alternative text, may be empty.
    pub alt: String,
}

/// Whether the product is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    Active,
    /// Not shown: the file says so, or says that the product is not published or not listed.
    Draft,
    Archived,
}

/// What has been read so far; all of it once the iteration has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportSummary {
    /// Rows with anything in them, the header not counted.
    pub rows: u64,
    /// Products that were yielded.
    pub products: u64,
    pub variants: u64,
    /// Variants among them whose SKU was derived.
    pub derived_skus: u64,
    /// Products that were refused.
    pub refused: u64,
    /// Columns that are not read, in the order of the file.
    pub ignored_columns: Vec<IgnoredColumn>,
}

/// The products of a file, read as they are asked for. After [`ImportError::File`] nothing follows.
pub struct ProductRows<R> {
    csv: csv::Reader<BoundedLines<R>>,
    record: ByteRecord,
    columns: Columns,
    options: ImportOptions,
    draft: Option<ProductDraft>,
    handles: Seen,
    skus: Seen,
    summary: ImportSummary,
    ended: bool,
}

impl<R: Read> ProductRows<R> {
    /// Reads the header line.
    ///
    /// # Errors
    /// When the header cannot be read, or the title or the price has no column.
    pub fn new(reader: R, options: ImportOptions) -> Result<Self, FileError> {
        let mut csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(BoundedLines::new(reader));
        let mut record = ByteRecord::new();
        if !read_record(&mut csv, &mut record)? {
            return Err(FileError::Empty);
        }
        let columns = Columns::from_header(&record)?;
        let summary = ImportSummary { ignored_columns: columns.ignored.clone(), ..ImportSummary::default() };
        let (handles, skus) = (Seen::default(), Seen::default());
        Ok(ProductRows { csv, record, columns, options, draft: None, handles, skus, summary, ended: false })
    }

    /// What has been read so far.
    pub fn summary(&self) -> &ImportSummary {
        &self.summary
    }

    /// Bytes taken from the reader so far, for a progress bar beside the size of the file. Runs ahead of the products
    /// by a buffer of some kilobytes.
    pub fn bytes_read(&self) -> u64 {
        self.csv.get_ref().bytes_read()
    }

    /// Reads rows until one begins another product, and gives back the finished draft.
    fn read_product(&mut self) -> Result<Option<ProductDraft>, FileError> {
        loop {
            let after_previous = self.csv.position().line();
            if !read_record(&mut self.csv, &mut self.record)? {
                return Ok(self.draft.take());
            }
            // Counted backwards, because blank lines before a row are skipped. In a quote that is never closed the
            // file's last line break is not the row's end.
            let last_line = self.csv.position().line() - 1;
            let line = last_line.saturating_sub(line_breaks(&self.record)).max(after_previous);
            let row = Row { line, last_line, record: &self.record, columns: &self.columns };
            if row.is_blank() {
                continue;
            }
            self.summary.rows += 1;
            if self.summary.rows > MAX_ROWS {
                return Err(FileError::TooManyRows { limit: MAX_ROWS });
            }
            let handle = row.handle();
            let same = match (&self.draft, &handle) {
                (Some(draft), Some(handle)) => draft.handle == *handle,
                // Whose row it is cannot be told, so the product above it is doubtful.
                (Some(_), None) => true,
                (None, _) => false,
            };
            let finished = if same { None } else { self.draft.take() };
            let draft = self.draft.get_or_insert_with(|| {
                let mut draft = ProductDraft::new(handle.clone().unwrap_or_default(), line);
                draft.stood_before_at = self.handles.insert(&draft.handle, line);
                draft
            });
            if handle.is_none() {
                let message = "the row has neither a handle nor a title";
                draft.errors.push(line, row.name(Field::Handle), Rule::HandleMissing, message);
            }
            draft.add(&row, self.options.default_currency);
            if finished.is_some() {
                return Ok(finished);
            }
        }
    }
}

impl<R: Read> Iterator for ProductRows<R> {
    type Item = Result<ImportedProduct, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let draft = match self.read_product() {
            Ok(draft) => draft,
            Err(error) => {
                self.ended = true;
                return Some(Err(error.into()));
            }
        };
        let Some(draft) = draft else {
            self.ended = true;
            return None;
        };
        let product = draft.finish(&self.columns, &self.options, &mut self.skus);
        match &product {
            Ok(product) => {
                self.summary.products += 1;
                self.summary.variants += product.variants.len() as u64;
                let derived = product.variants.iter().filter(|variant| variant.sku_was_derived).count();
                self.summary.derived_skus += derived as u64;
            }
            Err(_) => self.summary.refused += 1,
        }
        Some(product.map_err(ImportError::from))
    }
}

/// Reads one row within its allowance; false at the end of the file.
fn read_record<R: Read>(
    csv: &mut csv::Reader<BoundedLines<R>>,
    record: &mut ByteRecord,
) -> Result<bool, FileError> {
    let line = csv.position().line();
    csv.get_mut().allow(MAX_ROW_BYTES);
    csv.read_byte_record(record).map_err(|source| {
        if csv.get_ref().is_exhausted() {
            FileError::RowTooLong { line, limit: MAX_ROW_BYTES }
        } else {
            FileError::Read { line, source }
        }
    })
}

/// Line breaks inside the row's quotes.
fn line_breaks(record: &ByteRecord) -> u64 {
    record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64
}
