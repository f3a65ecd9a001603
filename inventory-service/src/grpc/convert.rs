//! From this service's values to messages.

use chrono::{DateTime, Utc};
use contracts::shop::inventory::v1 as wire;
use service_runtime::etag;

use crate::application::{ReservationView, StockLevel};
use crate::domain::Line;
use crate::domain::reservation::ReservationStatus;

pub(super) fn stock_level(level: &StockLevel) -> wire::StockLevel {
    let state = &level.state;
    wire::StockLevel {
        sku: level.sku.as_str().to_owned(),
        available: state.available(),
        reserved: state.reserved,
        received: state.received,
        restocked: state.restocked,
        adjusted: state.adjusted,
        committed: state.committed,
        shortfall: state.missing(),
        updated_at: Some(timestamp(level.updated_at)),
        etag: etag::of(level.version),
    }
}

pub(super) fn reservation(view: &ReservationView) -> wire::Reservation {
    wire::Reservation {
        order_id: view.order_id.to_string(),
        status: status(view.status).into(),
        lines: view.lines.iter().map(line).collect(),
        expires_at: view.expires_at.map(timestamp),
    }
}

fn line(line: &Line) -> wire::ReservationLine {
    wire::ReservationLine { sku: line.sku.as_str().to_owned(), quantity: line.quantity.get() }
}

fn status(status: ReservationStatus) -> wire::ReservationStatus {
    match status {
        ReservationStatus::Unknown => wire::ReservationStatus::Unspecified,
        ReservationStatus::Held => wire::ReservationStatus::Held,
        ReservationStatus::Pinned => wire::ReservationStatus::Pinned,
        ReservationStatus::Committed => wire::ReservationStatus::Committed,
        ReservationStatus::Released => wire::ReservationStatus::Released,
        ReservationStatus::Expired => wire::ReservationStatus::Expired,
        ReservationStatus::Rejected => wire::ReservationStatus::Rejected,
        ReservationStatus::Restocked => wire::ReservationStatus::Restocked,
    }
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().min(999_999_999).cast_signed(),
    }
}
