//! What the protos say about each RPC that matters for a call of it: whether it streams, and whether it may be made
//! twice. Nothing of a message is decoded but the presence of its request id.

use std::collections::HashMap;
use std::sync::Arc;

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor, Value};

use crate::meters::Meters;

/// The annotation that makes an RPC a route; one that is a GET changes nothing.
const HTTP: &str = "google.api.http";
/// The field by which a service knows a request that it has had before.
const REQUEST_ID: &str = "request_id";
/// `google.protobuf.MethodOptions.IdempotencyLevel.NO_SIDE_EFFECTS`.
const NO_SIDE_EFFECTS: i32 = 1;

/// All RPCs of a set of protos; cheap to clone.
#[derive(Clone, Debug)]
pub struct Methods(Arc<HashMap<String, Arc<Method>>>);

/// Why there is no such table.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors cannot be read: {0}")]
pub struct MethodsError(#[from] prost_reflect::DescriptorError);

#[derive(Debug)]
pub(crate) struct Method {
    pub shape: Shape,
    repeatable: Repeatable,
    pub meters: Meters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One request, one answer.
    Unary,
    /// One request, a stream of answers.
    ServerStream,
    /// A stream of requests.
    ClientStream,
}

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeatable {
    Always,
    /// If the field of this number holds a request id.
    With(u32),
    Never,
}

impl Methods {
    /// Reads an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_descriptors(descriptors: &[u8]) -> Result<Self, MethodsError> {
        let pool = DescriptorPool::decode(descriptors)?;
        let http = pool.get_extension_by_name(HTTP);
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let methods = methods.map(|method| {
            let (service, name) = (method.parent_service().full_name().to_owned(), method.name().to_owned());
            let path = format!("/{service}/{name}");
            let (shape, repeatable) = (shape(&method), repeatable(&method, http.as_ref()));
            (path, Arc::new(Method { shape, repeatable, meters: Meters::new(&service, &name) }))
        });
        Ok(Self(Arc::new(methods.collect())))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Method>> {
        self.0.get(path)
    }
}

impl Method {
    /// Whether a request with this body, in gRPC's frame, may be sent again when nobody knows what became of it.
    pub fn may_repeat(&self, framed: &[u8]) -> bool {
        match self.repeatable {
            Repeatable::Always => true,
            Repeatable::With(field) => has_text(framed, field),
            Repeatable::Never => false,
        }
    }
}

fn shape(method: &MethodDescriptor) -> Shape {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (true, _) => Shape::ClientStream,
        (false, true) => Shape::ServerStream,
        (false, false) => Shape::Unary,
    }
}

fn repeatable(method: &MethodDescriptor, http: Option<&ExtensionDescriptor>) -> Repeatable {
    if method.is_client_streaming() {
        return Repeatable::Never;
    }
    let options = method.options();
    let gets = http.filter(|http| options.has_extension(http)).is_some_and(|http| {
        options.get_extension(http).as_message().is_some_and(|rule| rule.has_field_by_name("get"))
    });
    let level = options.get_field_by_name("idempotency_level");
    let harmless = level.is_some_and(|level| *level == Value::EnumNumber(NO_SIDE_EFFECTS));
    match method.input().get_field_by_name(REQUEST_ID) {
        _ if gets || harmless => Repeatable::Always,
        Some(field) => Repeatable::With(field.number()),
        None => Repeatable::Never,
    }
}

/// Whether the one message in a frame of gRPC has a text in this field. What cannot be read has none.
fn has_text(framed: &[u8], field: u32) -> bool {
    /// One byte that says whether the message is compressed, four of its length.
    const PREFIX_BYTES: usize = 5;
    let Some(mut message) = framed.get(PREFIX_BYTES..).filter(|_| framed[0] == 0) else { return false };
    let skip = |message: &mut &[u8], length: u64| {
        let length = usize::try_from(length).ok().filter(|length| *length <= message.len());
        length.map(|length| message.advance(length)).is_some()
    };
    while !message.is_empty() {
        let Ok((number, kind)) = decode_key(&mut message) else { return false };
        let read = match kind {
            WireType::Varint => decode_varint(&mut message).is_ok(),
            WireType::SixtyFourBit => skip(&mut message, 8),
            WireType::ThirtyTwoBit => skip(&mut message, 4),
            WireType::LengthDelimited => match decode_varint(&mut message) {
                Ok(length) if number == field && length > 0 => return true,
                Ok(length) => skip(&mut message, length),
                Err(_) => false,
            },
            WireType::StartGroup | WireType::EndGroup => false,
        };
        if !read {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[derive(Clone, prost::Message)]
    struct Change {
        #[prost(string, tag = "1")]
        id: String,
        #[prost(double, tag = "2")]
        weight: f64,
        #[prost(fixed32, tag = "3")]
        colour: u32,
        #[prost(int64, tag = "4")]
        amount: i64,
        #[prost(string, tag = "20")]
        request_id: String,
    }

    fn framed(message: &Change) -> Vec<u8> {
        let bytes = message.encode_to_vec();
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[0], length.as_slice(), &bytes].concat()
    }

    #[test]
    fn a_request_id_is_seen_among_other_fields_and_an_empty_one_is_none() {
        let mut change =
            Change { id: "a".repeat(300), weight: 1.5, colour: 7, amount: -1, request_id: String::new() };
        assert!(!has_text(&framed(&change), 20));
        change.request_id = "r".to_owned();
        assert!(has_text(&framed(&change), 20));
        assert!(!has_text(&framed(&change), 21));
    }

    #[test]
    fn what_cannot_be_read_has_no_request_id() {
        let whole = framed(&Change { id: "a".repeat(50), request_id: "r".to_owned(), ..Change::default() });
        for cut in 0..whole.len() - 3 {
            assert!(!has_text(&whole[..cut], 20), "{cut}");
        }
        let compressed = [&[1], &whole[1..]].concat();
        assert!(!has_text(&compressed, 20));
        assert!(!has_text(b"\0\0\0\0\x02\xff\xff", 20));
    }
}
