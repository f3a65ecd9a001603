//! The rules of a product that a command can break.

use serde::{Deserialize, Serialize};

use super::super::limits::MAX_VARIANTS;
use super::super::{Currency, Handle, ProductId, Sku};

/// The broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProductError {
    #[error("there is no such product")]
    UnknownProduct,
    #[error("the product exists already")]
    ProductExists,
    #[error("the product is discontinued and does not change any more")]
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
    /// `index` is the variant's place in the command.
    #[error("the SKU {sku} belongs to a variant of another or of this product already")]
    SkuTaken { index: usize, sku: Sku, product_id: ProductId },
    #[error("another product has the handle {handle}")]
    HandleTaken { handle: Handle, product_id: ProductId },
}

fn named(options: &[String]) -> String {
    if options.is_empty() { "none".to_owned() } else { options.join(", ") }
}
