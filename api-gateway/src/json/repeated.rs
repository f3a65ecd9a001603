//! Finds what JSON lets pass and readers resolve in their own ways: a field that is given twice, be it once as
//! `unitPrice` and once as `unit_price`. Which of the two was meant nobody knows, so neither is taken. It looks at
//! a body that was read already, and does not check anything else.

use std::borrow::Cow;
use std::collections::HashSet;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The path of the first field or map key that is given more than once.
pub fn repeated(message: &MessageDescriptor, text: &str) -> Option<String> {
    let mut found = None;
    let look = Look { shape: Shape::Message(message.clone()), found: &mut found };
    // Its only error is that something was found.
    let _ = look.deserialize(&mut serde_json::Deserializer::from_str(text));
    found
}

/// What a value is, as far as it can hold names.
enum Shape {
    Message(MessageDescriptor),
    /// With this field as value.
    Map(FieldDescriptor),
    /// Of values of this field.
    List(FieldDescriptor),
    Plain,
}

impl Shape {
    fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry.map_entry_value_field()),
            _ if field.is_list() => Self::List(field.clone()),
            _ => Self::of_one(field),
        }
    }

    fn of_one(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(inner) if !inner.full_name().starts_with("google.protobuf.") => {
                Self::Message(inner)
            }
            _ => Self::Plain,
        }
    }
}

struct Look<'a> {
    shape: Shape,
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.shape {
            Shape::Plain => json.deserialize_ignored_any(IgnoredAny).map(|_| ()),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object, a list or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Shape::List(field) = &self.shape else { return Err(A::Error::custom("no list")) };
        let mut index = 0;
        loop {
            match list.next_element_seed(Look { shape: Shape::of_one(field), found: &mut *self.found }) {
                Ok(Some(())) => index += 1,
                Ok(None) => return Ok(()),
                Err(error) => return Err(under(self.found, &format!("[{index}]"), error)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let (name, shape) = match &self.shape {
                Shape::Message(message) => {
                    let by_json = message.get_field_by_json_name(&key);
                    match by_json.or_else(|| message.get_field_by_name(&key)) {
                        Some(field) => (field.name().to_owned(), Shape::of(&field)),
                        None => (key.into_owned(), Shape::Plain),
                    }
                }
                Shape::Map(value) => (format!("[{key}]"), Shape::of_one(value)),
                Shape::List(_) | Shape::Plain => return Err(A::Error::custom("no object")),
            };
            if !seen.insert(name.clone()) {
                *self.found = Some(name);
                return Err(A::Error::custom("given twice"));
            }
            if let Err(error) = map.next_value_seed(Look { shape, found: &mut *self.found }) {
                return Err(under(self.found, &name, error));
            }
        }
        Ok(())
    }
}

/// Puts a place before the path of what was found in it.
fn under<E>(found: &mut Option<String>, place: &str, error: E) -> E {
    if let Some(path) = found {
        let dot = if path.starts_with('[') { "" } else { "." };
        *path = format!("{place}{dot}{path}");
    }
    error
}
