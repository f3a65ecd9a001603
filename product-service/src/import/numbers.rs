//! Prices and quantities as exports write them. Nothing is guessed and nothing is rounded: a number that could mean
//! two things, or that the currency cannot express, is refused.

use super::issue::Rule;
use super::limits::{MAX_PRICE_MINOR, MAX_QUANTITY};
use crate::domain::Currency;

/// A refused number: the rule, and a sentence for the person who repairs the file.
pub(super) type NumberError = (Rule, String);

/// The price in minor units of the currency. Takes digits, and a point with decimals (`50`, `69.99`); decimals that
/// the currency does not have must be zeros (`1200.00` in JPY).
pub(super) fn price(text: &str, currency: Currency) -> Result<i64, NumberError> {
    let refuse = |rule, why: &str| Err((rule, why.to_owned()));
    if text.starts_with(['-', '\u{2212}']) {
        return refuse(Rule::PriceNegative, "a price cannot be negative");
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if !is_digits(whole) || !is_digits(decimals) {
        return if has_separator(text) {
            refuse(
                Rule::PriceSeparator,
                "thousands separators and decimal commas are ambiguous: write 1299.00",
            )
        } else {
            refuse(Rule::PriceFormat, "a price is digits, with a point before the decimals: 69.99")
        };
    }
    let exponent = currency.exponent() as usize;
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > exponent {
        let message = format!("{currency} has {exponent} decimals");
        return Err((Rule::PriceDecimals, message));
    }
    format!("{whole}{decimals:0<exponent$}")
        .parse::<i64>()
        .ok()
        .filter(|minor| *minor <= MAX_PRICE_MINOR)
        .ok_or_else(|| (Rule::PriceTooLarge, format!("a price is at most {MAX_PRICE_MINOR} minor units")))
}

/// What a quantity cell says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Pieces(u32),
    /// Real exports have it: more was sold than was counted.
    Negative,
}

/// The number of pieces.
pub(super) fn quantity(text: &str) -> Result<Quantity, NumberError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !is_digits(digits) {
        return Err((Rule::QuantityFormat, "a quantity is a whole number".to_owned()));
    }
    match digits.parse::<u32>() {
        Ok(pieces) if pieces == 0 || (pieces <= MAX_QUANTITY && digits.len() == text.len()) => {
            Ok(Quantity::Pieces(pieces))
        }
        _ if digits.len() < text.len() => Ok(Quantity::Negative),
        _ => Err((Rule::QuantityTooLarge, format!("a quantity is at most {MAX_QUANTITY}"))),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Only digits and what people group them with.
fn has_separator(text: &str) -> bool {
    let grouping = |c: char| matches!(c, ',' | '.' | '\'' | '\u{2019}' | '_') || c.is_whitespace();
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || grouping(c))
        && text.chars().filter(|c| grouping(*c)).any(|c| c != '.' || text.matches('.').count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_currency(text: &str, code: &str) -> Result<i64, Rule> {
        price(text, code.parse().expect(code)).map_err(|(rule, _)| rule)
    }

    #[test]
    fn prices_become_minor_units_by_the_decimals_of_their_currency() {
        for (text, code, minor) in [
            ("50", "EUR", 5_000),
            ("69.99", "EUR", 6_999),
            ("69.9", "EUR", 6_990),
            ("0", "EUR", 0),
            ("0.00", "EUR", 0),
            ("007.50", "EUR", 750),
            ("19.990000", "EUR", 1_999),
            ("1200", "JPY", 1_200),
            ("1200.00", "JPY", 1_200),
            ("1.234", "KWD", 1_234),
            ("1000000000.00", "EUR", MAX_PRICE_MINOR),
        ] {
            assert_eq!(in_currency(text, code), Ok(minor), "{text} {code}");
        }
    }

    #[test]
    fn a_price_that_needs_a_guess_is_refused_by_the_rule_it_breaks() {
        for (text, code, rule) in [
            ("1,299.00", "EUR", Rule::PriceSeparator),
            ("1.299,00", "EUR", Rule::PriceSeparator),
            ("1 299", "EUR", Rule::PriceSeparator),
            ("1'299.00", "EUR", Rule::PriceSeparator),
            ("1.299.000", "EUR", Rule::PriceSeparator),
            ("69,99", "EUR", Rule::PriceSeparator),
            ("-1", "EUR", Rule::PriceNegative),
            ("-0.00", "EUR", Rule::PriceNegative),
            ("NaN", "EUR", Rule::PriceFormat),
            ("inf", "EUR", Rule::PriceFormat),
            ("1e3", "EUR", Rule::PriceFormat),
            ("+5", "EUR", Rule::PriceFormat),
            ("50.", "EUR", Rule::PriceFormat),
            (".50", "EUR", Rule::PriceFormat),
            ("", "EUR", Rule::PriceFormat),
            ("\u{20ac} 5", "EUR", Rule::PriceFormat),
            ("\u{664}\u{662}", "EUR", Rule::PriceFormat),
            ("1.999", "EUR", Rule::PriceDecimals),
            ("1200.50", "JPY", Rule::PriceDecimals),
            ("1.2345", "KWD", Rule::PriceDecimals),
            ("1000000000.01", "EUR", Rule::PriceTooLarge),
            ("99999999999999999999999999", "EUR", Rule::PriceTooLarge),
        ] {
            assert_eq!(in_currency(text, code), Err(rule), "{text} {code}");
        }
    }

    #[test]
    fn quantities_are_whole_and_bounded_and_only_a_negative_one_is_forgiven() {
        let read = |text| quantity(text).map_err(|(rule, _)| rule);
        assert_eq!(read("0"), Ok(Quantity::Pieces(0)));
        assert_eq!(read("-0"), Ok(Quantity::Pieces(0)));
        assert_eq!(read("10000000"), Ok(Quantity::Pieces(MAX_QUANTITY)));
        assert_eq!(read("-3"), Ok(Quantity::Negative));
        assert_eq!(read("-99999999999999999999"), Ok(Quantity::Negative));
        assert_eq!(read("10000001"), Err(Rule::QuantityTooLarge));
        assert_eq!(read("99999999999999999999"), Err(Rule::QuantityTooLarge));
        for text in ["", "-", "--1", "1.5", "5.0", "1e3", "ten", "1 000"] {
            assert_eq!(read(text), Err(Rule::QuantityFormat), "{text:?}");
        }
    }
}
