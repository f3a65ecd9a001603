//! The stored form of every event, as files: what was written once must be readable for ever.

use std::collections::BTreeSet;
use std::path::PathBuf;

use eventsourcing::decider::{decode, encode};
use saga_orchestrator::domain::*;
use uuid::Uuid;

use crate::support::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// One event of every type, and a `StepRequested` for every request.
fn samples() -> Vec<(String, Event)> {
    let by = answer_by(Step::CommitStock, 1, 1);
    let requests = [
        reserve(),
        authorize(),
        Request::PinReservation,
        Request::CapturePayment,
        Request::CommitStock,
        Request::ConfirmOrder,
        Request::ReleaseStock,
        Request::VoidAuthorization,
        Request::RefundPayment { refund_id: Uuid::from_u128(9), reason: "LATE_CAPTURE".into() },
        Request::RestockGoods,
        reject("CARD_DECLINED"),
        complete_cancellation(),
    ];
    let mut samples: Vec<(String, Event)> = requests
        .into_iter()
        .map(|request| (format!("StepRequested.{}", request.step().name()), asked_again(request, 2, 1)))
        .collect();
    let others = [
        waiting_for(Step::ReserveStock).remove(0),
        history::<Cancellation>([start_cancellation(euros(4990))]).remove(0),
        succeeded(Step::CommitStock),
        failed(Step::AuthorizePayment, "CARD_DECLINED"),
        Event::StepSkipped { step: Step::CommitStock, reason: "done by hand".into() },
        Event::RefundRefused { reason: "PROVIDER_REFUSED".into(), attempt: 1, again_at: by },
        Event::OutcomeUnknown { step: Step::CapturePayment, attempt: 1, answer_by: by },
        Event::CancellationNoted { reason: "CHANGED_MIND".into() },
        Event::TurnedBack {
            reason: "COMPENSATED_BY_OPERATOR".into(),
            note: "customer called".into(),
            given_up: Some(Step::CapturePayment),
        },
        Event::CaptureTurnedOutLate {},
        stuck(Step::CommitStock, "NO_ANSWER"),
        ended(Outcome::Compensated),
    ];
    samples.extend(others.into_iter().map(|event| (encode(&event).event_type, event)));
    samples
}

/// Adding a variant fails to compile here until it is counted, and the next test until it is sampled.
fn type_of(event: &Event) -> &'static str {
    match event {
        Event::CheckoutStarted { .. } => "CheckoutStarted",
        Event::CancellationStarted { .. } => "CancellationStarted",
        Event::StepRequested { .. } => "StepRequested",
        Event::StepSucceeded { .. } => "StepSucceeded",
        Event::StepFailed { .. } => "StepFailed",
        Event::StepSkipped { .. } => "StepSkipped",
        Event::RefundRefused { .. } => "RefundRefused",
        Event::OutcomeUnknown { .. } => "OutcomeUnknown",
        Event::CancellationNoted { .. } => "CancellationNoted",
        Event::TurnedBack { .. } => "TurnedBack",
        Event::CaptureTurnedOutLate {} => "CaptureTurnedOutLate",
        Event::SagaStuck { .. } => "SagaStuck",
        Event::SagaEnded { .. } => "SagaEnded",
    }
}
const TYPES: usize = 13;

#[test]
fn every_event_type_has_a_golden_file() {
    let types: BTreeSet<_> = samples().iter().map(|(_, event)| type_of(event)).collect();
    assert_eq!(types.len(), TYPES);
    for (name, event) in samples() {
        let file = folder().join(format!("{name}.json"));
        let stored = encode(&event);
        let stored = serde_json::json!({
            "type": stored.event_type,
            "schema_version": stored.schema_version,
            "data": serde_json::from_str::<serde_json::Value>(&stored.data).unwrap(),
        });
        if std::env::var_os("WRITE_GOLDEN_FILES").is_some() && !file.exists() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&file, format!("{stored:#}\n")).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_else(|_| {
            panic!("{file:?} is missing: run this test once with WRITE_GOLDEN_FILES=1 and commit the file")
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&golden).unwrap(), stored, "{name}");
    }
}

#[test]
fn every_golden_file_is_read_by_this_program() {
    let samples = samples();
    let mut read = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let golden: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let event_type = golden["type"].as_str().unwrap();
        let version = golden["schema_version"].as_i64().unwrap() as i16;
        let event: Event = decode(event_type, version, &golden["data"].to_string()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let sample = samples.iter().find(|(sample, _)| sample == name);
        assert_eq!(Some(&event), sample.map(|(_, event)| event), "{name}");
        read += 1;
    }
    assert_eq!(read, samples.len());
}
