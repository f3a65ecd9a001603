//! Inventory, payment and order as small as the protocol allows: every request has its answers, a repeat gets
//! the same one, a compensation that comes first leaves a tombstone. What the protocol forbids is a violation.

use saga_orchestrator::domain::{Answer, Reply, Request};
use uuid::Uuid;

/// What may become of a participant, and what it says.
pub type Outcomes<S> = Vec<(S, Vec<Reply>)>;

fn one<S>(state: S, answer: Answer) -> Outcomes<S> {
    vec![(state, vec![Reply::plain(answer)])]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stock {
    Untouched,
    Held,
    Pinned,
    Committed,
    Restocked,
    Released,
    Rejected,
}

impl Stock {
    pub fn is_left(self) -> bool {
        matches!(self, Self::Held | Self::Pinned | Self::Committed)
    }

    pub fn answer(self, request: &Request) -> Result<Outcomes<Self>, String> {
        use Stock::*;
        let rejected = |state| one(state, Answer::StockReservationRejected);
        Ok(match (request, self) {
            (Request::ReserveStock { .. }, Untouched) => {
                let mut outcomes = one(Held, Answer::StockReserved);
                outcomes.extend(rejected(Rejected));
                outcomes
            }
            (Request::ReserveStock { .. }, Rejected | Released) => rejected(self),
            (Request::ReserveStock { .. }, _) => one(self, Answer::StockReserved),
            (Request::PinReservation, Held) => one(Pinned, Answer::ReservationPinned),
            (Request::PinReservation, Pinned | Committed) => one(self, Answer::ReservationPinned),
            (Request::PinReservation, _) => one(self, Answer::ReservationPinRejected),
            (Request::ReleaseStock, Untouched | Held | Pinned | Released | Rejected) => {
                one(Released, Answer::StockReleased)
            }
            (Request::CommitStock, Pinned | Committed) => one(Committed, Answer::StockCommitted),
            (Request::RestockGoods, Committed | Restocked) => one(Restocked, Answer::StockRestocked),
            (request, state) => return Err(format!("{request:?} while stock is {state:?}")),
        })
    }

    /// The reservation's time is up.
    pub fn expire(self) -> Option<(Self, Vec<Reply>)> {
        (self == Self::Held).then(|| (Self::Released, vec![Reply::plain(Answer::StockReleased)]))
    }
}

/// What the provider is being asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Authorize,
    Capture,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payment {
    Untouched,
    /// `void`: it shall be voided as soon as the outcome is known.
    Unknown {
        call: Call,
        void: bool,
    },
    Authorized,
    Declined,
    Captured,
    CaptureFailed,
    Voided,
    Refunded(Uuid),
}

impl Payment {
    /// Money is held or taken.
    pub fn is_left(self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Authorized | Self::Captured | Self::CaptureFailed)
    }

    /// `may_refuse`: a refund may fail.
    pub fn answer(self, request: &Request, may_refuse: bool) -> Result<Outcomes<Self>, String> {
        use Payment::*;
        let unknown = |call, operation| {
            (Unknown { call, void: false }, vec![Reply::because(Answer::PaymentOutcomeUnknown, operation)])
        };
        Ok(match (request, self) {
            (Request::AuthorizePayment { .. }, Untouched) => {
                let mut outcomes = one(Authorized, Answer::PaymentAuthorized);
                outcomes.extend(one(Declined, Answer::PaymentDeclined));
                outcomes.push(unknown(Call::Authorize, "authorize"));
                outcomes
            }
            (Request::AuthorizePayment { .. }, Declined | Voided) => one(self, Answer::PaymentDeclined),
            (Request::CapturePayment, Authorized) => {
                let mut outcomes = one(Captured, Answer::PaymentCaptured);
                outcomes.extend(one(CaptureFailed, Answer::PaymentCaptureFailed));
                outcomes.push(unknown(Call::Capture, "capture"));
                outcomes
            }
            (Request::CapturePayment, Captured) => one(Captured, Answer::PaymentCaptured),
            (Request::CapturePayment, CaptureFailed | Voided) => one(self, Answer::PaymentCaptureFailed),
            (Request::VoidAuthorization, Unknown { call, .. }) => {
                let reply = Reply::because(Answer::PaymentOutcomeUnknown, "void");
                vec![(Unknown { call, void: true }, vec![reply])]
            }
            (Request::VoidAuthorization, Captured | Refunded(_)) => one(self, Answer::PaymentCaptured),
            (Request::VoidAuthorization, _) => one(Voided, Answer::PaymentVoided),
            // Asked again while it does not know: it goes on asking, and says so.
            (Request::AuthorizePayment { .. }, Unknown { call: Call::Authorize, .. }) => {
                vec![(self, vec![Reply::because(Answer::PaymentOutcomeUnknown, "authorize")])]
            }
            (Request::CapturePayment, Unknown { call: Call::Capture, .. }) => {
                vec![(self, vec![Reply::because(Answer::PaymentOutcomeUnknown, "capture")])]
            }
            (Request::AuthorizePayment { .. }, _) => one(self, Answer::PaymentAuthorized),
            (Request::RefundPayment { refund_id, .. }, Captured) => {
                let reply = |answer| vec![Reply::of_refund(answer, *refund_id, "")];
                let mut outcomes = vec![(Refunded(*refund_id), reply(Answer::PaymentRefunded))];
                if may_refuse {
                    outcomes.push((Captured, reply(Answer::PaymentRefundFailed)));
                }
                outcomes
            }
            (Request::RefundPayment { refund_id, .. }, Refunded(by)) if by == *refund_id => {
                vec![(self, vec![Reply::of_refund(Answer::PaymentRefunded, *refund_id, "")])]
            }
            (Request::RefundPayment { refund_id, .. }, Refunded(_)) => {
                let reason = "NOTHING_LEFT_TO_REFUND";
                vec![(self, vec![Reply::of_refund(Answer::PaymentRefundFailed, *refund_id, reason)])]
            }
            (request, state) => return Err(format!("{request:?} while the payment is {state:?}")),
        })
    }

    /// The provider says what became of a call.
    pub fn resolve(self) -> Outcomes<Self> {
        let Self::Unknown { call, void } = self else { return Vec::new() };
        let (yes, no) = match call {
            Call::Authorize => {
                ((Self::Authorized, Answer::PaymentAuthorized), (Self::Declined, Answer::PaymentDeclined))
            }
            Call::Capture => (
                (Self::Captured, Answer::PaymentCaptured),
                (Self::CaptureFailed, Answer::PaymentCaptureFailed),
            ),
        };
        let then_void = |(state, answer): (Self, Answer)| {
            let mut replies = vec![Reply::plain(answer)];
            if !void {
                return (state, replies);
            }
            let voided = if state == Self::Captured { Self::Captured } else { Self::Voided };
            let answer = if voided == Self::Voided { Answer::PaymentVoided } else { Answer::PaymentCaptured };
            replies.push(Reply::plain(answer));
            (voided, replies)
        };
        vec![then_void(yes), then_void(no)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    Pending,
    Confirmed,
    Rejected,
    Cancelled,
}

impl Order {
    pub fn answer(self, request: &Request) -> Result<Outcomes<Self>, String> {
        use Order::*;
        Ok(match (request, self) {
            (Request::ConfirmOrder, Pending | Confirmed) => one(Confirmed, Answer::OrderConfirmed),
            (Request::RejectOrder { .. }, Pending | Rejected) => one(Rejected, Answer::OrderRejected),
            (Request::CompleteCancellation { .. }, Pending | Confirmed | Cancelled) => {
                one(Cancelled, Answer::OrderCancelled)
            }
            (request, state) => return Err(format!("{request:?} while the order is {state:?}")),
        })
    }
}
