//! The `traceparent` of W3C Trace Context: how one trace goes through requests, events and messages. It works
//! without an exporter, so that events carry their trace whether or not anybody collects spans.

use std::fmt;
use std::str::FromStr;

/// Length of a version 00 header value.
const LENGTH: usize = 55;

/// Name of the header, and of the key in an event's metadata.
pub const HEADER: &str = "traceparent";

/// A valid trace context: neither id is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// Why a header value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct MalformedTraceParent;

impl TraceParent {
    /// A trace that begins here, marked as sampled.
    pub fn root() -> Self {
        Self { trace_id: rand::random::<u128>().max(1), span_id: rand::random::<u64>().max(1), flags: 1 }
    }

    /// `None` when an id is zero.
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags })
    }

    /// A new span of the same trace.
    pub fn child(&self) -> Self {
        Self { span_id: rand::random::<u64>().max(1), ..*self }
    }

    /// The trace id as the header writes it, in 32 hexadecimal digits.
    pub fn shown_trace_id(&self) -> impl fmt::Display + use<> {
        struct Hexadecimal(u128);
        impl fmt::Display for Hexadecimal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        Hexadecimal(self.trace_id)
    }

    /// See [`shown_trace_id`](Self::shown_trace_id) for the text form.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Bit 0 says that the trace is sampled.
    pub fn flags(&self) -> u8 {
        self.flags
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceParent {
    type Err = MalformedTraceParent;

    /// Accepts version 00 and, as the standard asks, the known part of later versions.
    fn from_str(text: &str) -> Result<Self, MalformedTraceParent> {
        let lower_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let known = text.get(..LENGTH).filter(|known| known.is_ascii()).ok_or(MalformedTraceParent)?;
        let (version, trace_id, span_id, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
        let dashes = [2, 35, 52].iter().all(|place| known.as_bytes()[*place] == b'-');
        if !dashes || ![version, trace_id, span_id, flags].into_iter().all(lower_hex) || version == "ff" {
            return Err(MalformedTraceParent);
        }
        let rest = &text[LENGTH..];
        if !rest.is_empty() && (version == "00" || !rest.starts_with('-')) {
            return Err(MalformedTraceParent);
        }
        let malformed = |_| MalformedTraceParent;
        let trace_id = u128::from_str_radix(trace_id, 16).map_err(malformed)?;
        let span_id = u64::from_str_radix(span_id, 16).map_err(malformed)?;
        let flags = u8::from_str_radix(flags, 16).map_err(malformed)?;
        Self::new(trace_id, span_id, flags).ok_or(MalformedTraceParent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_survives_parsing_and_printing() {
        assert_eq!(VALID.parse::<TraceParent>().unwrap().to_string(), VALID);
        let root = TraceParent::root();
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn a_child_stays_in_the_trace_under_a_span_of_its_own() {
        let parent: TraceParent = VALID.parse().unwrap();
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.span_id(), parent.span_id());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("01{}-and-more", &VALID[2..]);
        assert!(later.parse::<TraceParent>().is_ok());
        assert!(format!("{VALID}-more").parse::<TraceParent>().is_err());
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for wrong in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7--01-",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(MalformedTraceParent), "{wrong}");
        }
    }
}
