//! From a protobuf message on the wire straight to its canonical JSON, by plans that are made from the
//! descriptors at the start. It is a shortcut and no second definition of the mapping: it takes what encoders
//! write (fields in the order of their numbers, single ones once), and whatever is unusual, or of a kind that no
//! plan is made for, goes the long way through a dynamic message (`json`), which says what is right. A property
//! test holds the two together.

mod plan;
mod scalar;

use std::sync::Arc;

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::prost_types::Timestamp;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use crate::json;
pub use plan::Plans;
use plan::{Field, Form, Kind, Plan};

/// Messages inside each other beyond this depth go the long way, which refuses them.
const MAX_DEPTH: usize = 64;
/// Maps with more entries go the long way, since each key is compared with all before it.
const MAX_MAP_ENTRIES: usize = 64;
/// What the JSON of a message needs, compared with its wire form, roughly: field names instead of numbers.
const GROWTH: usize = 3;
/// The default of every type begins with these bytes, as far as it needs them: zero, false, empty.
const ZERO: [u8; 8] = [0; 8];
/// Times before and after these have no JSON form: years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A message that has to go the long way.
#[derive(Debug, PartialEq, Eq)]
struct Irregular;

impl From<prost::DecodeError> for Irregular {
    fn from(_: prost::DecodeError) -> Self {
        Self
    }
}

/// Writes messages of one type.
#[derive(Debug, Clone)]
pub struct Transcoder {
    plans: Arc<Plans>,
    root: usize,
    descriptor: MessageDescriptor,
}

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
pub enum NoJson {
    #[error("the message cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the message has no JSON form: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Transcoder {
    /// For messages of this type; `None` when there is no plan for it.
    pub fn new(plans: &Arc<Plans>, descriptor: MessageDescriptor) -> Option<Self> {
        Some(Self { root: plans.index(&descriptor)?, plans: Arc::clone(plans), descriptor })
    }

    /// The JSON of a message, or of the one field of it that a route answers with.
    ///
    /// # Errors
    /// When a service sent what is no message of this type, or one without a JSON form, such as a timestamp out of
    /// range.
    pub fn json(
        &self,
        message: &[u8],
        field: Option<&prost_reflect::FieldDescriptor>,
    ) -> Result<Vec<u8>, NoJson> {
        if field.is_none() {
            let mut out = Vec::with_capacity(message.len() * GROWTH);
            if self.message(self.root, message, MAX_DEPTH, &mut out).is_ok() {
                return Ok(out);
            }
        }
        let message = DynamicMessage::decode(self.descriptor.clone(), message)?;
        Ok(json::encode(&message, field)?)
    }

    fn message(&self, plan: usize, wire: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Irregular> {
        match self.plans.get(plan) {
            Plan::Fields(fields) => self.fields(fields, wire, depth.checked_sub(1).ok_or(Irregular)?, out),
            Plan::Timestamp => timestamp(wire, out),
            Plan::Dynamic(descriptor) => {
                let message = DynamicMessage::decode(descriptor.clone(), wire)?;
                json::write(&message, out).map_err(|_| Irregular)
            }
        }
    }

    fn fields(
        &self,
        fields: &[Field],
        mut wire: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Irregular> {
        out.push(b'{');
        let begin = out.len();
        let (mut next, mut oneofs) = (0, 0_u64);
        while !wire.is_empty() {
            let (number, wire_type) = decode_key(&mut wire)?;
            while let Some(absent) = fields.get(next).filter(|field| field.number < number) {
                self.absent(absent, begin, out);
                next += 1;
            }
            match fields.get(next).filter(|field| field.number == number) {
                Some(field) => {
                    if oneofs & field.oneof != 0 {
                        return Err(Irregular);
                    }
                    oneofs |= field.oneof;
                    key(field, begin, out);
                    self.field(field, wire_type, &mut wire, depth, out)?;
                    next += 1;
                }
                // Out of order, or given again: the last one counts, or the two are merged.
                None if fields[..next].iter().any(|field| field.number == number) => return Err(Irregular),
                None => skip(wire_type, &mut wire)?,
            }
        }
        for field in &fields[next..] {
            self.absent(field, begin, out);
        }
        out.push(b'}');
        Ok(())
    }

    /// Fields without presence are written all the same.
    fn absent(&self, field: &Field, begin: usize, out: &mut Vec<u8>) {
        let Some(default) = &field.default else { return };
        key(field, begin, out);
        out.extend_from_slice(default.as_bytes());
    }

    fn field(
        &self,
        field: &Field,
        wire_type: WireType,
        wire: &mut &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Irregular> {
        match &field.form {
            Form::Single(kind) => self.value(kind, wire_type, wire, depth, out),
            Form::List(kind) => {
                out.push(b'[');
                let begin = out.len();
                each(field.number, wire_type, wire, |wire_type, wire| {
                    if wire_type == WireType::LengthDelimited && kind.is_packable() {
                        let mut packed = delimited(wire)?;
                        while !packed.is_empty() {
                            comma(begin, out);
                            self.value(kind, kind.wire_type(), &mut packed, depth, out)?;
                        }
                        return Ok(());
                    }
                    comma(begin, out);
                    self.value(kind, wire_type, wire, depth, out)
                })?;
                out.push(b']');
                Ok(())
            }
            Form::Map(key, value) => {
                out.push(b'{');
                let begin = out.len();
                let mut keys = Vec::new();
                each(field.number, wire_type, wire, |wire_type, wire| {
                    if wire_type != WireType::LengthDelimited || keys.len() == MAX_MAP_ENTRIES {
                        return Err(Irregular);
                    }
                    comma(begin, out);
                    let written = self.entry(key, value, delimited(wire)?, depth, out)?;
                    if keys
                        .iter()
                        .any(|earlier: &std::ops::Range<usize>| out[earlier.clone()] == out[written.clone()])
                    {
                        return Err(Irregular);
                    }
                    keys.push(written);
                    Ok(())
                })?;
                out.push(b'}');
                Ok(())
            }
        }
    }

    /// Writes an entry of a map, and tells where its key stands.
    fn entry(
        &self,
        key: &Kind,
        value: &Kind,
        mut wire: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<std::ops::Range<usize>, Irregular> {
        let begin = out.len();
        self.part(1, key, &mut wire, depth, out)?;
        if out[begin] != b'"' {
            out.insert(begin, b'"');
            out.push(b'"');
        }
        let written = begin..out.len();
        out.push(b':');
        self.part(2, value, &mut wire, depth, out)?;
        if wire.is_empty() { Ok(written) } else { Err(Irregular) }
    }

    /// Writes the key or the value of an entry; encoders leave out what is its type's default.
    fn part(
        &self,
        number: u32,
        kind: &Kind,
        wire: &mut &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Irregular> {
        let mut ahead = *wire;
        match decode_key(&mut ahead) {
            Ok((found, wire_type)) if found == number => {
                *wire = ahead;
                self.value(kind, wire_type, wire, depth, out)
            }
            _ => self.value(kind, kind.wire_type(), &mut ZERO.as_slice(), depth, out),
        }
    }

    fn value(
        &self,
        kind: &Kind,
        wire_type: WireType,
        wire: &mut &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Irregular> {
        if wire_type != kind.wire_type() {
            return Err(Irregular);
        }
        match kind {
            Kind::Message(plan) => self.message(*plan, delimited(wire)?, depth, out),
            scalar => scalar::write(scalar, wire, out),
        }
    }
}

/// The text of a field of a message, when it is a string and not empty. `path` leads to it by field numbers.
pub fn text_at<'a>(message: &'a [u8], path: &[u32]) -> Option<&'a str> {
    let mut found = message;
    for wanted in path {
        let mut rest = found;
        let mut last = None;
        while !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest).ok()?;
            if number == *wanted && wire_type == WireType::LengthDelimited {
                last = Some(delimited(&mut rest).ok()?);
            } else {
                skip(wire_type, &mut rest).ok()?;
            }
        }
        found = last?;
    }
    std::str::from_utf8(found).ok().filter(|text| !text.is_empty())
}

/// Calls `one` for a field, and for those of the same number right behind it.
fn each(
    number: u32,
    mut wire_type: WireType,
    wire: &mut &[u8],
    mut one: impl FnMut(WireType, &mut &[u8]) -> Result<(), Irregular>,
) -> Result<(), Irregular> {
    loop {
        one(wire_type, wire)?;
        let mut ahead = *wire;
        match decode_key(&mut ahead) {
            Ok((same, next_type)) if same == number => (*wire, wire_type) = (ahead, next_type),
            _ => return Ok(()),
        }
    }
}

fn key(field: &Field, begin: usize, out: &mut Vec<u8>) {
    comma(begin, out);
    out.extend_from_slice(field.key.as_bytes());
}

/// Separates what follows from what there is since `begin`.
fn comma(begin: usize, out: &mut Vec<u8>) {
    if out.len() > begin {
        out.push(b',');
    }
}

fn take<'a>(wire: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Irregular> {
    let (taken, rest) = wire.split_at_checked(bytes).ok_or(Irregular)?;
    *wire = rest;
    Ok(taken)
}

fn delimited<'a>(wire: &mut &'a [u8]) -> Result<&'a [u8], Irregular> {
    let length = usize::try_from(decode_varint(wire)?).map_err(|_| Irregular)?;
    take(wire, length)
}

fn skip(wire_type: WireType, wire: &mut &[u8]) -> Result<(), Irregular> {
    match wire_type {
        WireType::Varint => decode_varint(wire).map(drop)?,
        WireType::SixtyFourBit => take(wire, 8).map(drop)?,
        WireType::ThirtyTwoBit => take(wire, 4).map(drop)?,
        WireType::LengthDelimited => delimited(wire).map(drop)?,
        WireType::StartGroup | WireType::EndGroup => return Err(Irregular),
    }
    Ok(())
}

fn timestamp(wire: &[u8], out: &mut Vec<u8>) -> Result<(), Irregular> {
    let time: Timestamp = prost::Message::decode(wire)?;
    if !SECONDS.contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Irregular);
    }
    scalar::quoted(format_args!("{time}"), out)
}

#[cfg(test)]
mod tests;
