//! How each message type is written, worked out once: its fields in the order of their numbers, the JSON names
//! with quotes and colons around them, what stands for an absent field, the names of enum values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::encoding::WireType;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};

use crate::json;

/// One message type.
#[derive(Debug)]
pub enum Plan {
    /// In the order of their numbers.
    Fields(Vec<Field>),
    Timestamp,
    /// No plan: another well-known type, or one with a field of a kind that is rare in answers.
    Dynamic(MessageDescriptor),
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// `"name":`
    pub key: String,
    pub form: Form,
    /// The JSON of the absent field; none when it is left out.
    pub default: Option<String>,
    /// A bit of its own for the oneof that it is a member of, or none.
    pub oneof: u64,
}

#[derive(Debug)]
pub enum Form {
    Single(Kind),
    List(Kind),
    Map(Kind, Kind),
}

#[derive(Debug, Clone)]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    /// The quoted names by number.
    Enum(Arc<BTreeMap<i32, String>>),
    /// The index of its plan.
    Message(usize),
}

impl Kind {
    pub fn wire_type(&self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::SixtyFourBit,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::ThirtyTwoBit,
            Self::String | Self::Bytes | Self::Message(_) => WireType::LengthDelimited,
            _ => WireType::Varint,
        }
    }

    pub fn is_packable(&self) -> bool {
        self.wire_type() != WireType::LengthDelimited
    }
}

/// The plans of all messages that routes answer with, and of what is inside them.
#[derive(Debug, Default)]
pub struct Plans {
    plans: Vec<Plan>,
    indexes: HashMap<String, usize>,
}

impl Plans {
    /// Makes them.
    pub fn of(messages: impl Iterator<Item = MessageDescriptor>) -> Arc<Self> {
        let mut plans = Self::default();
        messages.for_each(|message| {
            plans.add(&message);
        });
        Arc::new(plans)
    }

    /// The index of a message's plan, if it has one.
    pub fn index(&self, message: &MessageDescriptor) -> Option<usize> {
        self.indexes.get(message.full_name()).copied()
    }

    pub fn get(&self, index: usize) -> &Plan {
        &self.plans[index]
    }

    fn add(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(index) = self.index(message) {
            return index;
        }
        // Taken before its fields are looked at, which may lead back here.
        let index = self.plans.len();
        self.plans.push(Plan::Dynamic(message.clone()));
        self.indexes.insert(message.full_name().to_owned(), index);
        if message.full_name() == "google.protobuf.Timestamp" {
            self.plans[index] = Plan::Timestamp;
        } else if !message.full_name().starts_with("google.protobuf.")
            && let Some(fields) = self.fields(message)
        {
            self.plans[index] = Plan::Fields(fields);
        }
        index
    }

    fn fields(&mut self, message: &MessageDescriptor) -> Option<Vec<Field>> {
        // The defaults are those of the long way, by their names.
        let empty = json::encode(&DynamicMessage::new(message.clone()), None).ok()?;
        let defaults: HashMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_slice(&empty).ok()?;
        let oneofs: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
        let planned = message.fields().map(|field| {
            let member = field.containing_oneof();
            let place = member.and_then(|member| oneofs.iter().position(|oneof| *oneof == member));
            Some(Field {
                number: field.number(),
                key: format!("{}:", serde_json::to_string(field.json_name()).ok()?),
                form: self.form(&field)?,
                default: defaults.get(field.json_name()).map(|json| json.get().to_owned()),
                oneof: match place {
                    Some(place) => 1_u64.checked_shl(u32::try_from(place).ok()?)?,
                    None => 0,
                },
            })
        });
        planned.collect()
    }

    fn form(&mut self, field: &FieldDescriptor) -> Option<Form> {
        if field.is_group() {
            return None;
        }
        if !field.is_map() {
            let kind = self.kind(&field.kind())?;
            return Some(if field.is_list() { Form::List(kind) } else { Form::Single(kind) });
        }
        let entry = field.kind();
        let entry = entry.as_message()?;
        let key = self.kind(&entry.map_entry_key_field().kind())?;
        Some(Form::Map(key, self.kind(&entry.map_entry_value_field().kind())?))
    }

    fn kind(&mut self, kind: &prost_reflect::Kind) -> Option<Kind> {
        Some(match kind {
            prost_reflect::Kind::Double => Kind::Double,
            prost_reflect::Kind::Float => Kind::Float,
            prost_reflect::Kind::Int32 => Kind::Int32,
            prost_reflect::Kind::Int64 => Kind::Int64,
            prost_reflect::Kind::Uint32 => Kind::Uint32,
            prost_reflect::Kind::Uint64 => Kind::Uint64,
            prost_reflect::Kind::Sint32 => Kind::Sint32,
            prost_reflect::Kind::Sint64 => Kind::Sint64,
            prost_reflect::Kind::Fixed32 => Kind::Fixed32,
            prost_reflect::Kind::Fixed64 => Kind::Fixed64,
            prost_reflect::Kind::Sfixed32 => Kind::Sfixed32,
            prost_reflect::Kind::Sfixed64 => Kind::Sfixed64,
            prost_reflect::Kind::Bool => Kind::Bool,
            prost_reflect::Kind::String => Kind::String,
            prost_reflect::Kind::Bytes => Kind::Bytes,
            // NullValue is no name in JSON.
            prost_reflect::Kind::Enum(named) if named.full_name().starts_with("google.protobuf.") => {
                return None;
            }
            prost_reflect::Kind::Enum(named) => {
                let mut names = BTreeMap::new();
                for value in named.values() {
                    // Of several names for a number the first is written.
                    names.entry(value.number()).or_insert(format!("\"{}\"", value.name()));
                }
                Kind::Enum(Arc::new(names))
            }
            prost_reflect::Kind::Message(message) => Kind::Message(self.add(message)),
        })
    }
}
