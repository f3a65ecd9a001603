//! Every bound of the import in one place. A file is hostile input: whatever it holds, one product at a time and
//! these sizes decide how much memory reading it takes.

/// Bytes of one row, line breaks inside quotes included. A quote that is never closed ends here instead of
/// swallowing the file.
pub const MAX_ROW_BYTES: usize = 4 * 1024 * 1024;
/// Rows of one file, the header not counted.
pub const MAX_ROWS: u64 = 2_000_000;
/// Columns of one file.
pub const MAX_COLUMNS: usize = 2_000;
/// Characters of one column name.
pub const MAX_COLUMN_NAME_CHARS: usize = 255;

/// Variants of one product.
pub const MAX_VARIANTS: usize = 2_048;
/// Images of one product.
pub const MAX_IMAGES: usize = 250;
/// Tags of one product.
pub const MAX_TAGS: usize = 250;
/// Levels of a category path.
pub const MAX_CATEGORY_DEPTH: usize = 10;

/// Characters of a handle, a title, a vendor, a supplier, a tag, a category level, an option name or value.
pub const MAX_NAME_CHARS: usize = 255;
/// Characters of all tags, or of a whole category path, before they are split.
pub const MAX_LIST_CHARS: usize = 16_384;
/// Bytes of an HTML body.
pub const MAX_BODY_BYTES: usize = 512 * 1024;
/// Characters of a SKU, derived ones included.
pub const MAX_SKU_CHARS: usize = 100;
/// Characters of a barcode.
pub const MAX_BARCODE_CHARS: usize = 64;
/// Characters of an image address.
pub const MAX_URL_CHARS: usize = 2_048;
/// Characters of an image's alternative text.
pub const MAX_ALT_CHARS: usize = 512;
/// Characters of a number, a truth value, a status or a currency code.
pub const MAX_WORD_CHARS: usize = 64;

/// The highest price, in minor units: times a quantity of `MAX_QUANTITY` it is still far below `i64::MAX`.
pub const MAX_PRICE_MINOR: i64 = 100_000_000_000;
/// The highest quantity of one variant.
pub const MAX_QUANTITY: u32 = 10_000_000;

/// Issues kept of one product, errors and warnings each; further ones are counted.
pub const MAX_ISSUES: usize = 50;
/// Characters of a value that a message quotes.
pub const MAX_QUOTED_CHARS: usize = 40;
