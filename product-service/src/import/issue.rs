//! What can be wrong with a file, with a product in it, and with one cell. Messages are for the person who repairs
//! the file, rules are for scripts; neither decides what happens to the other products.

use std::fmt;

use serde::Serialize;

use super::limits::{MAX_ISSUES, MAX_QUOTED_CHARS};

/// Why the import yields no product at this place.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// This product is skipped, the others go on.
    #[error(transparent)]
    Refused(#[from] RefusedProduct),
    /// Nothing after this point can be read; the product that was being read is lost with it.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a file cannot be read at all, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file has no header line")]
    Empty,
    #[error("the file is UTF-16: save it as \"CSV UTF-8\"")]
    Utf16,
    #[error("the name of column {number} is not UTF-8: save the file as \"CSV UTF-8\"")]
    HeaderNotUtf8 { number: usize },
    #[error("the columns are separated by {found}: save the file with commas")]
    Delimiter { found: &'static str },
    #[error("the header has no column {wanted}")]
    MissingColumn { wanted: String },
    #[error("the columns \"{first}\" and \"{second}\" mean the same: remove one")]
    RepeatedColumn { first: String, second: String },
    #[error("the header has {found} columns, at most {limit} are read")]
    TooManyColumns { found: usize, limit: usize },
    #[error("the file has more than {limit} rows: split it")]
    TooManyRows { limit: u64 },
    #[error("the row at line {line} is longer than {limit} bytes: is a quote left open?")]
    RowTooLong { line: u64, limit: usize },
    #[error("reading stopped at line {line}")]
    Read { line: u64, source: csv::Error },
}

/// A product that is not imported, with everything that is wrong in its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("product {handle:?} (lines {first_line} to {last_line}) is refused: {} errors", self.error_count())]
pub struct RefusedProduct {
    /// The handle, as far as it could be read.
    pub handle: String,
    /// The line of its first row, counted from 1 (the header).
    pub first_line: u64,
    /// The last line of its last row.
    pub last_line: u64,
    /// In the order of the file, at most [`MAX_ISSUES`].
    pub errors: Vec<RowIssue>,
    /// How many errors there were beyond those.
    pub more_errors: u64,
    pub warnings: Vec<RowIssue>,
}

impl RefusedProduct {
    /// All errors, also those that were not kept.
    pub fn error_count(&self) -> u64 {
        self.errors.len() as u64 + self.more_errors
    }
}

/// One thing that is wrong, or doubtful, in one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowIssue {
    /// The line on which the row begins, counted from 1 (the header).
    pub line: u64,
    /// The name of the column as the header spells it; none when the whole row is meant.
    pub column: Option<String>,
    pub rule: Rule,
    /// One sentence for the person who repairs the file.
    pub message: String,
}

impl fmt::Display for RowIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column:?}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The broken rule. Those marked as warnings do not refuse the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// More or fewer cells than the header has columns.
    RowShape,
    /// Warning: a row that says nothing but its handle.
    EmptyRow,
    InvalidUtf8,
    TooLong,
    TooMany,
    HandleMissing,
    /// It could not stand in an address as it is, or is too long.
    HandleFormat,
    /// The rows of one handle must stand together.
    HandleReappears,
    TitleMissing,
    /// Warning: two rows of a product disagree; the first one counts.
    ValueConflict,
    StatusUnknown,
    PublishedUnknown,
    CurrencyUnknown,
    CurrencyMixed,
    PriceMissing,
    PriceFormat,
    /// `1,299.00` or `1.299,00`: which of them is the decimal point is a guess, so none is made.
    PriceSeparator,
    PriceNegative,
    PriceDecimals,
    PriceTooLarge,
    QuantityFormat,
    QuantityTooLarge,
    /// Warning: counted as zero.
    QuantityNegative,
    OptionNameMissing,
    OptionNameConflict,
    OptionNameRepeated,
    OptionValueMissing,
    /// Warning: an option that no variant has a value for is left out.
    OptionUnused,
    VariantMissing,
    VariantRepeated,
    SkuRepeated,
    /// Warning: a spreadsheet has rounded the barcode; it is left out.
    BarcodeMangled,
    ImageUrl,
    /// Attributes are a JSON object of texts, or break a rule of the catalogue.
    AttributesFormat,
    /// Warning: the order of the rows counts.
    ImagePosition,
}

/// A bounded list of issues.
#[derive(Debug, Default)]
pub(super) struct Issues {
    pub list: Vec<RowIssue>,
    pub more: u64,
}

impl Issues {
    pub fn push(&mut self, line: u64, column: Option<&str>, rule: Rule, message: impl Into<String>) {
        if self.list.len() < MAX_ISSUES {
            let column = column.map(str::to_owned);
            self.list.push(RowIssue { line, column, rule, message: message.into() });
        } else {
            self.more += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A value as a message may show it: short, and without anything a terminal would obey.
pub(super) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(MAX_QUOTED_CHARS).flat_map(char::escape_debug).collect();
    if value.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}
