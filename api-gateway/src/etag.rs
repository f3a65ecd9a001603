//! Entity tags as RFC 9110 writes and compares them. The tag of a read is the field `etag` of the reply followed by
//! a hash of the JSON: the field moves with the changes that writes guard against, while a reply may also show what
//! changes beside them (stock, a contact that was erased), and a 304 must not hide that. Whether a tag is the current
//! one for a write is not decided here but by the service, which is given the field alone.

use http::HeaderValue;
use http::header::{HeaderMap, IF_NONE_MATCH};
use rapidhash::v3::rapidhash_v3;

/// Most entity tags in one header line; a longer one counts as malformed.
pub const MAX_ENTITY_TAGS: usize = 64;

/// Between the field and the hash.
const SEPARATOR: char = '.';
/// Hexadecimal digits of the hash.
const HASH_DIGITS: usize = 16;

/// What `If-Match` or `If-None-Match` lists.
#[derive(Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// `*`: whatever there is.
    Any,
    /// At least one tag.
    Tags(Vec<EntityTag<'a>>),
}

/// One tag of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

/// The tag of an answer to a change: the field alone, which may have its quotes already. `None` when it has
/// characters that no tag may have.
pub fn of_change(field: &str) -> Option<HeaderValue> {
    let field = without_quotes(field);
    header(field, format!("\"{field}\""))
}

/// The tag of a read that is answered with `content`. It is strong: such answers are never compressed, and another
/// byte is another tag.
pub fn of_read(field: &str, content: &[u8]) -> Option<HeaderValue> {
    let (field, hash) = (without_quotes(field), rapidhash_v3(content));
    header(field, format!("\"{field}{SEPARATOR}{hash:0HASH_DIGITS$x}\""))
}

/// The field behind the tag of a read or of a change.
pub fn field_of(opaque: &str) -> &str {
    match opaque.rsplit_once(SEPARATOR) {
        Some((field, hash)) if hash.len() == HASH_DIGITS && hash.bytes().all(is_hash_digit) => field,
        _ => opaque,
    }
}

/// An entity tag without its quotes.
pub fn without_quotes(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag)
}

/// Whether `If-None-Match` has this tag, by the weak comparison. A line that is malformed has none, which costs an
/// answer that could have been spared and never one that is needed.
pub fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let lines = request.get_all(IF_NONE_MATCH);
    let only_line = || lines.iter().nth(1).is_none();
    let own = etag.as_bytes().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    lines.iter().filter_map(|line| parse(line.as_bytes())).any(|listed| match listed {
        Listed::Any => only_line(),
        Listed::Tags(tags) => tags.iter().any(|tag| Some(tag.opaque) == own),
    })
}

/// Reads `"*" / #entity-tag`, empty elements included, which the RFC bids to accept. `None` when it is neither.
pub fn parse(line: &[u8]) -> Option<Listed<'_>> {
    let mut rest = line.trim_ascii();
    if rest == b"*" {
        return Some(Listed::Any);
    }
    let mut tags = Vec::new();
    while !rest.is_empty() {
        if let Some(next) = rest.strip_prefix(b",") {
            rest = next.trim_ascii_start();
            continue;
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| !may_be_inside(byte))?;
        let (opaque, after) = inside.split_at(end);
        rest = after.strip_prefix(b"\"")?.trim_ascii_start();
        if tags.len() == MAX_ENTITY_TAGS || !(rest.is_empty() || rest.starts_with(b",")) {
            return None;
        }
        tags.push(EntityTag { weak, opaque });
    }
    (!tags.is_empty()).then_some(Listed::Tags(tags))
}

fn header(field: &str, tag: String) -> Option<HeaderValue> {
    let allowed = |byte: u8| byte.is_ascii() && may_be_inside(byte);
    HeaderValue::try_from(tag).ok().filter(|_| field.bytes().all(allowed))
}

/// `etagc` of the RFC.
fn may_be_inside(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'~' | 0x80..)
}

fn is_hash_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(of: &[(bool, &'static str)]) -> Option<Listed<'static>> {
        let tag = |&(weak, opaque): &(bool, &'static str)| EntityTag { weak, opaque: opaque.as_bytes() };
        Some(Listed::Tags(of.iter().map(tag).collect()))
    }

    #[test]
    fn lists_are_read_as_the_rfc_writes_them() {
        for (line, listed) in [
            ("*", Some(Listed::Any)),
            (" * ", Some(Listed::Any)),
            ("\"*\"", tags(&[(false, "*")])),
            ("\"a\"", tags(&[(false, "a")])),
            ("W/\"a\"", tags(&[(true, "a")])),
            ("\"\"", tags(&[(false, "")])),
            ("\"a\",W/\"b\"\t, \"c\"", tags(&[(false, "a"), (true, "b"), (false, "c")])),
            (", ,\"a\",, \"b\",", tags(&[(false, "a"), (false, "b")])),
            ("\"a,*,b\"", tags(&[(false, "a,*,b")])),
            ("\"a\\\"", tags(&[(false, "a\\")])),
            ("\"\u{e9}\"", tags(&[(false, "\u{e9}")])),
        ] {
            assert_eq!(parse(line.as_bytes()), listed, "{line}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_none() {
        for line in [
            "",
            " ",
            ",",
            "a",
            "\"a",
            "a\"",
            "\"",
            "W/a",
            "w/\"a\"",
            "W/ \"a\"",
            "\"a\" \"b\"",
            "\"a\"\"b\"",
            "\"a\"b",
            "*, \"a\"",
            "\"a\", *",
            "**",
            "\"a b\"",
            "\"a\tb\"",
            "\"a\\\"b\"",
            "\"a\";\"b\"",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_line_has_a_limit_of_tags() {
        let line = |count: usize| vec!["\"a\""; count].join(",");
        assert!(parse(line(MAX_ENTITY_TAGS).as_bytes()).is_some());
        assert_eq!(parse(line(MAX_ENTITY_TAGS + 1).as_bytes()), None);
    }

    #[test]
    fn tags_are_compared_weakly_on_reads() {
        let etag = HeaderValue::from_static("\"7\"");
        for (lines, known) in [
            (vec!["\"7\""], true),
            (vec!["W/\"7\""], true),
            (vec!["\"6\", \"7\""], true),
            (vec!["\"6\"", "\"7\""], true),
            (vec!["*"], true),
            (vec!["\"77\""], false),
            (vec!["\"6\"", "*"], false),
            (vec!["\"a,*,b\""], false),
            (vec!["\"6,\"7\"\""], false),
            (vec!["7"], false),
            (vec![], false),
        ] {
            let values = lines.iter().map(|line| (IF_NONE_MATCH, HeaderValue::from_static(line)));
            let mut request = HeaderMap::new();
            values.for_each(|(name, value)| _ = request.append(name, value));
            assert_eq!(is_known(&request, &etag), known, "{lines:?}");
        }
    }

    #[test]
    fn a_read_has_another_tag_for_every_content_and_a_change_has_the_field() {
        let (one, other) = (of_read("\"v7\"", b"{}").unwrap(), of_read("v7", b"{ }").unwrap());
        assert_ne!(one, other);
        assert_eq!(of_read("v7", b"{}").unwrap(), one, "with quotes or without");
        assert_eq!(one.len(), "\"v7.\"".len() + HASH_DIGITS);
        for field in ["v7", "\"v7\""] {
            assert_eq!(of_change(field).unwrap(), "\"v7\"");
        }
        for wrong in ["a\"b", "a b", "a\n", "\u{e9}"] {
            assert_eq!((of_change(wrong), of_read(wrong, b"")), (None, None), "{wrong}");
        }
    }

    #[test]
    fn only_a_whole_hash_is_taken_off_a_tag() {
        for (opaque, field) in [
            ("v7", "v7"),
            ("v7.0123456789abcdef", "v7"),
            ("v7.0123456789ABCDEF", "v7.0123456789ABCDEF"),
            ("v7.0123456789abcde", "v7.0123456789abcde"),
            ("v7.0123456789abcdef0", "v7.0123456789abcdef0"),
            ("a.b.0123456789abcdef", "a.b"),
        ] {
            assert_eq!(field_of(opaque), field);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>) {
            if let Some(Listed::Tags(tags)) = parse(&line) {
                prop_assert!((1..=MAX_ENTITY_TAGS).contains(&tags.len()));
                prop_assert!(tags.iter().all(|tag| !tag.opaque.contains(&b'"')));
            }
        }

        #[test]
        fn the_tag_of_a_read_is_a_tag_and_leads_back_to_its_field(field in "[!#-~]{0,20}", content: Vec<u8>) {
            let tag = of_read(&field, &content).unwrap();
            let Some(Listed::Tags(tags)) = parse(tag.as_bytes()) else { panic!("{tag:?} is no tag") };
            prop_assert_eq!(tags.len(), 1);
            prop_assert_eq!(field_of(std::str::from_utf8(tags[0].opaque).unwrap()), field);
        }
    }
}
