//! The currencies of ISO 4217 that money is paid in, with the number of decimals of each. Fund codes, precious
//! metals and test codes are left out on purpose: nothing is sold for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What prices are in when neither the file nor the caller says anything.
pub const DEFAULT_CURRENCY: Currency = Currency { code: "EUR", exponent: 2 };

const NO_DECIMALS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";

const TWO_DECIMALS: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP \
    CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES \
    KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK \
    NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB \
    TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";

const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// An active currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: &'static str,
    exponent: u32,
}

/// The text is no active ISO 4217 currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an active ISO 4217 currency code (such as EUR)")]
pub struct UnknownCurrency;

impl Currency {
    /// Three capital letters.
    pub fn code(self) -> &'static str {
        self.code
    }

    /// The currency of exactly this code.
    pub fn from_code(code: &str) -> Result<Self, UnknownCurrency> {
        let currency: Self = code.parse()?;
        if currency.code == code { Ok(currency) } else { Err(UnknownCurrency) }
    }

    /// The number of decimals: a minor unit is 10 to the minus `exponent`.
    pub fn exponent(self) -> u32 {
        self.exponent
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    /// Takes a code in any case, with blanks around it.
    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        let wanted = text.trim();
        [(NO_DECIMALS, 0), (TWO_DECIMALS, 2), (THREE_DECIMALS, 3)]
            .into_iter()
            .find_map(|(codes, exponent)| {
                let code = codes.split(' ').find(|code| code.eq_ignore_ascii_case(wanted))?;
                Some(Currency { code, exponent })
            })
            .ok_or(UnknownCurrency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

/// Stored prices are read back through the table, so a code that was ever in it stays there.
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_code(&code).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_in_any_case_with_its_number_of_decimals() {
        for (text, code, exponent) in
            [(" eur ", "EUR", 2), ("JPY", "JPY", 0), ("kwd", "KWD", 3), ("ZWG", "ZWG", 2)]
        {
            let currency: Currency = text.parse().expect(text);
            assert_eq!((currency.code(), currency.exponent()), (code, exponent));
        }
        assert_eq!("EUR".parse(), Ok(DEFAULT_CURRENCY));
    }

    #[test]
    fn a_code_on_the_wire_and_in_the_log_is_written_exactly() {
        assert_eq!(Currency::from_code("EUR"), Ok(DEFAULT_CURRENCY));
        assert_eq!(Currency::from_code("eur"), Err(UnknownCurrency));
        assert_eq!(serde_json::from_str::<Currency>("\"EUR\"").unwrap(), DEFAULT_CURRENCY);
        assert!(serde_json::from_str::<Currency>("\" EUR\"").is_err());
    }

    #[test]
    fn withdrawn_codes_metals_and_anything_else_are_no_currency() {
        for text in ["", " ", "DEM", "HRK", "XAU", "XXX", "EURO", "EU", "EUR USD", "€"] {
            assert_eq!(text.parse::<Currency>(), Err(UnknownCurrency), "{text:?}");
        }
    }

    #[test]
    fn every_code_of_the_table_is_three_capital_letters_and_stands_in_it_once() {
        let mut codes: Vec<&str> = [NO_DECIMALS, TWO_DECIMALS, THREE_DECIMALS]
            .into_iter()
            .flat_map(|codes| codes.split(' '))
            .collect();
        assert!(
            codes.iter().all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
        );
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
