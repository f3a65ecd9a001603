//! The rules of a product that a command can break.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::super::limits::{
    MAX_SCHEDULED_DAYS, MAX_SCHEDULED_PER_PRODUCT, MAX_SCHEDULED_PER_VARIANT, MAX_VARIANTS,
};
use super::super::{Currency, Handle, ProductId, ScheduleId, Sku};

/// The broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProductError {
    #[error("there is no such product")]
    UnknownProduct,
    #[error("the product exists already")]
    ProductExists,
    #[error("the product is discontinued and does not change until it is reinstated")]
    ProductIsDiscontinued,
    #[error("a product that was published does not become a draft again")]
    ProductIsPublished,
    #[error("a variant of this product has the options {}", named(expected))]
    OptionsDiffer { expected: Vec<String> },
    #[error("the variant {sku} has these option values already")]
    OptionValuesTaken { index: usize, sku: Sku },
    #[error("the prices of this product are in {expected}")]
    CurrencyDiffers { expected: Currency },
    #[error("a product has at most {MAX_VARIANTS} variants")]
    TooManyVariants,
    #[error("the product has no variant {sku}")]
    UnknownVariant { sku: Sku },
    #[error(
        "a scheduled price takes effect at a time to come: for one that counts at once, change the price"
    )]
    EffectiveTimeNotAhead,
    #[error("a price is scheduled at most {MAX_SCHEDULED_DAYS} days ahead")]
    EffectiveTimeTooFar,
    /// Which of two would count is not for chance to say.
    #[error("the variant {sku} has another scheduled price for the same time")]
    EffectiveTimeTaken { sku: Sku, schedule_id: ScheduleId },
    #[error("a variant has at most {MAX_SCHEDULED_PER_VARIANT} scheduled prices")]
    TooManyScheduledForVariant,
    #[error("a product has at most {MAX_SCHEDULED_PER_PRODUCT} scheduled prices")]
    TooManyScheduled,
    #[error("the product has no such scheduled price")]
    UnknownSchedule { schedule_id: ScheduleId },
    #[error("the scheduled price is in effect already: change the price instead")]
    ScheduleInEffect { schedule_id: ScheduleId },
    #[error("the scheduled price takes effect at {effective_at}, which is still to come")]
    ScheduleNotDue { effective_at: DateTime<Utc> },
    /// `index` is the variant's place in the command.
    #[error("the SKU {sku} belongs to a variant of another or of this product already")]
    SkuTaken { index: usize, sku: Sku, product_id: ProductId },
    #[error("another product has the handle {handle}")]
    HandleTaken { handle: Handle, product_id: ProductId },
}

fn named(options: &[String]) -> String {
    if options.is_empty() { "none".to_owned() } else { options.join(", ") }
}
