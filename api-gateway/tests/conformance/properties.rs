//! Any message survives the way through JSON, the gateway, gRPC and back.

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use std::sync::LazyLock;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::support::{Harness, echo, message};

static ECHO: LazyLock<Harness> = LazyLock::new(echo);

/// How deep messages nest.
pub const DEPTH: usize = 2;

/// A message that is shown as JSON when a test fails: its own debug form tells its descriptors, too.
#[derive(Clone)]
pub struct Sent(pub DynamicMessage);

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).unwrap())
    }
}

pub fn any_message(descriptor: MessageDescriptor, depth: usize) -> BoxedStrategy<DynamicMessage> {
    if let Some(known) = well_known(&descriptor) {
        return known;
    }
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    let values: Vec<_> = fields
        .iter()
        .map(|field| {
            let deep = matches!(field.kind(), Kind::Message(inner) if !inner.full_name().starts_with("google.") && !field.is_map());
            if deep && depth == 0 { Just(None).boxed() } else { proptest::option::of(any_field(field, depth)).boxed() }
        })
        .collect();
    values
        .prop_map(move |values| {
            let mut message = DynamicMessage::new(descriptor.clone());
            for (field, value) in fields.iter().zip(values) {
                if let Some(value) = value {
                    message.set_field(field, value);
                }
            }
            message
        })
        .boxed()
}

fn any_field(field: &FieldDescriptor, depth: usize) -> BoxedStrategy<Value> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("maps have entries") };
        let keys = match entry.map_entry_key_field().kind() {
            Kind::String => any::<String>().prop_map(MapKey::String).boxed(),
            _ => any::<i32>().prop_map(MapKey::I32).boxed(),
        };
        let values = any_value(&entry.map_entry_value_field().kind(), depth);
        return hash_map(keys, values, 0..3).prop_map(Value::Map).boxed();
    }
    let value = any_value(&field.kind(), depth);
    if field.is_list() { vec(value, 0..3).prop_map(Value::List).boxed() } else { value }
}

fn any_value(kind: &Kind, depth: usize) -> BoxedStrategy<Value> {
    use proptest::num::{f32, f64};
    match kind {
        Kind::Double => {
            (f64::NORMAL | f64::ZERO | f64::SUBNORMAL | f64::INFINITE).prop_map(Value::F64).boxed()
        }
        Kind::Float => {
            (f32::NORMAL | f32::ZERO | f32::SUBNORMAL | f32::INFINITE).prop_map(Value::F32).boxed()
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => any::<String>().prop_map(Value::String).boxed(),
        Kind::Bytes => vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        // 9 is not a value of the enum: such numbers must survive, too.
        Kind::Enum(_) => prop::sample::select(vec![0, 1, 2, 9]).prop_map(Value::EnumNumber).boxed(),
        Kind::Message(inner) => {
            any_message(inner.clone(), depth.saturating_sub(1)).prop_map(Value::Message).boxed()
        }
    }
}

fn well_known(descriptor: &MessageDescriptor) -> Option<BoxedStrategy<DynamicMessage>> {
    let json = match descriptor.full_name() {
        "google.protobuf.Timestamp" => (-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000_i64).boxed(),
        "google.protobuf.Duration" => (0..=315_576_000_000_i64, 0..1_000_000_000_i64).boxed(),
        "google.protobuf.FieldMask" => {
            let descriptor = descriptor.clone();
            let paths = vec("[a-z]{1,6}(_[a-z]{1,5})?(\\.[a-z]{1,5}){0,2}", 1..4);
            let message = move |paths: Vec<String>| {
                let mut message = DynamicMessage::new(descriptor.clone());
                let paths = paths.into_iter().map(Value::String).collect();
                message.set_field_by_name("paths", Value::List(paths));
                message
            };
            return Some(paths.prop_map(message).boxed());
        }
        "google.protobuf.Struct" => {
            let descriptor = descriptor.clone();
            let object = hash_map("[a-z]{0,3}", any::<i32>(), 0..3).prop_map(move |numbers| {
                let json = serde_json::to_value(numbers).unwrap();
                DynamicMessage::deserialize(descriptor.clone(), json).unwrap()
            });
            return Some(object.boxed());
        }
        _ => return None,
    };
    let descriptor = descriptor.clone();
    let message = move |(seconds, nanos): (i64, i64)| {
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_name("seconds", Value::I64(seconds));
        message.set_field_by_name("nanos", Value::I32(i32::try_from(nanos).unwrap()));
        message
    };
    Some(json.prop_map(message).boxed())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_survives_the_way_there_and_back(sent in any_message(message("Everything"), DEPTH).prop_map(Sent)) {
        let sent = sent.0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let body = serde_json::to_string(&sent).unwrap();
        let answer = runtime.block_on(ECHO.post("/v1/echo", &body));
        prop_assert_eq!(answer.status, 200, "{}: {:?}", body, answer.body);
        let mut json = serde_json::Deserializer::from_slice(&answer.body);
        let returned = DynamicMessage::deserialize(message("Everything"), &mut json).unwrap();
        // Fields that were set to their defaults are not told from unset ones on the wire, so compare that form.
        prop_assert_eq!(serde_json::to_value(&returned).unwrap(), serde_json::to_value(&sent).unwrap());
        let wire = |message: &DynamicMessage| {
            let bytes = prost::Message::encode_to_vec(message);
            DynamicMessage::decode(message_type(), bytes.as_slice()).unwrap()
        };
        prop_assert!(wire(&returned) == wire(&sent));
    }

    #[test]
    fn no_body_and_no_path_makes_the_gateway_fail(body in ".*", path in "(/[a-z0-9%{}:*.]{0,8}){0,6}", query in "[a-z0-9.=&%+_]{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let posted = runtime.block_on(ECHO.post("/v1/echo", &body));
        prop_assert!(posted.status.as_u16() < 500, "{:?}", posted);
        if let Ok(uri) = format!("/v1{path}?{query}").parse::<http::Uri>() {
            let answer = runtime.block_on(ECHO.get(&uri.to_string()));
            prop_assert!(answer.status.as_u16() < 500, "{:?}", answer);
        }
    }
}

fn message_type() -> MessageDescriptor {
    message("Everything")
}
