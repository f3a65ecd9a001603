//! What is said of a product that is not imported: by the reading of the file, or by the shop. Which statuses refuse
//! one product, and which say that the import cannot go on, is decided here; what a rule means is the shop's matter.

use std::fmt;

use product_service::import::{ImportedProduct, RefusedProduct};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::running::explain;

/// A refused product as it is printed, in text or in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Refusal {
    /// Its rows break the rules of the format.
    ByFile(Box<RefusedProduct>),
    /// Its rows can be read, and what they say goes against what is in the shop.
    ByShop(ShopRefusal),
}

/// The fields that both kinds have are named alike.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ShopRefusal {
    handle: String,
    /// The line of the product's first row, counted from 1 (the header).
    first_line: u64,
    /// The last line of its last row.
    last_line: u64,
    errors: Vec<ShopError>,
}

/// Why the shop refuses.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ShopError {
    /// The line of the variant that is meant, or of the product's first row.
    line: u64,
    /// The shop's reason, such as `SKU_TAKEN`.
    rule: String,
    /// What is wrong and what to do.
    message: String,
}

/// Whether the status answers this product, so that the others can go on.
pub fn answers_one_product(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::AlreadyExists
            // No message can hold it.
            | Code::OutOfRange
    )
}

impl Refusal {
    pub fn handle(&self) -> &str {
        match self {
            Self::ByFile(refused) => &refused.handle,
            Self::ByShop(refused) => &refused.handle,
        }
    }

    /// The last line of the product's last row.
    pub fn last_line(&self) -> u64 {
        match self {
            Self::ByFile(refused) => refused.last_line,
            Self::ByShop(refused) => refused.last_line,
        }
    }
}

impl ShopRefusal {
    /// The shop does not import the product.
    pub fn of_product(product: &ImportedProduct, status: &Status) -> Self {
        Self::new(product, line_of(product, status), "", status)
    }

    /// The product is imported, and the quantity of one of its variants is not received.
    pub fn of_stock(product: &ImportedProduct, line: u64, status: &Status) -> Self {
        Self::new(product, line, "the product is imported, this stock is not received: ", status)
    }

    fn new(product: &ImportedProduct, line: u64, before: &str, status: &Status) -> Self {
        let rule = reason_of(status);
        let message = format!("{before}{}: {}", explain(status), what_to_do(&rule));
        Self {
            handle: product.handle.clone(),
            first_line: product.first_line,
            last_line: product.last_line,
            errors: vec![ShopError { line, rule, message }],
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByFile(refused) => {
                write!(f, "{refused}")?;
                refused.errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
            Self::ByShop(ShopRefusal { handle, first_line, last_line, errors }) => {
                write!(f, "product {handle:?} (lines {first_line} to {last_line}) is refused by the shop")?;
                errors.iter().try_for_each(|error| write!(f, "\n  line {}: {}", error.line, error.message))
            }
        }
    }
}

fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The row of the variant that the shop means: it names the field of the request, or a SKU.
fn line_of(product: &ImportedProduct, status: &Status) -> u64 {
    let details = status.get_error_details();
    let fact = |name| details.error_info().and_then(|info| info.metadata.get(name));
    let violated = details.bad_request().and_then(|bad| bad.field_violations.first());
    let field = violated.map(|violation| &violation.field).or_else(|| fact("field"));
    let by_field = field.and_then(|field| {
        let (index, _) = field.strip_prefix("variants[")?.split_once(']')?;
        product.variants.get(index.parse::<usize>().ok()?)
    });
    let by_sku = || product.variants.iter().find(|variant| Some(&variant.sku) == fact("sku"));
    by_field.or_else(by_sku).map_or(product.first_line, |variant| variant.line)
}

/// What the person who has the file can do about it.
fn what_to_do(reason: &str) -> &'static str {
    match reason {
        "SKU_TAKEN" => "give the variant a SKU of its own, or the handle of the product that has it",
        "CURRENCY_DIFFERS" => "give its prices in the currency that it has, see `--currency`",
        "OPTIONS_DIFFER" => "give its new variants the options that it has",
        "OPTION_VALUES_TAKEN" => {
            "give the new variant other option values, or the SKU that it has in the shop"
        }
        "TOO_MANY_VARIANTS" => "those that only the shop has count too: make two products of it",
        _ => "correct the product in the file and import the file again",
    }
}

#[cfg(test)]
mod tests {
    use product_service::import::{ImportOptions, ProductRows};
    use service_runtime::status::{already_exists, permission_denied};
    use service_runtime::status::{failed_precondition, invalid_field, lost_race, not_found, overloaded};

    use super::*;

    const FILE: &[u8] = b"Handle,Title,Option1 Name,Option1 Value,SKU,Price\n\
        mug,Mug,Colour,Red,MUG-R,1.00\n\
        lamp,Lamp,Colour,Red,LAMP-R,1.00\n\
        lamp,,,Blue,LAMP-B,1.00\n";

    fn lamp() -> ImportedProduct {
        let products = ProductRows::new(FILE, ImportOptions::default()).unwrap();
        products.map(Result::unwrap).find(|product| product.handle == "lamp").unwrap()
    }

    fn taken(sku: &str) -> Status {
        failed_precondition("SKU_TAKEN", format!("the SKU {sku} belongs to another"), [("sku", sku.into())])
    }

    #[test]
    fn only_what_the_shop_says_of_the_product_itself_lets_the_others_go_on() {
        let of_product = [taken("A"), invalid_field("name", "is empty"), not_found("A", "b", "c")];
        for status in of_product.iter().chain([&already_exists("A", "b", "c")]) {
            assert!(answers_one_product(status), "{status:?}");
        }
        for status in [overloaded(), lost_race(), permission_denied("A", "b"), Status::internal("")] {
            assert!(!answers_one_product(&status), "{status:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_row_of_the_variant_that_the_shop_means_or_the_first_one() {
        for (status, line) in [
            (taken("LAMP-B"), 4),
            (taken("SOMETHING-ELSE"), 3),
            (invalid_field("variants[1].sku", "is too long"), 4),
            (invalid_field("variants[7].sku", "is too long"), 3),
            (invalid_field("name", "is too long"), 3),
            (Status::not_found(""), 3),
        ] {
            assert_eq!(ShopRefusal::of_product(&lamp(), &status).errors[0].line, line, "{status:?}");
        }
    }

    #[test]
    fn a_refusal_says_where_why_and_what_to_do() {
        let refusal = Refusal::ByShop(ShopRefusal::of_product(&lamp(), &taken("LAMP-B")));
        assert_eq!(
            refusal.to_string(),
            "product \"lamp\" (lines 3 to 4) is refused by the shop\n  line 4: the SKU LAMP-B belongs to another \
             (SKU_TAKEN): give the variant a SKU of its own, or the handle of the product that has it"
        );
        let json = serde_json::to_value(&refusal).unwrap();
        assert_eq!(json["errors"][0]["rule"], "SKU_TAKEN");
        assert_eq!((&json["handle"], &json["first_line"]), (&"lamp".into(), &3.into()));
    }
}
