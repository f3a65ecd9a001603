//! The payment of one order: authorize, capture, void, refund. Every request ends in an event that answers it,
//! however often it is made and whatever came before; nothing is compensated while it is unknown what the
//! provider did. At most one capture happens, and refunds never exceed it.

mod commands;
mod errors;
mod events;
mod state;

pub use commands::{PaymentCommand, RefundOrder};
pub use errors::PaymentError;
pub use events::{Answer, Call, PaymentEvent};
pub use state::{Authorization, Capture, PaymentState, Refund, RefundStatus, Status, Void};

use eventsourcing::Decider;

use crate::domain::{Money, PaymentToken, ProviderReference, Reason, RefundId};

/// The largest amount of one payment: ten billion of a currency that has cents. Sums of the refunds that a
/// payment may have fit in 64 bits by far.
pub const MAX_MINOR_UNITS: i64 = 1_000_000_000_000;
/// Refunds of one payment, failed ones included. They are held in memory together.
pub const MAX_REFUNDS: usize = 100;

/// The rules. One stream for each order, with the order's id as its key.
pub struct Payment;

type Decision = Result<Vec<PaymentEvent>, PaymentError>;

impl Decider for Payment {
    const CATEGORY: &'static str = "payment";

    type State = PaymentState;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = PaymentError;

    fn decide(state: &PaymentState, command: &PaymentCommand) -> Decision {
        use PaymentCommand::*;
        match command {
            Authorize { amount, payment_token } => Ok(authorize(state, *amount, payment_token)),
            RefuseAuthorization { reason } => Ok(refuse_authorization(state, reason)),
            Capture => Ok(capture(state)),
            Void => Ok(void(state)),
            RequestRefund(order) => Ok(request_refund(state, order)),
            RefuseRefund { refund_id, reason } => Ok(refuse_refund(state, refund_id, reason)),
            Refund(order) => refund(state, order),
            RecordAuthorized { provider_reference } => record_authorized(state, provider_reference),
            RecordDeclined { reason } => record_declined(state, reason),
            RecordCaptured => record_captured(state),
            RecordCaptureFailed { reason } => record_capture_failed(state, reason),
            RecordVoided => record_voided(state),
            RecordRefunded { refund_id } => record_refund(state, refund_id, RefundStatus::Succeeded),
            RecordRefundFailed { refund_id, reason } => {
                record_refund(state, refund_id, RefundStatus::Failed { reason: reason.clone() })
            }
            RecordOutcomeUnknown { call } => Ok(record_unknown(state, call)),
        }
    }

    fn evolve(state: PaymentState, event: &PaymentEvent) -> PaymentState {
        state.after(event)
    }
}

fn authorize(state: &PaymentState, amount: Money, token: &PaymentToken) -> Vec<PaymentEvent> {
    if let Some(answer) = answer_to_authorize(state) {
        return answer;
    }
    match chargeable(amount) {
        Ok(()) => vec![PaymentEvent::AuthorizationStarted { amount, payment_token: token.clone() }],
        Err(error) => vec![PaymentEvent::AuthorizationRefused { reason: error.reason() }],
    }
}

fn refuse_authorization(state: &PaymentState, reason: &Reason) -> Vec<PaymentEvent> {
    let refused = || vec![PaymentEvent::AuthorizationRefused { reason: reason.clone() }];
    answer_to_authorize(state).unwrap_or_else(refused)
}

/// The answer to a request to authorize that does not come first; `None` for the first one.
fn answer_to_authorize(state: &PaymentState) -> Option<Vec<PaymentEvent>> {
    let voided = state.void == Void::Done;
    Some(match &state.authorization {
        Authorization::NotAsked if voided => {
            vec![PaymentEvent::AuthorizationRefused { reason: Reason::voided_before() }]
        }
        Authorization::NotAsked => return None,
        Authorization::Pending => vec![],
        Authorization::Held { .. } if voided => again(Answer::Declined { reason: Reason::voided_before() }),
        // While a void runs the money is still held, as far as anybody knows; a capture is refused by then.
        Authorization::Held { .. } => again(Answer::Authorized),
        Authorization::Declined { reason } => again(Answer::Declined { reason: reason.clone() }),
    })
}

fn capture(state: &PaymentState) -> Vec<PaymentEvent> {
    match (&state.capture, &state.authorization) {
        (Capture::Pending, _) => vec![],
        (Capture::Done { amount }, _) => again(Answer::Captured { amount: *amount }),
        (Capture::Failed { reason }, _) => again(Answer::CaptureFailed { reason: reason.clone() }),
        (Capture::NotAsked, _) if state.void != Void::NotAsked => {
            vec![PaymentEvent::CaptureRefused { reason: Reason::voided_before() }]
        }
        (Capture::NotAsked, Authorization::Held { provider_reference }) => match state.amount {
            Some(amount) => {
                let provider_reference = provider_reference.clone();
                vec![PaymentEvent::CaptureStarted { amount, provider_reference }]
            }
            None => vec![PaymentEvent::CaptureRefused { reason: Reason::not_authorized() }],
        },
        (Capture::NotAsked, _) => vec![PaymentEvent::CaptureRefused { reason: Reason::not_authorized() }],
    }
}

fn void(state: &PaymentState) -> Vec<PaymentEvent> {
    if let Capture::Done { amount } = state.capture {
        return again(Answer::Captured { amount });
    }
    match state.void {
        Void::Requested | Void::Pending => return vec![],
        Void::Done => return again(Answer::Voided),
        Void::NotAsked => {}
    }
    if state.capture == Capture::Pending {
        return vec![PaymentEvent::VoidRequested {}];
    }
    match &state.authorization {
        Authorization::Pending => vec![PaymentEvent::VoidRequested {}],
        Authorization::Held { provider_reference } => vec![start_void(provider_reference)],
        // Nothing is held; an authorization that is asked for later finds this and is refused.
        Authorization::NotAsked | Authorization::Declined { .. } => vec![PaymentEvent::Voided {}],
    }
}

fn start_void(provider_reference: &ProviderReference) -> PaymentEvent {
    PaymentEvent::VoidStarted { provider_reference: provider_reference.clone() }
}

fn request_refund(state: &PaymentState, order: &RefundOrder) -> Vec<PaymentEvent> {
    refund(state, order).unwrap_or_else(|error| {
        vec![PaymentEvent::RefundRefused { refund_id: order.refund_id.clone(), reason: error.reason() }]
    })
}

fn refuse_refund(state: &PaymentState, refund_id: &RefundId, reason: &Reason) -> Vec<PaymentEvent> {
    let refused = || PaymentEvent::RefundRefused { refund_id: refund_id.clone(), reason: reason.clone() };
    answer_to_refund(state, refund_id).unwrap_or_else(|| vec![refused()])
}

fn refund(state: &PaymentState, order: &RefundOrder) -> Decision {
    if let Some(answer) = answer_to_refund(state, &order.refund_id) {
        return Ok(answer);
    }
    let (Some(captured), Some(provider_reference)) = (state.captured(), state.provider_reference()) else {
        let none = state.authorization == Authorization::NotAsked;
        return Err(if none { PaymentError::NoPayment } else { PaymentError::NotCaptured });
    };
    if state.refunds.len() >= MAX_REFUNDS {
        return Err(PaymentError::TooManyRefunds { limit: MAX_REFUNDS });
    }
    let left = state.left().unwrap_or(captured.zero());
    let amount = order.amount.unwrap_or(left);
    if amount.currency != captured.currency {
        return Err(PaymentError::CurrencyMismatch { captured });
    }
    if left.minor_units <= 0 {
        return Err(PaymentError::NothingLeftToRefund);
    }
    chargeable(amount)?;
    if amount.minor_units > left.minor_units {
        return Err(PaymentError::RefundExceedsCapture { left });
    }
    Ok(vec![PaymentEvent::RefundStarted {
        refund_id: order.refund_id.clone(),
        amount,
        reason: order.reason.clone(),
        provider_reference: provider_reference.clone(),
    }])
}

/// The answer to a refund that was asked for before; `None` for a new one.
fn answer_to_refund(state: &PaymentState, refund_id: &RefundId) -> Option<Vec<PaymentEvent>> {
    let refund = state.refunds.get(refund_id)?;
    let refund_id = refund_id.clone();
    Some(match (&refund.status, refund.amount) {
        (RefundStatus::Pending, _) => vec![],
        (RefundStatus::Succeeded, Some(amount)) => again(Answer::Refunded { refund_id, amount }),
        (RefundStatus::Failed { reason }, _) => {
            again(Answer::RefundFailed { refund_id, reason: reason.clone() })
        }
        (RefundStatus::Succeeded, None) => return None,
    })
}

fn record_authorized(state: &PaymentState, reference: &ProviderReference) -> Decision {
    match &state.authorization {
        Authorization::NotAsked => Err(PaymentError::NotAsked),
        Authorization::Held { provider_reference } if provider_reference == reference => Ok(vec![]),
        Authorization::Held { .. } | Authorization::Declined { .. } => Err(PaymentError::Contradiction),
        Authorization::Pending => {
            let mut events = vec![PaymentEvent::Authorized { provider_reference: reference.clone() }];
            if state.void == Void::Requested {
                events.push(start_void(reference));
            }
            Ok(events)
        }
    }
}

fn record_declined(state: &PaymentState, reason: &Reason) -> Decision {
    match &state.authorization {
        Authorization::NotAsked => Err(PaymentError::NotAsked),
        Authorization::Declined { .. } => Ok(vec![]),
        Authorization::Held { .. } => Err(PaymentError::Contradiction),
        Authorization::Pending => {
            let mut events = vec![PaymentEvent::Declined { reason: reason.clone() }];
            if state.void == Void::Requested {
                events.push(PaymentEvent::Voided {});
            }
            Ok(events)
        }
    }
}

fn record_captured(state: &PaymentState) -> Decision {
    let running = state.capture == Capture::Pending || state.void == Void::Pending;
    match (&state.capture, state.amount) {
        (Capture::Done { .. }, _) => Ok(vec![]),
        // The provider may answer a void by saying that the money is taken.
        (_, Some(amount)) if running => Ok(vec![PaymentEvent::Captured { amount }]),
        (Capture::Failed { .. }, _) => Err(PaymentError::Contradiction),
        _ => Err(PaymentError::NotAsked),
    }
}

fn record_capture_failed(state: &PaymentState, reason: &Reason) -> Decision {
    match state.capture {
        Capture::NotAsked => Err(PaymentError::NotAsked),
        Capture::Failed { .. } => Ok(vec![]),
        Capture::Done { .. } => Err(PaymentError::Contradiction),
        Capture::Pending => {
            let mut events = vec![PaymentEvent::CaptureFailed { reason: reason.clone() }];
            if state.void == Void::Requested {
                events.extend(state.provider_reference().map(start_void));
            }
            Ok(events)
        }
    }
}

fn record_voided(state: &PaymentState) -> Decision {
    match (state.void, &state.capture) {
        (_, Capture::Done { .. }) => Err(PaymentError::Contradiction),
        (Void::Done, _) => Ok(vec![]),
        (Void::Pending, _) => Ok(vec![PaymentEvent::Voided {}]),
        (Void::NotAsked | Void::Requested, _) => Err(PaymentError::NotAsked),
    }
}

fn record_refund(state: &PaymentState, refund_id: &RefundId, now: RefundStatus) -> Decision {
    let Some(refund) = state.refunds.get(refund_id) else { return Err(PaymentError::NotAsked) };
    let refund_id = refund_id.clone();
    match (&refund.status, now) {
        (RefundStatus::Pending, RefundStatus::Failed { reason }) => {
            Ok(vec![PaymentEvent::RefundFailed { refund_id, reason }])
        }
        (RefundStatus::Pending, _) => match refund.amount {
            Some(amount) => Ok(vec![PaymentEvent::Refunded { refund_id, amount }]),
            None => Err(PaymentError::NotAsked),
        },
        (RefundStatus::Succeeded, RefundStatus::Succeeded)
        | (RefundStatus::Failed { .. }, RefundStatus::Failed { .. }) => Ok(vec![]),
        _ => Err(PaymentError::Contradiction),
    }
}

fn record_unknown(state: &PaymentState, call: &Call) -> Vec<PaymentEvent> {
    if state.is_pending(call) && !state.unknown.contains(call) {
        return vec![PaymentEvent::OutcomeUnknown { call: call.clone() }];
    }
    vec![]
}

fn again(answer: Answer) -> Vec<PaymentEvent> {
    vec![PaymentEvent::AnswerRepeated { answer }]
}

fn chargeable(amount: Money) -> Result<(), PaymentError> {
    match amount.minor_units {
        ..=0 => Err(PaymentError::AmountNotPositive),
        1..=MAX_MINOR_UNITS => Ok(()),
        _ => Err(PaymentError::AmountTooLarge),
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
