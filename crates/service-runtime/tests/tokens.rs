//! What clients hand back, as hostile clients make it up: page tokens, entity tags, positions and access tokens. None
//! may panic, and none may be taken for what was never handed out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventsourcing::Position;
use proptest::collection::vec;
use proptest::prelude::*;
use service_runtime::auth::{AccessTokens, Tokens};
use service_runtime::page::{self, Filter};
use service_runtime::status::{reason, reason_of};
use service_runtime::{Caller, Secret, etag};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Cases of a property in an ordinary run.
const CASES: u32 = 2_000;
/// Times more in a long one.
const LONG: u32 = 100;

fn config() -> ProptestConfig {
    let cases = if testkit::is_long() { CASES * LONG } else { CASES };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn filter(text: &str) -> Filter {
    Filter::of("/things.v1.Things/ListThings", &text.to_owned())
}

/// A refusal that blames the field and does not repeat the text.
fn is_refusal(status: &Status, field: &str, text: &str) -> bool {
    let Some(bad) = status.get_details_bad_request() else { return false };
    let repeated = text.len() >= 8 && format!("{status:?}").contains(text);
    status.code() == Code::InvalidArgument
        && reason_of(status) == reason::INVALID_REQUEST
        && bad.field_violations.iter().map(|violation| violation.field.as_str()).eq([field])
        && !repeated
}

/// JSON that is nearly what a page token holds.
fn near_token() -> impl Strategy<Value = String> {
    let part =
        prop_oneof![".{0,20}", Just("\0".to_owned()), any::<i64>().prop_map(|number| number.to_string())];
    let json = prop_oneof![
        vec(part, 0..5).prop_map(|parts| serde_json::to_string(&parts).unwrap()),
        "[\\[\\]{}\",:0-9a-z\\\\ ]{0,40}",
        (0..2_000_usize).prop_map(|depth| "[".repeat(depth)),
    ];
    prop_oneof![json.prop_map(|json| URL_SAFE_NO_PAD.encode(json)), "\\PC{0,60}", "[A-Za-z0-9_=-]{0,60}"]
}

/// Changes some bytes of a token, and may cut it.
fn damaged(token: &str, damage: &[(prop::sample::Index, u8)], keep: &prop::sample::Index) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for (at, byte) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(keep.index(bytes.len() * 4).max(1));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), prop_oneof![0x20..0x7f_u8, any::<u8>()]), 0..4)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_page_token_is_its_own_list_s_or_refused(token in near_token(), own in ".{0,10}") {
        match filter(&own).decode::<2>(&token) {
            // Whoever guesses half of a digest has the right to ask.
            Ok(keys) => prop_assert!(token.is_empty() && keys.is_none()),
            Err(status) => prop_assert!(is_refusal(&status, "page_token", &token), "{:?}", status),
        }
    }

    #[test]
    fn a_page_token_survives_unless_a_key_is_no_text_for_a_database(first in ".{0,40}", second in any::<String>()) {
        let keys = [first.as_str(), second.as_str()];
        let token = filter("own").next_token(keys);
        match filter("own").decode::<2>(&token) {
            Ok(decoded) => prop_assert_eq!(decoded.unwrap(), keys),
            Err(status) => {
                let too_long = token.len() > 2_048;
                prop_assert!(keys.concat().contains('\0') || too_long, "{:?}", status);
            }
        }
    }

    #[test]
    fn a_damaged_page_token_is_refused_or_has_keys_that_a_query_can_take(
        first in ".{0,20}", second in any::<i64>(), damage in damage(), keep in any::<prop::sample::Index>(),
    ) {
        let token = filter("own").next_token([&first, &second.to_string()]);
        let broken = damaged(&token, &damage, &keep);
        match filter("own").decode::<2>(&broken) {
            Ok(Some(keys)) => prop_assert!(!keys.concat().contains('\0')),
            Ok(None) => prop_assert!(broken.is_empty()),
            Err(status) => prop_assert!(is_refusal(&status, "page_token", &broken), "{:?}", status),
        }
    }

    #[test]
    fn a_page_token_of_another_filter_is_refused(own in ".{0,10}", other in ".{0,10}", key in ".{0,20}") {
        prop_assume!(own != other);
        let status = filter(&other).decode::<1>(&filter(&own).next_token([&key])).unwrap_err();
        prop_assert!(is_refusal(&status, "page_token", &key), "{:?}", status);
    }

    #[test]
    fn a_time_in_a_page_token_is_one_that_databases_know(key in prop_oneof![
        any::<i64>().prop_map(|micros| micros.to_string()), "[-+0-9]{0,25}", ".{0,10}",
    ]) {
        match page::time_of_key(&key) {
            Ok(time) => {
                prop_assert!((0..253_402_300_800).contains(&time.timestamp()), "{}", time);
                prop_assert_eq!(page::time_of_key(&page::time_key(time)).unwrap(), time);
            }
            Err(status) => prop_assert!(is_refusal(&status, "page_token", &key), "{:?}", status),
        }
    }

    #[test]
    fn an_etag_is_a_version_or_refused(tag in prop_oneof![".{0,30}", "\"?v?[0-9]{0,22}\"?", "W/\"v[0-9]{1,3}\""]) {
        match etag::parse("etag", &tag) {
            Ok(None) => prop_assert!(tag.is_empty()),
            Ok(Some(version)) => {
                let number = tag.trim_matches('"').trim_start_matches('v').parse::<u64>();
                prop_assert_eq!(number.ok(), Some(version), "{}", tag);
                prop_assert_eq!(etag::parse("etag", &etag::of(version)).unwrap(), Some(version));
            }
            Err(status) => prop_assert!(is_refusal(&status, "etag", &tag), "{:?}", status),
        }
    }

    #[test]
    fn a_position_survives_its_token_and_nothing_else_is_one(
        log in "[a-z.]{1,10}", incarnation in 1..=i32::MAX, number in 0..=i64::MAX,
        damage in damage(), keep in any::<prop::sample::Index>(), anything in near_token(),
    ) {
        let position = Position { log, incarnation, number };
        let token = position.to_string();
        prop_assert_eq!(token.parse::<Position>(), Ok(position));
        for text in [damaged(&token, &damage, &keep), anything] {
            if let Ok(read) = text.parse::<Position>() {
                prop_assert!(read.number >= 0 && read.incarnation >= 1 && !read.log.is_empty());
                prop_assert_eq!(read.to_string().parse::<Position>(), Ok(read));
            }
        }
    }

    #[test]
    fn an_access_token_opens_nothing_once_it_is_changed(
        subject in ".{0,20}", damage in damage(), keep in any::<prop::sample::Index>(), anything in ".{0,80}",
    ) {
        let tokens = AccessTokens::new(vec![Secret::new("a key of the shop")]).unwrap();
        let token = tokens.issue(&subject);
        prop_assert!(tokens.verify(&subject, &token));
        for text in [damaged(&token, &damage, &keep), anything] {
            prop_assert!(text == token || !tokens.verify(&subject, &text), "{}", text);
        }
    }

    #[test]
    fn a_credential_is_the_operator_s_only_when_it_is(given in "[!-~]{1,60}", damage in damage(), keep in any::<prop::sample::Index>()) {
        const OPERATOR: &str = "operator-0123456789abcdef0123456789";
        let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[]).unwrap();
        for text in [given, damaged(OPERATOR, &damage, &keep)] {
            let caller = tokens.identify(Secret::new(text.clone()));
            prop_assert_eq!(caller == Caller::Operator, text == OPERATOR);
        }
    }
}
