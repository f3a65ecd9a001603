//! Pages of lists, as in AIP-158: a size that is clamped, and a token that says where the next page begins. A
//! token holds the sort keys of the last entry shown and is bound to the filter that it was made for. It is
//! not signed: its holder could ask for any page of that list anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::secret::hex;
use crate::status::invalid_field;

/// Entries on a page when the request does not say.
pub const DEFAULT_PAGE_SIZE: u32 = 50;
/// Most entries on a page; larger wishes are cut to it.
pub const MAX_PAGE_SIZE: u32 = 200;
/// Longest token that is looked at.
const MAX_TOKEN_CHARS: usize = 2048;
/// The last time that is a sort key, in microseconds since 1970: the end of the year 9999. The first one is 0.
const MAX_TIME_MICROS: i64 = 253_402_300_799_999_999;
/// Request fields, as AIP-158 names them.
const SIZE_FIELD: &str = "page_size";
const TOKEN_FIELD: &str = "page_token";

/// The number of entries to show.
///
/// # Errors
/// INVALID_ARGUMENT when it is negative.
pub fn page_size(requested: i32) -> Result<u32, Status> {
    match u32::try_from(requested) {
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(invalid_field(SIZE_FIELD, "must not be negative")),
    }
}

/// INVALID_ARGUMENT for a token that decodes and makes no sense, as when a key should be a number.
pub fn malformed_token() -> Status {
    invalid_field(TOKEN_FIELD, "must be a token as it was returned")
}

/// A time as a sort key, to the microsecond, as databases keep it.
pub fn time_key(at: DateTime<Utc>) -> String {
    at.timestamp_micros().to_string()
}

/// The time behind [`time_key`].
///
/// # Errors
/// INVALID_ARGUMENT on `page_token` for what is no time, or one that no database knows.
pub fn time_of_key(key: &str) -> Result<DateTime<Utc>, Status> {
    let micros = key.parse().ok().filter(|micros| (0..=MAX_TIME_MICROS).contains(micros));
    micros.and_then(DateTime::from_timestamp_micros).ok_or_else(malformed_token)
}

/// Which list a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// `method` is the RPC; `request` its message, after `page_size` and `page_token` (and what else does not
    /// choose or order entries) were cleared.
    pub fn of(method: &str, request: &impl Message) -> Self {
        let digest =
            Sha256::new().chain_update(method).chain_update([0]).chain_update(request.encode_to_vec());
        Self(hex(&digest.finalize()[..8]))
    }

    /// The token of the page after an entry with these sort keys.
    pub fn next_token<const N: usize>(&self, last: [&str; N]) -> String {
        let parts: Vec<&str> = std::iter::once(self.0.as_str()).chain(last).collect();
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).expect("texts can be written as JSON"))
    }

    /// The sort keys after which the page of `token` begins; `None` for the first page, whose token is empty.
    ///
    /// # Errors
    /// INVALID_ARGUMENT on `page_token` when it was not made here, or for another filter.
    pub fn decode<const N: usize>(&self, token: &str) -> Result<Option<[String; N]>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        if token.len() > MAX_TOKEN_CHARS {
            return Err(malformed_token());
        }
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed_token())?;
        let mut parts: Vec<String> = serde_json::from_slice(&json).map_err(|_| malformed_token())?;
        // The keys go into queries, where PostgreSQL refuses this one character.
        if parts.len() != N + 1 || parts.iter().any(|part| part.contains('\0')) {
            return Err(malformed_token());
        }
        if parts.remove(0) != self.0 {
            return Err(invalid_field(TOKEN_FIELD, "belongs to a list with another filter"));
        }
        parts.try_into().map(Some).map_err(|_| malformed_token())
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::of("/things.v1.Things/ListThings", &text.to_owned())
    }

    #[test]
    fn a_size_is_clamped_and_never_negative() {
        assert_eq!(page_size(0).unwrap(), DEFAULT_PAGE_SIZE);
        assert_eq!(page_size(7).unwrap(), 7);
        assert_eq!(page_size(i32::MAX).unwrap(), MAX_PAGE_SIZE);
        assert_eq!(page_size(-1).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_token_continues_after_the_last_entry() {
        let token = filter("blue").next_token(["näme, with \"quotes\"", "id-1"]);
        let keys = filter("blue").decode::<2>(&token).unwrap().unwrap();
        assert_eq!(keys, ["näme, with \"quotes\"", "id-1"]);
        assert_eq!(filter("blue").decode::<2>("").unwrap(), None);
    }

    #[test]
    fn a_token_of_another_filter_or_method_is_refused() {
        let token = filter("blue").next_token(["id-1"]);
        assert!(filter("red").decode::<1>(&token).is_err());
        assert!(Filter::of("/other", &"blue".to_owned()).decode::<1>(&token).is_err());
    }

    #[test]
    fn a_malformed_token_is_refused() {
        let fitting = filter("blue").next_token(["id-1"]);
        let not_texts = URL_SAFE_NO_PAD.encode("[1,2]");
        let no_text = filter("blue").next_token(["a\0b"]);
        for wrong in
            ["x", "%%%", "bnVsbA", &not_texts, &no_text, &fitting[1..], &"A".repeat(MAX_TOKEN_CHARS + 1)]
        {
            assert_eq!(
                filter("blue").decode::<1>(wrong).unwrap_err().code(),
                Code::InvalidArgument,
                "{wrong}"
            );
        }
        assert!(filter("blue").decode::<2>(&fitting).is_err(), "another number of keys");
    }

    #[test]
    fn a_time_is_a_key_if_databases_know_it() {
        let at = DateTime::from_timestamp_micros(1_790_000_000_123_456).expect("a time");
        assert_eq!(time_of_key(&time_key(at)).unwrap(), at);
        for wrong in ["", "x", "-1", "253402300800000000", &i64::MAX.to_string(), &i64::MIN.to_string()] {
            assert_eq!(time_of_key(wrong).unwrap_err().code(), Code::InvalidArgument, "{wrong}");
        }
    }
}
