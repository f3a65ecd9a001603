//! The order: from the moment it is placed until it is delivered, rejected or cancelled.
//!
//! Only the checkout saga ends `Pending`. A shopper who cancels a pending order leaves a request, and the saga
//! answers it: before its pivot (the capture) it undoes everything and completes the cancellation, after it it
//! can only go forward and confirms. Then the request is repeated as one against a confirmed order, in the
//! same append as the confirmation, and the cancellation saga takes over; so a request is never lost between
//! the two, and the order is never shipped in between.
//!
//! Every request of a saga leads to a public event, also when it comes twice, late, or against what happened:
//! then the order's true outcome is published once more ([`OrderEvent::OrderOutcomeReaffirmed`]), since a saga
//! that is not answered waits for ever.

mod commands;
mod errors;
mod events;
mod place;
mod status;

use eventsourcing::Decider;
use serde::{Deserialize, Serialize};

pub use commands::{Offer, OrderCommand, PlaceOrder, RequestedLine};
pub use errors::OrderError;
pub use events::{Amount, AmountKind, OrderEvent, OrderLine, OrderPlaced, Outcome};
pub use status::Status;

use super::values::ReasonCode;

/// Most lines of an order.
pub const MAX_LINES: usize = 100;
/// Highest total, in minor units: far above any cart, and far below what 64 bits hold.
pub const MAX_TOTAL_MINOR_UNITS: i64 = 1_000_000_000_000;
/// Most orders of one customer that may be pending at a time, unless configured otherwise.
pub const MAX_OPEN_ORDERS: u32 = 20;

/// The decider of one order's stream.
pub enum Order {}

/// What the rules need to know of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    pub phase: Phase,
    /// Why a cancellation was asked for, while one is under way.
    pub cancellation: Option<ReasonCode>,
}

/// How far an order is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// There is no such order.
    #[default]
    Unplaced,
    /// Checkout goes on.
    Pending,
    /// Paid, and the goods are set aside.
    Confirmed,
    Shipped,
    Delivered,
    /// Checkout failed.
    Rejected(ReasonCode),
    /// Ended on request.
    Cancelled(ReasonCode),
}

impl Phase {
    /// Why it ended, if it was rejected or cancelled.
    pub fn reason(&self) -> Option<&ReasonCode> {
        match self {
            Self::Rejected(reason) | Self::Cancelled(reason) => Some(reason),
            Self::Unplaced | Self::Pending | Self::Confirmed | Self::Shipped | Self::Delivered => None,
        }
    }
}

impl OrderState {
    /// Nothing will ever happen to it any more.
    pub fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Rejected(_) | Phase::Cancelled(_) | Phase::Delivered)
    }

    /// Nothing is under way: it is at its end, or confirmed and waiting to be shipped.
    pub fn is_at_rest(&self) -> bool {
        self.is_final() || (self.phase == Phase::Confirmed && self.cancellation.is_none())
    }

    fn request_cancellation(
        &self,
        reason: &ReasonCode,
        note: &Option<super::SealedText>,
    ) -> Result<Vec<OrderEvent>, OrderError> {
        let request = |while_pending| {
            Ok(vec![OrderEvent::OrderCancellationRequested {
                reason: reason.clone(),
                note: note.clone(),
                while_pending,
            }])
        };
        match self.phase {
            Phase::Unplaced => Err(OrderError::NotFound),
            Phase::Pending | Phase::Confirmed if self.cancellation.is_some() => Ok(Vec::new()),
            Phase::Pending => request(true),
            Phase::Confirmed => request(false),
            Phase::Cancelled(_) => Ok(Vec::new()),
            Phase::Shipped | Phase::Delivered => Err(OrderError::AlreadyShipped),
            Phase::Rejected(_) => Err(OrderError::AlreadyRejected),
        }
    }

    fn confirm(&self) -> Result<Vec<OrderEvent>, OrderError> {
        if self.phase != Phase::Pending {
            return self.reaffirm();
        }
        let mut events = vec![OrderEvent::OrderConfirmed {}];
        if let Some(reason) = &self.cancellation {
            let reason = reason.clone();
            events.push(OrderEvent::OrderCancellationRequested { reason, note: None, while_pending: false });
        }
        Ok(events)
    }

    fn reject(&self, reason: &ReasonCode) -> Result<Vec<OrderEvent>, OrderError> {
        match self.phase {
            Phase::Pending => Ok(vec![OrderEvent::OrderRejected { reason: reason.clone() }]),
            _ => self.reaffirm(),
        }
    }

    fn complete_cancellation(&self, reason: &ReasonCode) -> Result<Vec<OrderEvent>, OrderError> {
        match self.phase {
            Phase::Pending | Phase::Confirmed => {
                Ok(vec![OrderEvent::OrderCancelled { reason: reason.clone() }])
            }
            _ => self.reaffirm(),
        }
    }

    /// Publishes once more how checkout, or what came after it, ended.
    fn reaffirm(&self) -> Result<Vec<OrderEvent>, OrderError> {
        let outcome = match &self.phase {
            Phase::Unplaced | Phase::Pending => return Err(OrderError::NotFound),
            Phase::Confirmed | Phase::Shipped | Phase::Delivered => Outcome::Confirmed {},
            Phase::Rejected(reason) => Outcome::Rejected { reason: reason.clone() },
            Phase::Cancelled(reason) => Outcome::Cancelled { reason: reason.clone() },
        };
        Ok(vec![OrderEvent::OrderOutcomeReaffirmed { outcome }])
    }

    fn ship(&self) -> Result<Vec<OrderEvent>, OrderError> {
        match self.phase {
            Phase::Unplaced => Err(OrderError::NotFound),
            Phase::Pending => Err(OrderError::NotConfirmed),
            Phase::Confirmed if self.cancellation.is_some() => Err(OrderError::CancellationUnderWay),
            Phase::Confirmed => Ok(vec![OrderEvent::OrderShipped {}]),
            Phase::Shipped | Phase::Delivered => Err(OrderError::AlreadyShipped),
            Phase::Rejected(_) => Err(OrderError::AlreadyRejected),
            Phase::Cancelled(_) => Err(OrderError::AlreadyCancelled),
        }
    }

    fn deliver(&self) -> Result<Vec<OrderEvent>, OrderError> {
        match self.phase {
            Phase::Unplaced => Err(OrderError::NotFound),
            Phase::Pending | Phase::Confirmed => Err(OrderError::NotShipped),
            Phase::Shipped => Ok(vec![OrderEvent::OrderDelivered {}]),
            Phase::Delivered => Err(OrderError::AlreadyDelivered),
            Phase::Rejected(_) => Err(OrderError::AlreadyRejected),
            Phase::Cancelled(_) => Err(OrderError::AlreadyCancelled),
        }
    }
}

impl Decider for Order {
    const CATEGORY: &'static str = "order";

    type State = OrderState;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;

    fn decide(state: &OrderState, command: &OrderCommand) -> Result<Vec<OrderEvent>, OrderError> {
        match command {
            OrderCommand::Place(order) => place::place(state, order),
            OrderCommand::RequestCancellation { reason, note } => state.request_cancellation(reason, note),
            OrderCommand::Confirm => state.confirm(),
            OrderCommand::Reject { reason } => state.reject(reason),
            OrderCommand::CompleteCancellation { reason } => state.complete_cancellation(reason),
            OrderCommand::Ship => state.ship(),
            OrderCommand::Deliver => state.deliver(),
        }
    }

    fn evolve(state: OrderState, event: &OrderEvent) -> OrderState {
        let ended = |phase| OrderState { phase, cancellation: None };
        match event {
            OrderEvent::OrderPlaced(_) => ended(Phase::Pending),
            OrderEvent::OrderCancellationRequested { reason, .. } => {
                OrderState { cancellation: Some(reason.clone()), ..state }
            }
            OrderEvent::OrderConfirmed {} => OrderState { phase: Phase::Confirmed, ..state },
            OrderEvent::OrderRejected { reason } => ended(Phase::Rejected(reason.clone())),
            OrderEvent::OrderCancelled { reason } => ended(Phase::Cancelled(reason.clone())),
            OrderEvent::OrderShipped {} => ended(Phase::Shipped),
            OrderEvent::OrderDelivered {} => ended(Phase::Delivered),
            OrderEvent::OrderOutcomeReaffirmed { .. } => state,
        }
    }
}

#[cfg(test)]
mod tests;
