//! From an HTTP request to a request message: body, query, path and headers, each into the fields that its
//! binding names. A field given twice with different values is refused, whatever the two places are; nothing
//! is dropped silently.

use std::collections::{BTreeSet, HashSet};

use http::header::{HeaderMap, HeaderName, IF_MATCH};
use http::{HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};

use crate::binding::{Binding, BodyRule, FieldPath, resolve};
use crate::etag::{self, Listed};
use crate::json;
use crate::problem::{DOMAIN, ETAG_MISMATCH, Problem, Violation};

/// More query parameters than this are refused.
pub const MAX_QUERY_PARAMETERS: usize = 256;
/// Longest `Idempotency-Key`, in characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
/// Most positions in one `X-Min-Position`.
pub const MAX_MIN_POSITIONS: usize = 32;
/// At most so many violations are told at once.
pub const MAX_VIOLATIONS: usize = 32;

/// The header that becomes `request_id`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that becomes `min_position`.
pub const X_MIN_POSITION: HeaderName = HeaderName::from_static("x-min-position");
/// The header that becomes `after` or `cursor` of a stream.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Builds the request message.
///
/// # Errors
/// A problem with every violation found.
pub fn build(
    binding: &Binding,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<DynamicMessage, Problem> {
    let message = match &binding.body {
        // A call without any argument beside its path needs no body.
        BodyRule::Whole if !body.is_empty() => json::decode(&binding.input, body),
        BodyRule::Field(field) if !body.is_empty() => json::decode_field(field, body),
        _ => Ok(DynamicMessage::new(binding.input.clone())),
    };
    let message = message.map_err(|violation| Problem::invalid(vec![violation]))?;
    let mut filling = Filling { binding, message, violations: Vec::new() };
    filling.query(query.unwrap_or_default());
    filling.path(path);
    filling.headers(headers)?;
    if filling.violations.is_empty() {
        return Ok(filling.message);
    }
    filling.violations.truncate(MAX_VIOLATIONS);
    Err(Problem::invalid(filling.violations))
}

struct Filling<'a> {
    binding: &'a Binding,
    message: DynamicMessage,
    violations: Vec<Violation>,
}

impl Filling<'_> {
    fn refuse(&mut self, field: impl AsRef<str>, rule: impl AsRef<str>) {
        self.violations.push(Violation::new(field, rule));
    }

    fn query(&mut self, query: &str) {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        if pairs.clone().nth(MAX_QUERY_PARAMETERS).is_some() {
            return self.refuse("", format!("at most {MAX_QUERY_PARAMETERS} query parameters"));
        }
        let mut seen = HashSet::new();
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = form_decoded(name) else {
                self.refuse("", "the names of query parameters must be UTF-8");
                continue;
            };
            let Some(path) = resolve(&self.binding.input, &name) else {
                self.refuse(name, "there is no such parameter");
                continue;
            };
            let rule = match form_decoded(value) {
                Some(value) => self.parameter(&path, &value, &mut seen),
                None => Err("must be UTF-8".to_owned()),
            };
            if let Err(rule) = rule {
                self.refuse(written(&path), rule);
            }
        }
    }

    fn parameter(&mut self, path: &FieldPath, value: &str, seen: &mut HashSet<String>) -> Result<(), String> {
        let (outer, last) = ends(path);
        match &self.binding.body {
            BodyRule::Whole => return Err("belongs into the body".to_owned()),
            BodyRule::Field(field) if field == outer => return Err("belongs into the body".to_owned()),
            _ if self.binding.variables.contains(path) => return Err("is given in the path".to_owned()),
            _ => {}
        }
        let value = json::parse_text(last, value)?;
        let parent = parent_of(&mut self.message, path);
        if last.is_list() {
            if let Some(list) = parent.get_field_mut(last).as_list_mut() {
                list.push(value);
            }
            return Ok(());
        }
        if !seen.insert(written(path)) {
            return Err("is given more than once".to_owned());
        }
        if let Some(oneof) = last.containing_oneof().filter(|oneof| !oneof.is_synthetic())
            && oneof.fields().any(|other| other != *last && parent.has_field(&other))
        {
            return Err(format!("only one member of {} may be given", oneof.name()));
        }
        parent.set_field(last, value);
        Ok(())
    }

    fn path(&mut self, path: &str) {
        match self.binding.template.capture(path) {
            Err(variable) => self.refuse(&variable.field, "must be UTF-8 without hidden slashes"),
            Ok(captures) => {
                for ((variable, text), path) in captures.into_iter().zip(&self.binding.variables) {
                    match json::parse_text(ends(path).1, &text) {
                        Ok(value) => self.agree(path, value, "the path"),
                        Err(rule) => self.refuse(&variable.field, rule),
                    }
                }
            }
        }
    }

    /// Sets a field that may stand in the body as well, but then with the same value.
    fn agree(&mut self, path: &FieldPath, value: Value, source: &str) {
        let last = ends(path).1;
        let parent = parent_of(&mut self.message, path);
        if parent.has_field(last) && *parent.get_field(last) != value {
            return self.refuse(written(path), format!("differs from {source}"));
        }
        parent.set_field(last, value);
    }

    fn headers(&mut self, headers: &HeaderMap) -> Result<(), Problem> {
        let binding = self.binding;
        if let (Some(field), Some(text)) = (&binding.request_id, self.header(headers, &IDEMPOTENCY_KEY)) {
            match idempotency_key(&text) {
                Ok(key) => self.agree(&vec![field.clone()], Value::String(key), "the header Idempotency-Key"),
                Err(rule) => self.refuse(IDEMPOTENCY_KEY.as_str(), rule),
            }
        }
        if let Some(text) = self.header(headers, &IF_MATCH) {
            self.if_match(&text)?;
        }
        if let (Some(field), Some(text)) = (&binding.min_position, self.header(headers, &X_MIN_POSITION)) {
            self.min_position(field, &text);
        }
        if let (Some(field), Some(text)) = (&binding.resume_after, self.header(headers, &LAST_EVENT_ID)) {
            // A browser repeats the first URL when it reconnects, so the header is the newer of the two.
            match json::parse_text(field, &text) {
                Ok(value) => self.message.set_field(field, value),
                Err(rule) => self.refuse(LAST_EVENT_ID.as_str(), rule),
            }
        }
        Ok(())
    }

    fn header(&mut self, headers: &HeaderMap, name: &HeaderName) -> Option<String> {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            self.refuse(name.as_str(), "is given more than once");
            return None;
        }
        match header_text(value) {
            Some(text) => Some(text.trim().to_owned()),
            None => {
                self.refuse(name.as_str(), "must be visible ASCII");
                None
            }
        }
    }

    fn if_match(&mut self, text: &str) -> Result<(), Problem> {
        let Some(path) = &self.binding.if_match else {
            // On a read it may be ignored; on a write that would lose an update that the client guards.
            if !self.binding.method.is_safe() {
                self.refuse(IF_MATCH.as_str(), "this operation has no etag to compare with");
            }
            return Ok(());
        };
        let fields: BTreeSet<&str> = match etag::parse(text.as_bytes()) {
            Some(Listed::Any) => return Ok(()),
            Some(Listed::Tags(tags)) => {
                // The strong comparison: a weak tag equals nothing.
                let strong = tags.into_iter().filter(|tag| !tag.weak);
                strong.filter_map(|tag| str::from_utf8(tag.opaque).ok()).map(etag::field_of).collect()
            }
            // Quotes may be missing: people who type them into a shell lose them.
            None if !text.contains(['"', ',', ' ', '\t']) => BTreeSet::from([etag::field_of(text)]),
            None => BTreeSet::from([""]),
        };
        let mut fields = fields.into_iter();
        match (fields.next(), fields.next()) {
            (None, _) => {
                let problem =
                    Problem::new(StatusCode::PRECONDITION_FAILED, "a weak entity tag never matches");
                return Err(problem.because(ETAG_MISMATCH, DOMAIN));
            }
            (Some(field), None) if !field.is_empty() => self.etag(path, field),
            // The service compares with one field, so that a choice of several cannot be checked.
            _ => self.refuse(IF_MATCH.as_str(), "must be * or one entity tag"),
        }
        Ok(())
    }

    /// Sets the etag without quotes; the one in the body may have them.
    fn etag(&mut self, path: &FieldPath, tag: &str) {
        let last = ends(path).1;
        let parent = parent_of(&mut self.message, path);
        let same = parent.get_field(last).as_str().is_none_or(|given| etag::without_quotes(given) == tag);
        if parent.has_field(last) && !same {
            return self.refuse(written(path), "differs from the header If-Match");
        }
        parent.set_field(last, Value::String(tag.to_owned()));
    }

    fn min_position(&mut self, field: &FieldDescriptor, text: &str) {
        if !field.is_list() {
            return self.agree(
                &vec![field.clone()],
                Value::String(text.to_owned()),
                "the header X-Min-Position",
            );
        }
        let positions: Vec<Value> = text.split(',').map(|one| Value::String(one.trim().to_owned())).collect();
        if positions.len() > MAX_MIN_POSITIONS {
            return self.refuse(X_MIN_POSITION.as_str(), format!("at most {MAX_MIN_POSITIONS} positions"));
        }
        self.agree(&vec![field.clone()], Value::List(positions), "the header X-Min-Position");
    }
}

fn ends(path: &FieldPath) -> (&FieldDescriptor, &FieldDescriptor) {
    (path.first().expect("a field path is never empty"), path.last().expect("a field path is never empty"))
}

fn written(path: &FieldPath) -> String {
    path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// The message that holds the last field of a path; messages on the way are created.
fn parent_of<'a>(message: &'a mut DynamicMessage, path: &FieldPath) -> &'a mut DynamicMessage {
    let mut parent = message;
    for field in &path[..path.len() - 1] {
        debug_assert_eq!(&parent.descriptor(), field.parent_message());
        parent = parent.get_field_mut(field).as_message_mut().expect("only messages have fields inside");
    }
    parent
}

fn form_decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn header_text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().filter(|text| !text.is_empty())
}

/// The key, bare or as the quoted string that the draft asks for.
fn idempotency_key(text: &str) -> Result<String, &'static str> {
    let key = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(rest) => {
            let inner = rest.strip_suffix('"').ok_or("has no closing quote")?;
            let mut key = String::with_capacity(inner.len());
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                match character {
                    '\\' => match characters.next() {
                        Some(escaped @ ('"' | '\\')) => key.push(escaped),
                        _ => return Err("has an unknown escape"),
                    },
                    '"' => return Err("has a quote inside"),
                    other => key.push(other),
                }
            }
            key
        }
    };
    match key.chars().count() {
        0 => Err("must not be empty"),
        1..=MAX_IDEMPOTENCY_KEY => Ok(key),
        _ => Err("must have at most 255 characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_may_be_quoted_and_has_a_limit() {
        assert_eq!(idempotency_key("abc").unwrap(), "abc");
        assert_eq!(idempotency_key(r#""a\"b\\c""#).unwrap(), r#"a"b\c"#);
        assert!(idempotency_key("\"abc").is_err());
        assert!(idempotency_key("\"\"").is_err());
        assert!(idempotency_key(r#""a\n""#).is_err());
        assert!(idempotency_key(&"x".repeat(MAX_IDEMPOTENCY_KEY)).is_ok());
        assert!(idempotency_key(&"x".repeat(MAX_IDEMPOTENCY_KEY + 1)).is_err());
    }
}
