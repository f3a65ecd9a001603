//! Every bound of a product in one place; the import keeps to the same. They decide how large a state, an event and
//! a page can become.

/// Variants of one product.
pub const MAX_VARIANTS: usize = 2_048;
/// Options of one product, such as size and colour.
pub const MAX_OPTIONS: usize = 3;
/// Images of one product.
pub const MAX_IMAGES: usize = 250;
/// Tags of one product.
pub const MAX_TAGS: usize = 250;
/// Attributes of one product.
pub const MAX_ATTRIBUTES: usize = 100;
/// Levels of a category path.
pub const MAX_CATEGORY_DEPTH: usize = 10;

/// Characters of a handle, a name, a brand, a supplier, a tag, a category level, an option name or value, or the
/// name of an attribute.
pub const MAX_NAME_CHARS: usize = 255;
/// Characters of an attribute's value.
pub const MAX_ATTRIBUTE_CHARS: usize = 1_000;
/// Bytes of a description.
pub const MAX_BODY_BYTES: usize = 512 * 1024;
/// Characters of a SKU, derived ones included.
pub const MAX_SKU_CHARS: usize = 100;
/// Bytes of a SKU or a handle: they are part of a stream id, whose length is limited.
pub const MAX_KEY_BYTES: usize = 240;
/// Characters of a barcode.
pub const MAX_BARCODE_CHARS: usize = 64;
/// Characters of an image address.
pub const MAX_URL_CHARS: usize = 2_048;
/// Characters of an image's alternative text.
pub const MAX_ALT_CHARS: usize = 512;
/// Characters of the reason for a change.
pub const MAX_REASON_CHARS: usize = 200;

/// Prices to come of one variant.
pub const MAX_SCHEDULED_PER_VARIANT: usize = 10;
/// Prices to come of one product. They are part of every view of it.
pub const MAX_SCHEDULED_PER_PRODUCT: usize = 2_048;
/// How far ahead a price can be scheduled, in days: two years.
pub const MAX_SCHEDULED_DAYS: i64 = 731;
/// Scheduled prices that have ended and are still known by their ids: who withdraws one of those learns what became
/// of it, and of an older one only that it is not there.
pub const ENDED_SCHEDULES_KNOWN: usize = 100;

/// The highest price, in minor units: times the largest quantity it is still far below `i64::MAX`.
pub const MAX_PRICE_MINOR: i64 = 100_000_000_000;

/// Variants in one event; those of a larger product take several. So an event stays below 400 kB at the very worst,
/// and is some 15 kB as a rule.
pub const VARIANTS_PER_EVENT: usize = 100;
/// Numbers tried behind a derived handle that is taken, before a part of the product's id follows it instead.
pub const MAX_NUMBERED_HANDLES: usize = 20;
