//! Money: an integer number of a currency's smallest units. Amounts of different currencies never meet, and
//! sums that do not fit are no sums.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An ISO 4217 alphabetic code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// The text is not three upper-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 4217 code of three upper-case letters")]
pub struct MalformedCurrency;

impl Currency {
    pub fn parse(code: &str) -> Result<Self, MalformedCurrency> {
        let letters: [u8; 3] = code.as_bytes().try_into().map_err(|_| MalformedCurrency)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(MalformedCurrency) }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is three ASCII letters")
    }
}

impl TryFrom<String> for Currency {
    type Error = MalformedCurrency;

    fn try_from(code: String) -> Result<Self, MalformedCurrency> {
        Self::parse(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount. Its sign and size are not limited here: which amounts may be charged is a rule of the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    pub currency: Currency,
    /// 1250 of EUR is 12.50 euro, 1250 of JPY is 1250 yen.
    pub minor_units: i64,
}

impl Money {
    pub fn new(currency: Currency, minor_units: i64) -> Self {
        Self { currency, minor_units }
    }

    /// No money, in the same currency.
    pub fn zero(&self) -> Self {
        Self::new(self.currency, 0)
    }

    /// The sum; `None` for another currency, or when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = self.minor_units.checked_add(other.minor_units)?;
        (self.currency == other.currency).then_some(Self::new(self.currency, sum))
    }

    /// The difference; `None` for another currency, or when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let difference = self.minor_units.checked_sub(other.minor_units)?;
        (self.currency == other.currency).then_some(Self::new(self.currency, difference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(code: &str, minor_units: i64) -> Money {
        Money::new(Currency::parse(code).unwrap(), minor_units)
    }

    #[test]
    fn a_currency_is_three_upper_case_letters() {
        assert_eq!(Currency::parse("EUR").unwrap().as_str(), "EUR");
        for wrong in ["", "EU", "EURO", "eur", "E1R", "ÄÖ"] {
            assert_eq!(Currency::parse(wrong), Err(MalformedCurrency), "{wrong}");
        }
        assert!(serde_json::from_str::<Currency>("\"eur\"").is_err());
    }

    #[test]
    fn currencies_never_mix() {
        assert_eq!(money("EUR", 5).checked_add(money("EUR", 6)), Some(money("EUR", 11)));
        assert_eq!(money("EUR", 5).checked_add(money("USD", 6)), None);
        assert_eq!(money("EUR", 5).checked_sub(money("USD", 5)), None);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_no_sum() {
        assert_eq!(money("EUR", i64::MAX).checked_add(money("EUR", 1)), None);
        assert_eq!(money("EUR", i64::MIN).checked_sub(money("EUR", 1)), None);
    }
}
