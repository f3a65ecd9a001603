//! The stored form of every event, as files that are never edited: what was written once must be read for ever.

use std::collections::BTreeSet;
use std::path::PathBuf;

use eventsourcing::DomainEvent;
use eventsourcing::decider::{decode, encode};
use product_service::domain::claims::{HandleEvent, SkuEvent};
use product_service::domain::product::ProductEvent;
use serde_json::{Value, json};

fn golden() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect()
}

fn reads_as_written<E: DomainEvent>(name: &str, stored: &Value) {
    let version = i16::try_from(stored["schema_version"].as_i64().unwrap()).unwrap();
    let event: E = decode(name, version, &stored["data"].to_string()).unwrap();
    let written = encode(&event);
    let data: Value = serde_json::from_str(&written.data).unwrap();
    assert_eq!((written.event_type.as_str(), written.schema_version), (name, version));
    assert_eq!(data, stored["data"], "{name}");
}

/// The decoder itself names the types that it knows.
fn types<E: DomainEvent>() -> BTreeSet<String> {
    let refused = match serde_json::from_value::<E>(json!({ "Nothing": {} })) {
        Ok(_) => panic!("there is an event of the type Nothing"),
        Err(error) => error.to_string(),
    };
    refused.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_event_type_has_a_golden_file_that_is_read_as_it_was_written() {
    let mut missing: BTreeSet<String> = types::<ProductEvent>();
    assert_eq!(missing.len(), 18, "{missing:?}");
    // A single known type is named without a list.
    missing.extend(["SkuClaimed".to_owned(), "HandleClaimed".to_owned()]);
    for (name, stored) in golden() {
        match name.as_str() {
            "SkuClaimed" => reads_as_written::<SkuEvent>(&name, &stored),
            "HandleClaimed" => reads_as_written::<HandleEvent>(&name, &stored),
            _ => reads_as_written::<ProductEvent>(&name, &stored),
        }
        missing.remove(&name);
    }
    assert_eq!(missing, BTreeSet::new(), "without a golden file");
}
