//! A saga's events, told to people. It shows no lines, amounts or tokens: those are the order's and the payment's.

use chrono::{DateTime, Utc};

use crate::domain::{Event, Outcome, Request, Step};

/// One event of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    pub at: DateTime<Utc>,
    /// The event's name.
    pub event: String,
    pub step: Option<Step>,
    pub detail: String,
}

impl TimelineEntry {
    pub(super) fn of(event: &Event, event_type: String, actor: &str, at: DateTime<Utc>) -> Self {
        Self { at, event: event_type, step: step(event), detail: detail(event, actor) }
    }
}

fn step(event: &Event) -> Option<Step> {
    match event {
        Event::StepRequested { request, .. } => Some(request.step()),
        Event::StepSucceeded { step }
        | Event::StepFailed { step, .. }
        | Event::StepSkipped { step, .. }
        | Event::OutcomeUnknown { step, .. }
        | Event::SagaStuck { step, .. } => Some(*step),
        Event::RefundRefused { .. } => Some(Step::RefundPayment),
        Event::TurnedBack { given_up, .. } => *given_up,
        Event::CaptureTurnedOutLate {} => Some(Step::CapturePayment),
        Event::CheckoutStarted { .. }
        | Event::CancellationStarted { .. }
        | Event::CancellationNoted { .. }
        | Event::SagaEnded { .. } => None,
    }
}

fn detail(event: &Event, actor: &str) -> String {
    match event {
        Event::CheckoutStarted { definition, .. } => format!("definition {definition}"),
        Event::CancellationStarted { reason, definition, .. } => {
            format!("definition {definition}, {reason}")
        }
        Event::StepRequested { request, attempt, answer_by, .. } => {
            format!("attempt {attempt}, answer by {}{}", time(answer_by), particulars(request))
        }
        Event::StepSucceeded { .. } | Event::CaptureTurnedOutLate {} => String::new(),
        Event::StepFailed { reason, .. } | Event::SagaStuck { reason, .. } => reason.clone(),
        Event::StepSkipped { reason, .. } => format!("by {actor}: {reason}"),
        Event::RefundRefused { reason, again_at, .. } => {
            format!("{reason}, tried again at {}", time(again_at))
        }
        Event::OutcomeUnknown { answer_by, .. } => {
            format!("the provider is being asked until {}", time(answer_by))
        }
        Event::CancellationNoted { reason } => reason.clone(),
        Event::TurnedBack { reason, note, .. } if note.is_empty() => reason.clone(),
        Event::TurnedBack { reason, note, .. } => format!("{reason} by {actor}: {note}"),
        Event::SagaEnded { outcome: Outcome::Completed } => "completed".to_owned(),
        Event::SagaEnded { outcome: Outcome::Compensated } => "compensated".to_owned(),
    }
}

fn particulars(request: &Request) -> String {
    match request {
        Request::ReserveStock { expires_at, .. } => format!(", reserved until {}", time(expires_at)),
        Request::RefundPayment { refund_id, reason } => format!(", refund {refund_id}, {reason}"),
        Request::RejectOrder { reason } | Request::CompleteCancellation { reason } => format!(", {reason}"),
        Request::AuthorizePayment { .. }
        | Request::PinReservation
        | Request::CapturePayment
        | Request::CommitStock
        | Request::ConfirmOrder
        | Request::ReleaseStock
        | Request::VoidAuthorization
        | Request::RestockGoods => String::new(),
    }
}

fn time(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
