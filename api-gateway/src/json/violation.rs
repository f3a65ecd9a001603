//! What is wrong with a body, in words of our own: the field by its path with the names of the proto file, as the
//! services name fields too, and what it must be. The deserializer's words would repeat the value, which may be
//! somebody's card number.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_path_to_error::{Path, Segment};

use super::expected;
use crate::problem::Violation;

/// Where in a body the deserializer stopped.
enum At {
    Message(MessageDescriptor),
    List(FieldDescriptor),
    /// With this field as value.
    Map(FieldDescriptor),
    /// One value of this field.
    Value(FieldDescriptor),
    /// In something that no descriptor describes.
    Elsewhere,
}

impl At {
    fn field(field: FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry.map_entry_value_field()),
            _ if field.is_list() => Self::List(field),
            _ => Self::one(field),
        }
    }

    fn one(field: FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(inner) if expected(&field).is_none() => Self::Message(inner),
            _ => Self::Value(field),
        }
    }

    fn rule(&self) -> String {
        match self {
            Self::Message(_) | Self::Map(_) => "must be an object".to_owned(),
            Self::List(_) => "must be a list".to_owned(),
            Self::Value(field) => match expected(field) {
                Some(expected) => format!("must be {expected}"),
                None => "has another type".to_owned(),
            },
            Self::Elsewhere => "cannot stand here".to_owned(),
        }
    }
}

/// The violation behind an error of the deserializer.
pub fn violation(message: &MessageDescriptor, path: &Path, error: &serde_json::Error) -> Violation {
    let (place, at) = walk(message, path);
    let text = error.to_string();
    let rule = text.split(" at line ").next().unwrap_or_default();
    if !error.is_data() {
        // The one complaint about a number that is no matter of syntax.
        return match rule == "number out of range" && !place.is_empty() {
            true => Violation::new(place, at.rule()),
            false => syntax(error),
        };
    }
    let named = |prefix| rule.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix('\''));
    // In these two cases the deserializer stands at the object around the field.
    let inside = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    if let Some(name) = named("unrecognized field name '") {
        return Violation::new(inside(name), "there is no such field");
    }
    if let Some(oneof) = named("multiple fields provided for oneof '") {
        return Violation::new(inside(oneof), "only one member may be given");
    }
    match place.is_empty() {
        true => Violation::new("", "the body must be one JSON object"),
        false => Violation::new(place, at.rule()),
    }
}

/// The violation of a body that is not JSON.
pub fn syntax(error: &serde_json::Error) -> Violation {
    let text = error.to_string();
    Violation::new("", format!("the body must be one JSON value: {text}"))
}

fn walk(message: &MessageDescriptor, path: &Path) -> (String, At) {
    let (mut place, mut at) = (String::new(), At::Message(message.clone()));
    for segment in path {
        match (segment, &at) {
            (Segment::Map { key }, At::Message(message)) => {
                let field = message.get_field_by_json_name(key).or_else(|| message.get_field_by_name(key));
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(field.as_ref().map_or(key, FieldDescriptor::name));
                at = field.map_or(At::Elsewhere, At::field);
            }
            (Segment::Map { key }, At::Map(value)) => {
                place.push_str(&format!("[{key}]"));
                at = At::one(value.clone());
            }
            (Segment::Seq { index }, At::List(field)) => {
                place.push_str(&format!("[{index}]"));
                at = At::one(field.clone());
            }
            // Inside of a well-known type, whose field is the most that can be named.
            _ => break,
        }
    }
    (place, at)
}
