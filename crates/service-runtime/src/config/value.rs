//! What a variable can hold and how it is written. A type that is missing here is better composed from one
//! that is present and [`check`](super::Var::check) than added.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Secret;

/// Most entries of a list.
const MAX_LIST_ENTRIES: usize = 64;

/// A type of variable.
pub trait ConfigValue: Sized {
    /// Completes the sentence "must be ...".
    const RULE: &'static str;
    /// Whether its values are never shown.
    const SECRET: bool = false;

    fn parse(text: &str) -> Option<Self>;

    /// As one would write it in the environment.
    fn show(&self) -> String;

    /// Takes the place of a required value that is missing; it never leaves the reader.
    fn stand_in() -> Self;

    /// Whether a wrong value may contain a secret all the same.
    fn may_hide_secret(_text: &str) -> bool {
        false
    }
}

macro_rules! parsed {
    ($($type:ty: $rule:literal, $stand_in:expr;)+) => {$(
        impl ConfigValue for $type {
            const RULE: &'static str = $rule;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn stand_in() -> Self {
                $stand_in
            }
        }
    )+};
}

parsed! {
    String: "text", String::new();
    bool: "true or false", false;
    u16: "a whole number", 0;
    u32: "a whole number", 0;
    u64: "a whole number", 0;
    usize: "a whole number", 0;
    i64: "a whole number", 0;
    SocketAddr: "an address such as 127.0.0.1:8080", SocketAddr::from(([127, 0, 0, 1], 0));
}

impl ConfigValue for Secret {
    const RULE: &'static str = "text that is kept secret";
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn stand_in() -> Self {
        Self::default()
    }
}

/// A http or https URL. It is shown in errors and logs, so a password inside is refused.
impl ConfigValue for http::Uri {
    const RULE: &'static str = "a URL such as http://127.0.0.1:50051, without user and password";

    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let known_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        (known_scheme && !uri.authority()?.as_str().contains('@')).then_some(uri)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn stand_in() -> Self {
        Self::default()
    }

    fn may_hide_secret(text: &str) -> bool {
        text.contains('@')
    }
}

/// Units of time, the largest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl ConfigValue for Duration {
    const RULE: &'static str = "a duration such as 500ms, 30s, 5m, 2h or 7d";

    fn parse(text: &str) -> Option<Self> {
        quantity(text, &TIME_UNITS).map(Duration::from_millis)
    }

    fn show(&self) -> String {
        with_unit(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS, "0s")
    }

    fn stand_in() -> Self {
        Duration::ZERO
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Units of size, the largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_unit(self.0, &SIZE_UNITS, "0B"))
    }
}

impl ConfigValue for ByteSize {
    const RULE: &'static str = "a size such as 512B, 64KiB, 16MiB or 1GiB";

    fn parse(text: &str) -> Option<Self> {
        quantity(text, &SIZE_UNITS).map(Self)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn stand_in() -> Self {
        Self(0)
    }
}

/// A list, written with commas in between.
impl<T: ConfigValue> ConfigValue for Vec<T> {
    const RULE: &'static str = T::RULE;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Option<Self> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        if entries.len() > MAX_LIST_ENTRIES {
            return None;
        }
        entries.into_iter().map(T::parse).collect()
    }

    fn show(&self) -> String {
        self.iter().map(T::show).collect::<Vec<_>>().join(",")
    }

    fn stand_in() -> Self {
        Self::new()
    }

    fn may_hide_secret(text: &str) -> bool {
        T::may_hide_secret(text)
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn with_unit(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fitting = units.iter().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor));
    fitting.map_or_else(|| zero.to_owned(), |(name, factor)| format!("{}{name}", amount / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_written_with_their_unit() {
        assert_eq!(Duration::parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(Duration::parse("2h"), Some(Duration::from_secs(7200)));
        assert_eq!(ByteSize::parse("64KiB"), Some(ByteSize(65_536)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "1 week", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(Duration::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for millis in [0, 1, 999, 1000, 90_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(Duration::parse(&duration.show()), Some(duration));
        }
        for bytes in [0, 1, 1023, 1 << 20, 3 << 30] {
            assert_eq!(ByteSize::parse(&ByteSize(bytes).show()), Some(ByteSize(bytes)));
        }
    }

    #[test]
    fn a_list_skips_blanks_and_has_a_limit() {
        assert_eq!(Vec::<u16>::parse("1, 2,,3,"), Some(vec![1, 2, 3]));
        assert_eq!(Vec::<u16>::parse("1,x"), None);
        assert_eq!(Vec::<u16>::parse(&"1,".repeat(MAX_LIST_ENTRIES + 1)), None);
    }

    #[test]
    fn a_url_has_a_scheme_a_host_and_no_password() {
        assert!(http::Uri::parse("https://host:1/").is_some());
        for wrong in ["host:1", "/path", "ftp://host", "http://me:pw@host"] {
            assert!(http::Uri::parse(wrong).is_none(), "{wrong}");
        }
    }
}
