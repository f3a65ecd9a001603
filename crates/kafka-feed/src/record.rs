//! How what crosses a service's boundary stands in Kafka: an integration event in CloudEvents 1.0 Kafka binary mode, and
//! a watermark, which says how far a partition is when nothing happened there. Both directions are here and nowhere
//! else. What is read was written by somebody else: everything is checked, and an error names what is wrong.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use eventsourcing::IntegrationEvent;
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use uuid::Uuid;

/// `ce_type` of a watermark.
pub const WATERMARK_TYPE: &str = "storeline.watermark.v1";

/// Names of the headers. Those of CloudEvents begin with `ce_`, as its Kafka binding wants it.
pub mod header {
    pub const CONTENT_TYPE: &str = "content-type";
    pub const SPEC_VERSION: &str = "ce_specversion";
    pub const ID: &str = "ce_id";
    pub const SOURCE: &str = "ce_source";
    pub const TYPE: &str = "ce_type";
    pub const TIME: &str = "ce_time";
    pub const SUBJECT: &str = "ce_subject";
    /// Version of the stream with this event.
    pub const STREAM_VERSION: &str = "ce_streamversion";
    /// Position in the log, or of a watermark: everything up to it was written to this partition before.
    pub const POSITION: &str = "ce_position";
    pub const INCARNATION: &str = "ce_incarnation";
    /// Name of the log that the position belongs to.
    pub const LOG: &str = "ce_log";
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// W3C Trace Context, under its own name.
    pub const TRACEPARENT: &str = "traceparent";
}

const CONTENT_TYPE: &str = "application/protobuf";
const SPEC_VERSION: &str = "1.0";
/// Headers of an event, at most.
const EVENT_HEADERS: usize = 13;
/// Headers of a watermark.
const WATERMARK_HEADERS: usize = 5;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The log that it comes from.
    pub log: String,
    pub incarnation: i32,
    pub content: Content,
}

/// An event, or that there is none up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Event(IntegrationEvent),
    /// Every event up to this position that belongs to this record's partition stands before it.
    Watermark {
        position: i64,
    },
}

impl Received {
    /// How far the partition is with this record.
    pub fn position(&self) -> i64 {
        match &self.content {
            Content::Event(event) => event.position,
            Content::Watermark { position } => *position,
        }
    }
}

/// Why a record is none of ours, or is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    #[error("the header `{0}` stands there twice")]
    Twice(&'static str),
    #[error("the header `{name}` is not {expected}")]
    Malformed { name: &'static str, expected: &'static str },
    #[error("an event has a value, and this record has none")]
    NoValue,
    #[error("the key is not the event's subject")]
    OtherKey,
    #[error("a watermark has neither key nor value, and this one has")]
    WatermarkWithContent,
}

/// The headers of an event's record; its key is the subject and its value the data.
pub fn event_headers(log: &str, incarnation: i32, event: &IntegrationEvent) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(EVENT_HEADERS);
    let headers = add(headers, header::CONTENT_TYPE, CONTENT_TYPE);
    let headers = add(headers, header::SPEC_VERSION, SPEC_VERSION);
    let headers = add(headers, header::ID, event.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    let headers = add(headers, header::SOURCE, &event.source);
    let headers = add(headers, header::TYPE, &event.event_type);
    let headers = add(headers, header::TIME, &event.time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    let headers = add(headers, header::SUBJECT, &event.subject);
    let headers = add(headers, header::STREAM_VERSION, &event.version.to_string());
    let headers = place(headers, log, incarnation, event.position);
    let headers = add(headers, header::CORRELATION_ID, &event.correlation_id);
    match &event.traceparent {
        Some(traceparent) => add(headers, header::TRACEPARENT, traceparent),
        None => headers,
    }
}

/// The headers of a watermark's record, which has neither key nor value.
pub fn watermark_headers(log: &str, incarnation: i32, position: i64) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(WATERMARK_HEADERS);
    let headers = add(headers, header::SPEC_VERSION, SPEC_VERSION);
    place(add(headers, header::TYPE, WATERMARK_TYPE), log, incarnation, position)
}

fn place(headers: OwnedHeaders, log: &str, incarnation: i32, position: i64) -> OwnedHeaders {
    let headers = add(headers, header::POSITION, &position.to_string());
    let headers = add(headers, header::INCARNATION, &incarnation.to_string());
    add(headers, header::LOG, log)
}

fn add(headers: OwnedHeaders, key: &'static str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// Reads a record of a topic that a relay writes.
///
/// # Errors
/// When it is not such a record, or a damaged one.
pub fn read<M: Message>(message: &M) -> Result<Received, RecordError> {
    let found = Found::in_message(message)?;
    found.expect(header::SPEC_VERSION, SPEC_VERSION, "1.0")?;
    let (log, incarnation) = (found.text(header::LOG)?, found.parsed(header::INCARNATION, "a whole number")?);
    let position = found.parsed(header::POSITION, "a position")?;
    if position < 0 {
        return Err(RecordError::Malformed { name: header::POSITION, expected: "a position" });
    }
    let event_type = found.text(header::TYPE)?;
    if event_type == WATERMARK_TYPE {
        // An empty key and none are the same to some clients.
        let empty = |part: Option<&[u8]>| part.is_none_or(<[u8]>::is_empty);
        if !empty(message.key()) || !empty(message.payload()) {
            return Err(RecordError::WatermarkWithContent);
        }
        return Ok(Received { log, incarnation, content: Content::Watermark { position } });
    }
    found.expect(header::CONTENT_TYPE, CONTENT_TYPE, CONTENT_TYPE)?;
    let subject = found.text(header::SUBJECT)?;
    if message.key() != Some(subject.as_bytes()) {
        return Err(RecordError::OtherKey);
    }
    let event = IntegrationEvent {
        id: found.parsed(header::ID, "a UUID")?,
        source: found.text(header::SOURCE)?,
        event_type,
        time: found.time()?,
        subject,
        version: found.parsed(header::STREAM_VERSION, "a stream version")?,
        position,
        correlation_id: found.text(header::CORRELATION_ID)?,
        traceparent: found.optional(header::TRACEPARENT)?,
        data: message.payload().ok_or(RecordError::NoValue)?.to_vec(),
    };
    Ok(Received { log, incarnation, content: Content::Event(event) })
}

/// All headers that are read.
const READ: [&str; EVENT_HEADERS] = [
    header::CONTENT_TYPE,
    header::SPEC_VERSION,
    header::ID,
    header::SOURCE,
    header::TYPE,
    header::TIME,
    header::SUBJECT,
    header::STREAM_VERSION,
    header::POSITION,
    header::INCARNATION,
    header::LOG,
    header::CORRELATION_ID,
    header::TRACEPARENT,
];

/// The values of the headers in [`READ`], in its order. Others may be there: whoever stands between may add some.
struct Found<'m>([Option<&'m [u8]>; EVENT_HEADERS]);

impl<'m> Found<'m> {
    fn in_message<M: Message>(message: &'m M) -> Result<Self, RecordError> {
        let mut found = [None; EVENT_HEADERS];
        let Some(headers) = message.headers() else { return Ok(Self(found)) };
        for header in headers.iter() {
            let Some(which) = READ.iter().position(|name| *name == header.key) else { continue };
            if found[which].replace(header.value.unwrap_or_default()).is_some() {
                return Err(RecordError::Twice(READ[which]));
            }
        }
        Ok(Self(found))
    }

    fn raw(&self, name: &'static str) -> Option<&'m [u8]> {
        let which = READ.iter().position(|read| *read == name)?;
        self.0[which]
    }

    fn optional(&self, name: &'static str) -> Result<Option<String>, RecordError> {
        let text = self.raw(name).map(std::str::from_utf8).transpose();
        Ok(text.map_err(|_| RecordError::Malformed { name, expected: "UTF-8" })?.map(str::to_owned))
    }

    fn text(&self, name: &'static str) -> Result<String, RecordError> {
        self.optional(name)?.ok_or(RecordError::Missing(name))
    }

    fn parsed<T: FromStr>(&self, name: &'static str, expected: &'static str) -> Result<T, RecordError> {
        let malformed = RecordError::Malformed { name, expected };
        let raw = self.raw(name).ok_or(RecordError::Missing(name))?;
        std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok()).ok_or(malformed)
    }

    fn time(&self) -> Result<DateTime<Utc>, RecordError> {
        let time: DateTime<chrono::FixedOffset> = self.parsed(header::TIME, "a time as in RFC 3339")?;
        Ok(time.to_utc())
    }

    fn expect(&self, name: &'static str, value: &str, expected: &'static str) -> Result<(), RecordError> {
        let found = self.raw(name).ok_or(RecordError::Missing(name))?;
        if found == value.as_bytes() { Ok(()) } else { Err(RecordError::Malformed { name, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn message(key: Option<Vec<u8>>, payload: Option<Vec<u8>>, headers: OwnedHeaders) -> OwnedMessage {
        OwnedMessage::new(payload, key, "t".into(), Timestamp::NotAvailable, 0, 0, Some(headers))
    }

    fn record_of(log: &str, incarnation: i32, event: &IntegrationEvent) -> OwnedMessage {
        let headers = event_headers(log, incarnation, event);
        message(Some(event.subject.clone().into_bytes()), Some(event.data.clone()), headers)
    }

    fn an_event() -> IntegrationEvent {
        IntegrationEvent {
            id: Uuid::from_u128(7),
            source: "/shop/ledger".into(),
            event_type: "shop.ledger.v1.AccountOpened".into(),
            time: DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap(),
            subject: "account-7".into(),
            version: 1,
            position: 12,
            correlation_id: "c".into(),
            traceparent: None,
            data: b"protobuf".to_vec(),
        }
    }

    fn without(headers: &OwnedHeaders, name: &str) -> OwnedHeaders {
        let kept = headers.iter().filter(|header| header.key != name);
        kept.fold(OwnedHeaders::new(), |kept, header| kept.insert(header))
    }

    prop_compose! {
        fn any_event()(
            id in any::<u128>(),
            texts in proptest::array::uniform4(".*"),
            traceparent in proptest::option::of(".*"),
            seconds in 0_i64..8_000_000_000,
            nanoseconds in 0_u32..1_000_000_000,
            version in any::<u64>(),
            position in 0..i64::MAX,
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) -> IntegrationEvent {
            let [source, event_type, subject, correlation_id] = texts;
            IntegrationEvent {
                id: Uuid::from_u128(id),
                source,
                event_type: format!("shop.{event_type}"),
                time: DateTime::from_timestamp(seconds, nanoseconds).expect("it is in range"),
                subject,
                version,
                position,
                correlation_id,
                traceparent,
                data,
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_survives_the_way_through_a_record(
            event in any_event(), log in ".*", incarnation in any::<i32>(),
        ) {
            let read = read(&record_of(&log, incarnation, &event)).unwrap();
            prop_assert_eq!(read, Received { log, incarnation, content: Content::Event(event) });
        }

        #[test]
        fn a_watermark_survives_the_way_through_a_record(
            log in ".*", incarnation in any::<i32>(), position in 0..i64::MAX,
        ) {
            let read = read(&message(None, None, watermark_headers(&log, incarnation, position))).unwrap();
            prop_assert_eq!(read.position(), position);
            prop_assert_eq!(read, Received { log, incarnation, content: Content::Watermark { position } });
        }

        #[test]
        fn whatever_a_record_holds_it_is_read_or_refused_and_never_panics(
            headers in proptest::collection::vec((0..READ.len(), proptest::collection::vec(any::<u8>(), 0..20)), 0..20),
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..10)),
            payload in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..10)),
        ) {
            let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (which, value)| {
                headers.insert(Header { key: READ[*which], value: Some(value) })
            });
            let _ = read(&message(key, payload, headers));
        }
    }

    #[test]
    fn an_event_without_any_one_of_its_headers_is_refused_by_name() {
        let headers = event_headers("ledger", 1, &an_event());
        for name in READ.into_iter().filter(|name| *name != header::TRACEPARENT) {
            let record =
                message(Some(b"account-7".to_vec()), Some(b"protobuf".to_vec()), without(&headers, name));
            assert_eq!(read(&record), Err(RecordError::Missing(name)));
        }
    }

    #[test]
    fn a_header_that_stands_there_twice_is_refused() {
        let headers = add(event_headers("ledger", 1, &an_event()), header::POSITION, "13");
        let record = message(Some(b"account-7".to_vec()), Some(b"protobuf".to_vec()), headers);
        assert_eq!(read(&record), Err(RecordError::Twice(header::POSITION)));
    }

    #[test]
    fn headers_of_others_are_passed_over() {
        let headers = add(event_headers("ledger", 1, &an_event()), "x-mirrored-by", "somebody");
        let record = message(Some(b"account-7".to_vec()), Some(b"protobuf".to_vec()), headers);
        assert_eq!(read(&record).unwrap().content, Content::Event(an_event()));
    }

    #[test]
    fn a_key_other_than_the_subject_a_missing_value_and_a_watermark_with_content_are_refused() {
        let headers = || event_headers("ledger", 1, &an_event());
        let (key, value) = (|| Some(b"account-7".to_vec()), || Some(b"protobuf".to_vec()));
        assert_eq!(
            read(&message(Some(b"account-8".to_vec()), value(), headers())),
            Err(RecordError::OtherKey)
        );
        assert_eq!(read(&message(None, value(), headers())), Err(RecordError::OtherKey));
        assert_eq!(read(&message(key(), None, headers())), Err(RecordError::NoValue));
        let watermark = watermark_headers("ledger", 1, 5);
        assert_eq!(read(&message(None, value(), watermark)), Err(RecordError::WatermarkWithContent));
    }

    #[test]
    fn a_record_of_somebody_else_is_refused_and_says_why() {
        let error = read(&message(None, Some(b"hello".to_vec()), OwnedHeaders::new())).unwrap_err();
        assert_eq!(error.to_string(), "the header `ce_specversion` is missing");
    }
}
