//! The bounds of a file. It is hostile input: whatever it holds, one product at a time and these sizes decide how
//! much memory reading it takes. The bounds of a product are the domain's.

pub use crate::domain::limits::{
    MAX_ALT_CHARS, MAX_BARCODE_CHARS, MAX_BODY_BYTES, MAX_CATEGORY_DEPTH, MAX_IMAGES, MAX_NAME_CHARS,
    MAX_PRICE_MINOR, MAX_SKU_CHARS, MAX_TAGS, MAX_URL_CHARS, MAX_VARIANTS,
};

/// Bytes of one row, line breaks inside quotes included. A quote that is never closed ends here instead of
/// swallowing the file.
pub const MAX_ROW_BYTES: usize = 4 * 1024 * 1024;
/// Rows of one file, the header not counted.
pub const MAX_ROWS: u64 = 2_000_000;
/// Columns of one file.
pub const MAX_COLUMNS: usize = 2_000;
/// Characters of one column name.
pub const MAX_COLUMN_NAME_CHARS: usize = 255;
/// Characters of all tags, or of a whole category path, before they are split.
pub const MAX_LIST_CHARS: usize = 16_384;
/// Characters of a number, a truth value, a status or a currency code.
pub const MAX_WORD_CHARS: usize = 64;
/// The highest quantity of one variant.
pub const MAX_QUANTITY: u32 = 10_000_000;
/// Issues kept of one product, errors and warnings each; further ones are counted.
pub const MAX_ISSUES: usize = 50;
/// Characters of a value that a message quotes.
pub const MAX_QUOTED_CHARS: usize = 40;
