//! The stored form of every event, as files that are never edited: what was written once must be read for ever.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::PathBuf;

use eventsourcing::decider::{decode, encode};
use payment_service::domain::PaymentEvent;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Files by the type of the event in them: `Type.json`, or `Type.case.json` where one is not enough.
fn golden() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect()
}

#[test]
fn every_event_is_read_as_it_was_written() {
    for (name, stored) in golden() {
        assert_eq!(stored["type"], json!(name));
        let version = stored["schema_version"].as_i64().unwrap() as i16;
        let event: PaymentEvent = decode(&name, version, &stored["data"].to_string()).unwrap();
        let written = encode(&event);
        let data: Value = serde_json::from_str(&written.data).unwrap();
        assert_eq!(
            (written.event_type, written.schema_version, data),
            (name, version, stored["data"].clone())
        );
    }
}

#[test]
fn every_event_type_has_a_file() {
    // The decoder itself names the types that it knows.
    let refused = serde_json::from_value::<PaymentEvent>(json!({ "Nothing": {} })).unwrap_err().to_string();
    let known: Vec<&str> = refused.split('`').skip(3).step_by(2).collect();
    assert_eq!(known.len(), 17, "{refused}");
    let files = golden();
    for event_type in known {
        assert!(files.iter().any(|(name, _)| name == event_type), "{event_type} has no golden file");
    }
}
