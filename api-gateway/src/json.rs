//! Canonical proto3 JSON of dynamic messages, and single fields from the text of a path or a query. Unknown
//! fields and fields given twice are refused, and every error names the field and never its value. What the canonical mapping leaves open is decided
//! here: fields without presence are written with their default values, so that a client sees every field
//! that exists; fields with presence (messages, `optional`, oneof members) are written when set.

mod repeated;
mod violation;

use prost_reflect::{
    Cardinality, DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage, SerializeOptions, Value,
};
use serde_json::value::RawValue;

use crate::problem::Violation;
use repeated::repeated;
use violation::{syntax, violation};

/// Objects and arrays inside each other beyond this depth are refused. A service decodes at most 100 levels of
/// messages, and one level of a `google.protobuf.Struct` takes three of them.
pub const MAX_JSON_DEPTH: usize = 32;

const WRITE: SerializeOptions = SerializeOptions::new().skip_default_fields(false);
const READ: DeserializeOptions = DeserializeOptions::new();

/// Reads a message from a whole body.
///
/// # Errors
/// Names the field and the rule that it breaks.
pub fn decode(message: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Violation> {
    decode_text(message, checked(body)?)
}

/// Reads a message whose field `field` is a body.
///
/// # Errors
/// Names the field and the rule that it breaks.
pub fn decode_field(field: &FieldDescriptor, body: &[u8]) -> Result<DynamicMessage, Violation> {
    let text = checked(body)?;
    // Parsed alone first: otherwise `1, "other": 2` would smuggle another field in.
    let alone: &RawValue = serde_json::from_str(text).map_err(|error| syntax(&error))?;
    decode_text(field.parent_message(), &format!("{{\"{}\":{}}}", field.json_name(), alone.get()))
}

/// Reads one value of a field (an element, when it is repeated) from text: `true`, `7`, an enum's name or
/// number, base64, and the JSON string forms of timestamps, durations, field masks and wrappers. The paths of
/// a field mask may be written as in the proto file, too.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_text(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let kind = field.kind();
    let expected = expected(field).ok_or_else(|| "cannot be given here, only in a body".to_owned())?;
    if kind == Kind::String {
        return Ok(Value::String(text.to_owned()));
    }
    let json = match (&kind, text) {
        (kind, "true" | "false") if is_bool(kind) => serde_json::Value::Bool(text == "true"),
        (kind, _) if is_bool(kind) => return Err(format!("must be {expected}")),
        (Kind::Enum(_), _) => match text.parse::<i32>() {
            Ok(number) => number.into(),
            Err(_) => text.into(),
        },
        (Kind::Message(mask), _) if mask.full_name() == "google.protobuf.FieldMask" => {
            camel_case(text).into()
        }
        _ => text.into(),
    };
    let json = if field.is_list() { serde_json::Value::Array(vec![json]) } else { json };
    let object = serde_json::Map::from_iter([(field.json_name().to_owned(), json)]);
    let parent = field.parent_message().clone();
    let message = DynamicMessage::deserialize_with_options(parent, serde_json::Value::Object(object), &READ)
        .map_err(|_| format!("must be {expected}"))?;
    match message.get_field(field).into_owned() {
        Value::List(mut values) => values.pop().ok_or_else(|| format!("must be {expected}")),
        value => Ok(value),
    }
}

/// Writes a message, or the one field of it that a route answers with.
///
/// # Errors
/// When the service sent a message that has no JSON form, such as a timestamp out of range.
pub fn encode(
    message: &DynamicMessage,
    field: Option<&FieldDescriptor>,
) -> Result<Vec<u8>, serde_json::Error> {
    let Some(field) = field else {
        let mut out = Vec::with_capacity(512);
        write(message, &mut out)?;
        return Ok(out);
    };
    let mut whole = message.serialize_with_options(serde_json::value::Serializer, &WRITE)?;
    serde_json::to_vec(&whole.get_mut(field.json_name()).map(serde_json::Value::take).unwrap_or_default())
}

/// Appends a message to what is written already.
///
/// # Errors
/// As of [`encode`].
pub fn write(message: &DynamicMessage, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    message.serialize_with_options(&mut serde_json::Serializer::new(out), &WRITE)
}

fn checked(body: &[u8]) -> Result<&str, Violation> {
    let text = std::str::from_utf8(body).map_err(|_| Violation::new("", "the body must be UTF-8"))?;
    if depth(body) > MAX_JSON_DEPTH {
        return Err(Violation::new("", format!("the body may nest at most {MAX_JSON_DEPTH} levels deep")));
    }
    Ok(text)
}

fn decode_text(message: &MessageDescriptor, text: &str) -> Result<DynamicMessage, Violation> {
    let mut json = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let decoded = DynamicMessage::deserialize_with_options(message.clone(), tracked, &READ);
    let decoded = decoded.map_err(|error| violation(message, &track.path(), &error))?;
    json.end().map_err(|error| syntax(&error))?;
    match repeated(message, text) {
        Some(field) => Err(Violation::new(field, "is given more than once")),
        None => Ok(decoded),
    }
}

/// How deep objects and arrays nest; brackets in strings do not count.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn is_bool(kind: &Kind) -> bool {
    match kind {
        Kind::Bool => true,
        Kind::Message(message) => message.full_name() == "google.protobuf.BoolValue",
        _ => false,
    }
}

fn camel_case(mask: &str) -> String {
    let mut upper = false;
    let mut camel = String::with_capacity(mask.len());
    for character in mask.chars() {
        match character {
            '_' => upper = true,
            _ if upper => {
                camel.extend(character.to_uppercase());
                upper = false;
            }
            _ => camel.push(character),
        }
    }
    camel
}

/// What the text of a field must be; `None` when it has no text form outside a body.
pub fn expected(field: &FieldDescriptor) -> Option<String> {
    if field.is_map() {
        return None;
    }
    Some(match field.kind() {
        Kind::Double | Kind::Float => "a number".to_owned(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a 32-bit integer".to_owned(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a 64-bit integer".to_owned(),
        Kind::Uint32 | Kind::Fixed32 => "a 32-bit integer, not negative".to_owned(),
        Kind::Uint64 | Kind::Fixed64 => "a 64-bit integer, not negative".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a string".to_owned(),
        Kind::Bytes => "base64".to_owned(),
        Kind::Enum(kind) => format!("the name or the number of a value of {}", kind.name()),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => "a time as in RFC 3339, such as 2030-01-31T12:00:00Z".to_owned(),
            "google.protobuf.Duration" => "a duration in seconds, such as 1.5s".to_owned(),
            "google.protobuf.FieldMask" => "field paths with commas between them".to_owned(),
            name if is_wrapper(name) => return expected(&message.get_field_by_name("value")?),
            _ => return None,
        },
    })
}

/// Whether a message of this name is one of the wrappers of a scalar.
pub fn is_wrapper(full_name: &str) -> bool {
    full_name.strip_prefix("google.protobuf.").is_some_and(|name| {
        let wrapped = name.strip_suffix("Value").unwrap_or_default();
        ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"]
            .contains(&wrapped)
    })
}

/// Whether the field holds at most one string.
pub fn is_single_string(field: &FieldDescriptor) -> bool {
    field.kind() == Kind::String && field.cardinality() != Cardinality::Repeated
}

/// A field's value as plain text, when it is a string or a whole number that is not the default.
pub fn plain_text(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    debug_assert_eq!(&message.descriptor(), field.parent_message());
    if !message.has_field(field) {
        return None;
    }
    match message.get_field(field).as_ref() {
        Value::String(text) => Some(text.clone()),
        Value::I64(number) => Some(number.to_string()),
        Value::U64(number) => Some(number.to_string()),
        Value::I32(number) => Some(number.to_string()),
        Value::U32(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_no_depth() {
        assert_eq!(depth(br#"{"a":[[1]],"b":"[[[[\"[["}"#), 3);
        assert_eq!(depth(b"]]]["), 1);
    }

    #[test]
    fn a_mask_may_be_written_as_in_the_proto_file() {
        assert_eq!(camel_case("unit_price,a.b_c"), "unitPrice,a.bC");
        assert_eq!(camel_case("unitPrice"), "unitPrice");
    }
}
