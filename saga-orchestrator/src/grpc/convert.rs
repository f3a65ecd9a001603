//! Between the application's types and those of the wire.

use chrono::{DateTime, Utc};
use contracts::shop::saga::v1 as wire;
use service_runtime::etag;
use service_runtime::status::invalid_field;

use crate::application::{SagaView, TimelineEntry};
use crate::domain::{Kind, Status, Step};

pub(super) fn saga(view: &SagaView) -> wire::Saga {
    wire::Saga {
        saga_id: view.id.to_string(),
        kind: match view.id.kind {
            Kind::Checkout => wire::SagaKind::Checkout,
            Kind::Cancellation => wire::SagaKind::Cancellation,
        }
        .into(),
        order_id: view.id.order_id.to_string(),
        status: match view.status {
            Status::Running => wire::SagaStatus::Running,
            Status::Compensating => wire::SagaStatus::Compensating,
            Status::Completed => wire::SagaStatus::Completed,
            Status::Compensated => wire::SagaStatus::Compensated,
            Status::Stuck => wire::SagaStatus::Stuck,
        }
        .into(),
        open_step: step(view.open_step),
        attempts: i32::try_from(view.attempts).unwrap_or(i32::MAX),
        deadline: view.deadline.map(timestamp),
        reason: view.reason.clone(),
        definition_version: i32::try_from(view.definition).unwrap_or(i32::MAX),
        started_at: Some(timestamp(view.started_at)),
        updated_at: Some(timestamp(view.updated_at)),
        etag: etag::of(view.version),
        timeline: Vec::new(),
    }
}

pub(super) fn timeline_entry(entry: TimelineEntry) -> wire::SagaTimelineEntry {
    wire::SagaTimelineEntry {
        at: Some(timestamp(entry.at)),
        event: entry.event,
        step: step(entry.step),
        detail: entry.detail,
    }
}

/// The status that a list is limited to; `None` for all.
pub(super) fn status_filter(status: i32) -> Result<Option<Status>, tonic::Status> {
    match wire::SagaStatus::try_from(status) {
        Ok(wire::SagaStatus::Unspecified) => Ok(None),
        Ok(wire::SagaStatus::Running) => Ok(Some(Status::Running)),
        Ok(wire::SagaStatus::Compensating) => Ok(Some(Status::Compensating)),
        Ok(wire::SagaStatus::Completed) => Ok(Some(Status::Completed)),
        Ok(wire::SagaStatus::Compensated) => Ok(Some(Status::Compensated)),
        Ok(wire::SagaStatus::Stuck) => Ok(Some(Status::Stuck)),
        Err(_) => Err(invalid_field("status", "must be a known status")),
    }
}

fn step(step: Option<Step>) -> String {
    step.map(Step::name).unwrap_or_default().to_owned()
}

fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos() as i32 }
}
