//! Variants of a product, and what makes a set of them consistent: one currency, the same options in the same
//! order, and no two with the same SKU or the same option values.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Currency;
use super::limits::{MAX_BARCODE_CHARS, MAX_NAME_CHARS, MAX_OPTIONS, MAX_VARIANTS};
use super::text;
use super::values::{InvalidValue, Price, Sku, Violation};

/// What stands between the option values in a variant's title.
const TITLE_SEPARATOR: &str = " / ";

/// A variant as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    pub sku: Sku,
    /// One for each of the product's options, in their order.
    pub option_values: Vec<String>,
    pub price: Price,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barcode: Option<String>,
}

/// What a shop needs to sell a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub sku: Sku,
    /// The option values joined by ` / `; empty without options.
    pub title: String,
    pub price: Price,
}

impl From<&Variant> for Offer {
    fn from(variant: &Variant) -> Self {
        let title = variant.option_values.join(TITLE_SEPARATOR);
        Self { sku: variant.sku.clone(), title, price: variant.price }
    }
}

/// A variant as somebody asks for it, not checked beyond SKU and price.
#[derive(Clone, Debug)]
pub struct NewVariant {
    pub sku: Sku,
    /// Names and values.
    pub options: Vec<(String, String)>,
    pub price: Price,
    /// Empty when there is none.
    pub barcode: String,
}

/// Variants that go together; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assortment {
    options: Vec<String>,
    currency: Currency,
    variants: Vec<Variant>,
}

impl Assortment {
    /// Checks variants, of which `wanted[i]` stands in the request at `variants[i]`.
    ///
    /// # Errors
    /// Every rule that is broken, with the field.
    pub fn check(wanted: Vec<NewVariant>) -> Result<Self, Vec<Violation>> {
        let Some(first) = wanted.first() else {
            return Err(vec![("variants".into(), InvalidValue::Empty)]);
        };
        if wanted.len() > MAX_VARIANTS {
            return Err(vec![("variants".into(), InvalidValue::TooMany(MAX_VARIANTS))]);
        }
        let currency = first.price.currency;
        let options: Vec<String> = first.options.iter().map(|(name, _)| name.clone()).collect();
        let mut violations = Vec::new();
        check_names(&options, &mut violations);
        let mut skus: HashMap<&str, usize> = HashMap::new();
        let mut values: HashMap<Vec<&str>, usize> = HashMap::new();
        for (index, variant) in wanted.iter().enumerate() {
            let mut refuse = |field: &str, why| violations.push((format!("variants[{index}].{field}"), why));
            if let Some(first) = skus.insert(variant.sku.as_str(), index) {
                refuse("sku", InvalidValue::Repeated(first));
            }
            if variant.price.currency != currency {
                refuse("price.currency_code", InvalidValue::MixedCurrencies);
            }
            if let Err(why) = text::line(&variant.barcode, MAX_BARCODE_CHARS) {
                refuse("barcode", why);
            }
            for (at, (_, value)) in variant.options.iter().enumerate() {
                if let Err(why) = text::filled_line(value, MAX_NAME_CHARS) {
                    refuse(&format!("options[{at}].value"), why);
                }
            }
            if !variant.options.iter().map(|(name, _)| name).eq(&options) {
                refuse("options", InvalidValue::OptionsDiffer);
            } else if let Some(first) =
                values.insert(variant.options.iter().map(|(_, value)| value.as_str()).collect(), index)
            {
                refuse("options", InvalidValue::OptionValuesRepeated(first));
            }
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let variants = wanted.into_iter().map(Variant::from).collect();
        Ok(Self { options, currency, variants })
    }

    /// The names of the options, in order.
    pub fn options(&self) -> &[String] {
        &self.options
    }

    pub fn currency(&self) -> Currency {
        self.currency
    }

    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// Those variants that `keep` wants; `None` when it wants none.
    pub fn filtered(&self, keep: impl Fn(&Variant) -> bool) -> Option<Self> {
        let variants: Vec<_> = self.variants.iter().filter(|variant| keep(variant)).cloned().collect();
        (!variants.is_empty()).then(|| Self { variants, options: self.options.clone(), ..*self })
    }
}

fn check_names(options: &[String], violations: &mut Vec<Violation>) {
    if options.len() > MAX_OPTIONS {
        violations.push(("variants[0].options".into(), InvalidValue::TooMany(MAX_OPTIONS)));
    }
    for (at, name) in options.iter().enumerate() {
        let field = || format!("variants[0].options[{at}].name");
        if let Err(why) = text::filled_line(name, MAX_NAME_CHARS) {
            violations.push((field(), why));
        }
        if let Some(first) = options[..at].iter().position(|other| other == name) {
            violations.push((field(), InvalidValue::Repeated(first)));
        }
    }
}

impl From<NewVariant> for Variant {
    fn from(wanted: NewVariant) -> Self {
        Self {
            sku: wanted.sku,
            option_values: wanted.options.into_iter().map(|(_, value)| value).collect(),
            price: wanted.price,
            barcode: (!wanted.barcode.is_empty()).then_some(wanted.barcode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(sku: &str, options: &[(&str, &str)], currency: &str) -> NewVariant {
        NewVariant {
            sku: Sku::parse(sku).unwrap(),
            options: options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            price: Price::new(100, Currency::from_code(currency).unwrap()).unwrap(),
            barcode: String::new(),
        }
    }

    fn violations(wanted: Vec<NewVariant>) -> Vec<Violation> {
        Assortment::check(wanted).unwrap_err()
    }

    #[test]
    fn a_single_variant_needs_no_options() {
        let assortment = Assortment::check(vec![variant("A", &[], "EUR")]).unwrap();
        assert!(assortment.options().is_empty());
        assert_eq!(Offer::from(&assortment.variants()[0]).title, "");
    }

    #[test]
    fn the_title_of_a_variant_is_its_option_values() {
        let size = variant("A", &[("Size", "M"), ("Colour", "Red")], "EUR");
        let assortment = Assortment::check(vec![size]).unwrap();
        assert_eq!(Offer::from(&assortment.variants()[0]).title, "M / Red");
    }

    #[test]
    fn a_sku_that_stands_twice_is_named_with_its_place() {
        let wanted = vec![variant("A", &[("Size", "M")], "EUR"), variant("A", &[("Size", "L")], "EUR")];
        assert_eq!(violations(wanted), [("variants[1].sku".to_owned(), InvalidValue::Repeated(0))]);
    }

    #[test]
    fn variants_share_options_and_currency_and_differ_in_values() {
        let wanted = vec![
            variant("A", &[("Size", "M")], "EUR"),
            variant("B", &[("Size", "M")], "EUR"),
            variant("C", &[("Colour", "M")], "EUR"),
            variant("D", &[], "EUR"),
            variant("E", &[("Size", "")], "USD"),
        ];
        let expected = [
            ("variants[1].options", InvalidValue::OptionValuesRepeated(0)),
            ("variants[2].options", InvalidValue::OptionsDiffer),
            ("variants[3].options", InvalidValue::OptionsDiffer),
            ("variants[4].price.currency_code", InvalidValue::MixedCurrencies),
            ("variants[4].options[0].value", InvalidValue::Empty),
        ];
        assert_eq!(violations(wanted), expected.map(|(field, why)| (field.to_owned(), why)));
        let twice = vec![variant("A", &[], "EUR"), variant("B", &[], "EUR")];
        assert_eq!(
            violations(twice),
            [("variants[1].options".into(), InvalidValue::OptionValuesRepeated(0))]
        );
    }

    #[test]
    fn option_names_are_few_distinct_and_not_empty() {
        let wanted = vec![variant("A", &[("", "1"), ("B", "2"), ("B", "3"), ("C", "4")], "EUR")];
        let expected = [
            ("variants[0].options", InvalidValue::TooMany(MAX_OPTIONS)),
            ("variants[0].options[0].name", InvalidValue::Empty),
            ("variants[0].options[2].name", InvalidValue::Repeated(1)),
        ];
        assert_eq!(violations(wanted), expected.map(|(field, why)| (field.to_owned(), why)));
    }

    #[test]
    fn a_product_has_at_least_one_variant_and_not_too_many() {
        assert_eq!(violations(vec![]), [("variants".into(), InvalidValue::Empty)]);
        let many =
            |n: usize| (0..n).map(|i| variant(&format!("S{i}"), &[("N", &i.to_string())], "EUR")).collect();
        assert!(Assortment::check(many(MAX_VARIANTS)).is_ok());
        let expected = [("variants".into(), InvalidValue::TooMany(MAX_VARIANTS))];
        assert_eq!(violations(many(MAX_VARIANTS + 1)), expected);
    }
}
