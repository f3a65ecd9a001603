//! The shortcut says what the long way says, of every message, and gives way where it must.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::*;

const PROTO: &str = r#"
    syntax = "proto3";
    package test;
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    message Sample {
        int32 number = 1;
        string text = 2;
        repeated sint64 numbers = 3;
        repeated string texts = 4;
        map<string, sint32> counts = 5;
        map<bool, Sample> samples = 6;
        oneof choice { string left = 7; Sample right = 8; }
        optional double maybe = 9;
        Color color = 10;
        google.protobuf.Timestamp time = 11;
        google.protobuf.Int64Value wrapped = 12;
        bytes data = 13;
        float small = 14;
        repeated Color colors = 15;
        fixed64 fixed = 16;
        sfixed32 signed = 17;
        Inner inner = 18;
    }
    message Inner { string name = 1; int64 late = 2; }
    enum Color { NONE = 0; RED = 1; }"#;

fn sample() -> (Transcoder, DescriptorPool) {
    let file = protox::file::File::from_source("test.proto", PROTO).unwrap();
    let mut resolver = protox::file::ChainFileResolver::new();
    resolver.add(Only(file));
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("test.proto").unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(compiler.file_descriptor_set()).unwrap();
    let descriptor = pool.get_message_by_name("test.Sample").unwrap();
    let plans = Plans::of(std::iter::once(descriptor.clone()));
    (Transcoder::new(&plans, descriptor).unwrap(), pool)
}

struct Only(protox::file::File);

impl protox::file::FileResolver for Only {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        let file = self.0.file_descriptor_proto();
        if name != "test.proto" {
            return Err(protox::Error::file_not_found(name));
        }
        Ok(protox::file::File::from_file_descriptor_proto(file.clone()))
    }
}

/// The JSON of the shortcut alone.
fn short(transcoder: &Transcoder, wire: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    transcoder.message(transcoder.root, wire, MAX_DEPTH, &mut out).ok()?;
    Some(String::from_utf8(out).unwrap())
}

fn long(transcoder: &Transcoder, wire: &[u8]) -> Option<String> {
    let message = DynamicMessage::decode(transcoder.descriptor.clone(), wire).ok()?;
    json::encode(&message, None).ok().map(|json| String::from_utf8(json).unwrap())
}

/// A field as it may stand on the wire, sensible or not.
fn any_field(depth: usize) -> BoxedStrategy<Vec<u8>> {
    let varint = (1_u32..20, any::<u64>()).prop_map(|(number, value)| {
        let mut wire = Vec::new();
        prost::encoding::encode_key(number, WireType::Varint, &mut wire);
        prost::encoding::encode_varint(value >> (value % 60), &mut wire);
        wire
    });
    let text =
        (1_u32..20, "[a-z\"\\\\é]{0,5}").prop_map(|(number, text)| delimited_field(number, text.as_bytes()));
    let four = (1_u32..20, any::<[u8; 4]>()).prop_map(|(number, bytes)| {
        let mut wire = Vec::new();
        prost::encoding::encode_key(number, WireType::ThirtyTwoBit, &mut wire);
        wire.extend(bytes);
        wire
    });
    let eight = (1_u32..20, any::<[u8; 8]>()).prop_map(|(number, bytes)| {
        let mut wire = Vec::new();
        prost::encoding::encode_key(number, WireType::SixtyFourBit, &mut wire);
        wire.extend(bytes);
        wire
    });
    if depth == 0 {
        return prop_oneof![varint, text, four, eight].boxed();
    }
    let inner = (1_u32..20, any_wire(depth - 1)).prop_map(|(number, wire)| delimited_field(number, &wire));
    prop_oneof![varint, text, four, eight, inner].boxed()
}

fn any_wire(depth: usize) -> BoxedStrategy<Vec<u8>> {
    let sorted = vec(any_field(depth), 0..8).prop_map(|mut fields| {
        fields.sort_by_key(|field| decode_key(&mut field.as_slice()).map(|(number, _)| number).unwrap_or(0));
        fields.concat()
    });
    let wild = vec(any_field(depth), 0..8).prop_map(|fields| fields.concat());
    prop_oneof![4 => sorted, 1 => wild].boxed()
}

fn delimited_field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    prost::encoding::encode_key(number, WireType::LengthDelimited, &mut wire);
    prost::encoding::encode_varint(content.len() as u64, &mut wire);
    wire.extend(content);
    wire
}

fn values(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_shortcut_writes_is_what_the_long_way_writes(wire in any_wire(2)) {
        let (transcoder, _pool) = sample();
        if let Some(short) = short(&transcoder, &wire) {
            let long = long(&transcoder, &wire);
            prop_assert!(long.is_some(), "the long way refuses {wire:?}, the shortcut writes {short}");
            // The order of a map's entries is left open.
            prop_assert_eq!(values(&short), values(&long.unwrap()), "{:?}", wire);
        }
    }
}

#[test]
fn what_an_encoder_writes_takes_the_shortcut_and_its_text_is_the_same() {
    let (transcoder, pool) = sample();
    for json in [
        "{}",
        r#"{"number":-7,"text":"a\"\\\u0000\u001fé","numbers":["-1","9223372036854775807"],"texts":["","b"],
            "counts":{"":0,"x":-5},"maybe":0.0,"color":"RED","time":"2026-01-02T03:04:05.000600Z","wrapped":"-3",
            "data":"AP8=","small":"-Infinity","colors":["NONE","RED",9],"fixed":"18446744073709551615","signed":-1,
            "inner":{"late":"-1"}}"#,
        r#"{"samples":{"true":{"left":""},"false":{}},"right":{"small":1.5,"color":7}}"#,
    ] {
        let message: DynamicMessage = DynamicMessage::deserialize(
            pool.get_message_by_name("test.Sample").unwrap(),
            &mut serde_json::Deserializer::from_str(json),
        )
        .unwrap();
        let wire = message.encode_to_vec();
        let written = short(&transcoder, &wire).expect("it takes the shortcut");
        assert_eq!(values(&written), values(&long(&transcoder, &wire).unwrap()));
        if !json.contains("samples") && !json.contains("counts") {
            assert_eq!(Some(written), long(&transcoder, &wire));
        }
    }
}

#[test]
fn what_is_unusual_goes_the_long_way() {
    let (transcoder, _pool) = sample();
    let again = [delimited_field(18, &delimited_field(1, b"a")), delimited_field(18, &[16, 5])].concat();
    assert_eq!(short(&transcoder, &again), None);
    let merged = values(std::str::from_utf8(&transcoder.json(&again, None).unwrap()).unwrap());
    assert_eq!(merged["inner"], serde_json::json!({"name": "a", "late": "5"}));
    for unusual in [
        [delimited_field(4, b"a"), delimited_field(2, b"b")].concat(),
        [delimited_field(7, b"a"), delimited_field(8, b"")].concat(),
        [delimited_field(5, &delimited_field(1, b"k")), delimited_field(5, &delimited_field(1, b"k"))]
            .concat(),
        delimited_field(2, &[0xff]),
        vec![8],
        (0..MAX_DEPTH).fold(Vec::new(), |inner, _| delimited_field(8, &inner)),
    ] {
        assert_eq!(short(&transcoder, &unusual), None, "{unusual:?}");
    }
}

#[test]
fn a_text_is_found_by_the_numbers_of_its_fields_and_the_last_one_counts() {
    let wire =
        [delimited_field(18, &delimited_field(1, b"a")), delimited_field(18, &delimited_field(1, b"b"))];
    assert_eq!(text_at(&wire.concat(), &[18, 1]), Some("b"));
    assert_eq!(text_at(&wire.concat(), &[18, 2]), None);
    assert_eq!(text_at(&delimited_field(2, b""), &[2]), None);
    assert_eq!(text_at(&[8, 1], &[1]), None, "a number is no text");
}
