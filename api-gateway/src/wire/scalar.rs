//! Single values: numbers, texts, enum values. 64-bit integers and numbers that are not finite are strings in JSON.

use std::fmt::Arguments;
use std::io::Write;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::decode_varint;
use serde::Serialize;

use super::plan::Kind;
use super::{Irregular, delimited, take};

/// Writes the value that stands at the beginning of `wire`.
pub(super) fn write(kind: &Kind, wire: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Irregular> {
    match kind {
        Kind::Double => {
            let value = f64::from_le_bytes(fixed(wire)?);
            match not_finite(value) {
                None => json(&value, out),
                Some(name) => json(name, out),
            }
        }
        Kind::Float => {
            let value = f32::from_le_bytes(fixed(wire)?);
            match not_finite(value.into()) {
                None => json(&value, out),
                Some(name) => json(name, out),
            }
        }
        Kind::Int32 => json(&truncated(wire)?.cast_signed(), out),
        Kind::Uint32 => json(&truncated(wire)?, out),
        Kind::Sint32 => {
            let value = truncated(wire)?;
            json(&((value >> 1).cast_signed() ^ -(value & 1).cast_signed()), out)
        }
        Kind::Fixed32 => json(&u32::from_le_bytes(fixed(wire)?), out),
        Kind::Sfixed32 => json(&i32::from_le_bytes(fixed(wire)?), out),
        Kind::Int64 => integer(decode_varint(wire)?.cast_signed(), out),
        Kind::Uint64 => integer(decode_varint(wire)?, out),
        Kind::Sint64 => {
            let value = decode_varint(wire)?;
            let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            integer(value, out)
        }
        Kind::Fixed64 => integer(u64::from_le_bytes(fixed(wire)?), out),
        Kind::Sfixed64 => integer(i64::from_le_bytes(fixed(wire)?), out),
        Kind::Bool => json(&(decode_varint(wire)? != 0), out),
        Kind::String => json(std::str::from_utf8(delimited(wire)?).map_err(|_| Irregular)?, out),
        Kind::Bytes => {
            let text = Base64Display::new(delimited(wire)?, &STANDARD);
            quoted(format_args!("{text}"), out)
        }
        Kind::Enum(names) => {
            let number = truncated(wire)?.cast_signed();
            match names.get(&number) {
                Some(name) => {
                    out.extend_from_slice(name.as_bytes());
                    Ok(())
                }
                None => json(&number, out),
            }
        }
        Kind::Message(_) => Err(Irregular),
    }
}

/// Writes something that needs no escapes as a string.
pub(super) fn quoted(value: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), Irregular> {
    write!(out, "\"{value}\"").map_err(|_| Irregular)
}

/// Writes an integer of 64 bits, which JSON holds as a string.
fn integer<T: Serialize>(value: T, out: &mut Vec<u8>) -> Result<(), Irregular> {
    out.push(b'"');
    json(&value, out)?;
    out.push(b'"');
    Ok(())
}

fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Irregular> {
    serde_json::to_writer(out, value).map_err(|_| Irregular)
}

fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_finite() => None,
        _ if value.is_nan() => Some("NaN"),
        _ if value > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}

fn fixed<const N: usize>(wire: &mut &[u8]) -> Result<[u8; N], Irregular> {
    take(wire, N)?.try_into().map_err(|_| Irregular)
}

/// A 32-bit number; negative ones come with all of their 64 bits.
fn truncated(wire: &mut &[u8]) -> Result<u32, Irregular> {
    #[expect(clippy::cast_possible_truncation, reason = "the upper half of a 32-bit field does not count")]
    Ok(decode_varint(wire)? as u32)
}
