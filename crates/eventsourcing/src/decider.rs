//! The pure core of an event-sourced model: a decider is three functions over a state, and a domain event
//! knows how it is written down. Nothing here loads, stores or waits.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod tagged;

/// One aggregate's rules, as functions without effects.
///
/// `decide` holds the rules; `evolve` holds none, since history cannot be refused. Time and ids arrive inside
/// commands.
pub trait Decider: 'static {
    /// The category of its streams: the part of the stream id before the first `-`.
    const CATEGORY: &'static str;

    /// Names the shape of `State` and the behaviour of `evolve`. Raise it when either changes, and snapshots
    /// that were taken before are ignored.
    const STATE_VERSION: i32 = 1;

    /// A snapshot is taken whenever a stream has grown by this many events, or never.
    const SNAPSHOT_EVERY: Option<u64> = None;

    /// What the rules need to know; its default is the state before the first event.
    type State: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    type Command;
    type Event: DomainEvent;
    type Error;

    /// The events that this command leads to, or the rule that it breaks. No events means that there is
    /// nothing to do, which is a success.
    fn decide(state: &Self::State, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after one more event.
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;
}

/// A fact of the domain, written down as JSON.
///
/// Implemented for enums that serde tags externally (its default), all of whose variants are structs or
/// newtypes: the variant's name is the event type and its content the data. A released variant is never
/// edited: a new shape raises `schema_version` and `upcast` translates the old one.
pub trait DomainEvent: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The schema version that this program writes for an event type.
    fn schema_version(_event_type: &str) -> i16 {
        1
    }

    /// Brings data of an older schema version to the current one; returns its event type, which may have been
    /// renamed, and the data.
    fn upcast(event_type: &str, _from: i16, data: Value) -> (String, Value) {
        (event_type.to_owned(), data)
    }
}

/// A domain event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    pub event_type: String,
    pub schema_version: i16,
    /// The content of the variant, as JSON.
    pub data: String,
}

/// Why stored data is not an event of this program.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(
        "event type {event_type} has schema version {found}, newer than {known}, which this program knows"
    )]
    Newer { event_type: String, found: i16, known: i16 },
    #[error("event type {event_type}, schema version {schema_version}: {source}")]
    Malformed { event_type: String, schema_version: i16, source: serde_json::Error },
    #[error("an event of type {expected} was expected, the stream is of category {found}")]
    WrongCategory { expected: &'static str, found: String },
}

/// Writes an event down.
///
/// # Panics
/// When the event is not an externally tagged enum with content, which every test that makes one event finds.
pub fn encode<E: DomainEvent>(event: &E) -> EncodedEvent {
    let tagged = serde_json::to_string(event).expect("a domain event serializes: it holds plain data");
    // `{"Type":content}`: serde writes the tag of an enum first and nothing after its content.
    let untagged = tagged.strip_prefix("{\"").and_then(|rest| rest.strip_suffix('}'));
    let (event_type, data) = untagged
        .and_then(|rest| rest.split_once("\":"))
        .expect("a domain event is an externally tagged enum whose variants have content");
    let schema_version = E::schema_version(event_type);
    EncodedEvent { event_type: event_type.to_owned(), schema_version, data: data.to_owned() }
}

/// Reads an event, upcasting it if it was written by an older program.
pub fn decode<E: DomainEvent>(event_type: &str, schema_version: i16, data: &str) -> Result<E, DecodeError> {
    let known = E::schema_version(event_type);
    let malformed =
        |source| DecodeError::Malformed { event_type: event_type.to_owned(), schema_version, source };
    if schema_version > known {
        let event_type = event_type.to_owned();
        return Err(DecodeError::Newer { event_type, found: schema_version, known });
    }
    if schema_version < known {
        let old = serde_json::from_str(data).map_err(malformed)?;
        let (event_type, data) = E::upcast(event_type, schema_version, old);
        return tagged::read(&event_type, &data.to_string()).map_err(malformed);
    }
    tagged::read(event_type, data).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Measured {
        Reading { celsius: i32 },
        Note(String),
    }

    impl DomainEvent for Measured {
        fn schema_version(event_type: &str) -> i16 {
            if event_type == "Reading" { 2 } else { 1 }
        }

        fn upcast(event_type: &str, from: i16, data: Value) -> (String, Value) {
            match (event_type, from) {
                ("Reading", 1) => {
                    let celsius = (data["fahrenheit"].as_i64().unwrap_or(0) - 32) * 5 / 9;
                    ("Reading".into(), serde_json::json!({ "celsius": celsius }))
                }
                _ => (event_type.to_owned(), data),
            }
        }
    }

    #[test]
    fn an_event_is_stored_under_its_variant_name_without_its_tag() {
        let encoded = encode(&Measured::Reading { celsius: 21 });
        assert_eq!(encoded.event_type, "Reading");
        assert_eq!(encoded.schema_version, 2);
        assert_eq!(encoded.data, r#"{"celsius":21}"#);
    }

    #[test]
    fn an_event_survives_being_stored() {
        for event in [Measured::Reading { celsius: -4 }, Measured::Note("a \"quoted\": note}".into())] {
            let stored = encode(&event);
            let read: Measured = decode(&stored.event_type, stored.schema_version, &stored.data).unwrap();
            assert_eq!(read, event);
        }
    }

    #[test]
    fn what_is_no_event_of_this_type_is_refused() {
        let malformed = [
            ("Reading", "{}"),
            ("Reading", r#"{"celsius":21}{"celsius":22}"#),
            ("Reading", r#"{"celsius":"warm"}"#),
            ("Reading", "{\"celsius\":21"),
            ("Reading", ""),
            ("Weighed", r#"{"celsius":21}"#),
            ("Note", "null"),
        ];
        for (event_type, data) in malformed {
            let read = decode::<Measured>(event_type, if event_type == "Reading" { 2 } else { 1 }, data);
            assert!(read.is_err(), "{event_type} {data}: {read:?}");
        }
    }

    #[test]
    fn an_event_of_an_older_schema_is_upcast() {
        let read: Measured = decode("Reading", 1, r#"{"fahrenheit":212}"#).unwrap();
        assert_eq!(read, Measured::Reading { celsius: 100 });
    }

    #[test]
    fn an_event_of_a_newer_schema_is_refused_rather_than_guessed() {
        let refused = decode::<Measured>("Reading", 3, r#"{"kelvin":273}"#).unwrap_err();
        assert!(matches!(refused, DecodeError::Newer { found: 3, known: 2, .. }));
    }
}
