//! The state of a saga and how events change it. Both process managers share it. It holds no rule: what is asked
//! next is read from a definition, in `react.rs`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Awaiting, Event, Kind, Line, Money, OrderId, Request, Step};

/// Namespace of refund ids.
const REFUNDS: Uuid = Uuid::from_u128(0x3f0c_8a51_9d4e_4c7b_b1a6_58e2_07d9_c463);
/// Why a capture that turned out late is paid back.
const LATE_CAPTURE: &str = "LATE_CAPTURE";

/// All that the rules need to know of one saga.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Saga {
    /// What it is about; `None` before it started.
    pub subject: Option<Subject>,
    /// The version of the process that it started with.
    pub definition: u32,
    /// What is waited for; `None` before the start and at the end.
    pub open: Option<OpenStep>,
    pub done: BTreeSet<Step>,
    /// A step that was left without an answer, and is compensated as if it had happened.
    pub given_up: Option<Step>,
    /// Why it compensates, once it does.
    pub turned_back: Option<String>,
    /// Why somebody wants the order cancelled, once somebody does.
    pub cancellation: Option<String>,
    /// Money was taken although the saga had turned back.
    pub late_capture: bool,
    /// How many refunds definitely failed. Each is tried under an id of its own.
    pub refunds_refused: u32,
}

/// What a saga is about. A cancellation asks for no lines, token or reservation, and has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    pub kind: Kind,
    pub order_id: OrderId,
    pub total: Money,
    pub lines: Vec<Line>,
    pub payment_token: String,
    pub reserve_until: DateTime<Utc>,
    pub started_at: DateTime<Utc>,
}

/// A request that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpenStep {
    pub step: Step,
    /// How often it was sent.
    pub attempt: u32,
    /// How often within the current budget.
    pub tries: u32,
    pub awaiting: Awaiting,
    /// When it is sent again, or gives up.
    pub answer_by: DateTime<Utc>,
    /// The last definite failure of a step that is retried.
    pub refused: Option<String>,
    /// Why a person has to look; an answer still continues the saga.
    pub stuck: Option<String>,
}

/// Where a saga stands, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    Running,
    Compensating,
    Completed,
    Compensated,
    Stuck,
}

impl Status {
    const ALL: [Self; 5] =
        [Self::Running, Self::Compensating, Self::Completed, Self::Compensated, Self::Stuck];

    /// The name under which it is stored and measured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Stuck => "stuck",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl Saga {
    /// `None` before the start.
    pub fn status(&self) -> Option<Status> {
        self.subject.as_ref()?;
        Some(match (&self.open, &self.turned_back) {
            (Some(open), _) if open.stuck.is_some() => Status::Stuck,
            (Some(_), None) => Status::Running,
            (Some(_), Some(_)) => Status::Compensating,
            (None, None) => Status::Completed,
            (None, Some(_)) => Status::Compensated,
        })
    }

    /// Why it is stuck, or else why it compensates.
    pub fn reason(&self) -> &str {
        let stuck = self.open.as_ref().and_then(|open| open.stuck.as_deref());
        stuck.or(self.turned_back.as_deref()).unwrap_or_default()
    }

    /// The id of the refund that is under way, or would be next. A refund that definitely failed is answered
    /// the same whenever it is asked for again, so the next one has another id.
    pub fn refund_id(&self) -> Option<Uuid> {
        self.refund_id_after(self.refunds_refused)
    }

    /// Whether this saga ever asked for a refund under this id.
    pub(super) fn asked_for_refund(&self, refund_id: Option<Uuid>) -> bool {
        (0..=self.refunds_refused).any(|refused| self.refund_id_after(refused) == refund_id)
    }

    fn refund_id_after(&self, refused: u32) -> Option<Uuid> {
        let subject = self.subject.as_ref()?;
        let name = format!("{:?}\n{}\n{refused}", subject.kind, subject.order_id);
        Some(Uuid::new_v5(&REFUNDS, name.as_bytes()))
    }

    /// What a step asks of its participant.
    pub(super) fn request(&self, subject: &Subject, step: Step) -> Request {
        match step {
            Step::ReserveStock => {
                Request::ReserveStock { lines: subject.lines.clone(), expires_at: subject.reserve_until }
            }
            Step::AuthorizePayment => Request::AuthorizePayment {
                amount: subject.total.clone(),
                payment_token: subject.payment_token.clone(),
            },
            Step::PinReservation => Request::PinReservation,
            Step::CapturePayment => Request::CapturePayment,
            Step::CommitStock => Request::CommitStock,
            Step::ConfirmOrder => Request::ConfirmOrder,
            Step::ReleaseStock => Request::ReleaseStock,
            Step::VoidAuthorization => Request::VoidAuthorization,
            Step::RefundPayment => Request::RefundPayment {
                refund_id: self.refund_id().unwrap_or_default(),
                reason: self.cancellation.clone().unwrap_or_else(|| LATE_CAPTURE.to_owned()),
            },
            Step::RestockGoods => Request::RestockGoods,
            Step::RejectOrder => {
                Request::RejectOrder { reason: self.turned_back.clone().unwrap_or_default() }
            }
            Step::CompleteCancellation => {
                Request::CompleteCancellation { reason: self.cancellation.clone().unwrap_or_default() }
            }
        }
    }

    /// The state after one more event.
    #[must_use]
    pub fn evolve(mut self, event: &Event) -> Self {
        match event {
            Event::CheckoutStarted {
                order_id,
                lines,
                total,
                payment_token,
                reserve_until,
                definition,
                at,
            } => {
                self.definition = *definition;
                self.subject = Some(Subject {
                    kind: Kind::Checkout,
                    order_id: *order_id,
                    total: total.clone(),
                    lines: lines.clone(),
                    payment_token: payment_token.clone(),
                    reserve_until: *reserve_until,
                    started_at: *at,
                });
            }
            Event::CancellationStarted { order_id, total, reason, definition, at } => {
                self.definition = *definition;
                self.cancellation = Some(reason.clone());
                self.subject = Some(Subject {
                    kind: Kind::Cancellation,
                    order_id: *order_id,
                    total: total.clone(),
                    lines: Vec::new(),
                    payment_token: String::new(),
                    reserve_until: *at,
                    started_at: *at,
                });
            }
            Event::StepRequested { request, attempt, tries, answer_by } => {
                self.open = Some(OpenStep {
                    step: request.step(),
                    attempt: *attempt,
                    tries: *tries,
                    awaiting: Awaiting::Answer,
                    answer_by: *answer_by,
                    refused: None,
                    stuck: None,
                });
            }
            Event::StepSucceeded { step } | Event::StepSkipped { step, .. } => self.close(*step),
            Event::StepFailed { reason, .. } => {
                self.open = None;
                self.turned_back.get_or_insert_with(|| reason.clone());
            }
            Event::RefundRefused { reason, again_at, .. } => {
                self.refunds_refused += 1;
                if let Some(open) = &mut self.open {
                    open.awaiting = Awaiting::Answer;
                    open.answer_by = *again_at;
                    open.refused = Some(reason.clone());
                }
            }
            Event::OutcomeUnknown { answer_by, .. } => {
                if let Some(open) = &mut self.open {
                    open.awaiting = Awaiting::Outcome;
                    open.answer_by = *answer_by;
                    open.stuck = None;
                }
            }
            Event::CancellationNoted { reason } => self.cancellation = Some(reason.clone()),
            Event::TurnedBack { reason, given_up, .. } => {
                self.turned_back.get_or_insert_with(|| reason.clone());
                if given_up.is_some() {
                    self.given_up = *given_up;
                    self.open = None;
                }
            }
            Event::CaptureTurnedOutLate {} => {
                self.late_capture = true;
                // There is nothing left to void.
                self.done.insert(Step::VoidAuthorization);
                self.open = self.open.filter(|open| open.step != Step::VoidAuthorization);
            }
            Event::SagaStuck { reason, .. } => {
                if let Some(open) = &mut self.open {
                    open.stuck = Some(reason.clone());
                }
            }
            Event::SagaEnded { .. } => self.open = None,
        }
        self
    }

    fn close(&mut self, step: Step) {
        self.done.insert(step);
        self.open = None;
    }
}
