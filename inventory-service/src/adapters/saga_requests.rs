//! Follows the saga orchestrator's requests and puts them to the reservations. Every request that can be true is
//! answered by an event, also when it comes again; one that no correct saga sends is parked for people to see.

use chrono::{DateTime, Utc};
use contracts::shop::saga::v1::saga_event::Event;
use contracts::shop::saga::v1::{SagaEvent, StockReservationRequested};
use eventsourcing::{Commands, ExecuteError, HandlerError, IntegrationEvent, Reactor};
use prost::Message;

use crate::application::{Reservations, ReserveRequest, Settled};
use crate::domain::{OrderId, OrderLines};

/// The reactor behind the saga's feed.
pub struct SagaRequests {
    reservations: Reservations,
}

impl SagaRequests {
    /// Names its checkpoint and its commands.
    pub const NAME: &'static str = "inventory.saga-requests";
    /// A request is one command.
    const COMMAND: u32 = 0;

    pub fn new(reservations: Reservations) -> Self {
        Self { reservations }
    }
}

impl Reactor for SagaRequests {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn react(&self, message: &IntegrationEvent, commands: &Commands) -> Result<(), HandlerError> {
        let event = SagaEvent::decode(message.data.as_slice())
            .map_err(|error| HandlerError::Poison(format!("not a saga event: {error}")))?;
        // One of a newer saga is none of ours, like those to other participants.
        let Some(event) = event.event else { return Ok(()) };
        let context = commands.context(Self::COMMAND);
        let stock = &self.reservations;
        let settled = match event {
            Event::StockReservationRequested(r) => stock.reserve(reserve_request(&r)?, context).await,
            Event::StockReleaseRequested(r) => stock.release(order_id(&r.order_id)?, context).await,
            Event::ReservationPinRequested(r) => stock.pin(order_id(&r.order_id)?, context).await,
            Event::StockCommitRequested(r) => stock.commit(order_id(&r.order_id)?, context).await,
            Event::StockRestockRequested(r) => stock.restock(order_id(&r.order_id)?, context).await,
            Event::PaymentAuthorizationRequested(_)
            | Event::PaymentVoidRequested(_)
            | Event::PaymentCaptureRequested(_)
            | Event::PaymentRefundRequested(_)
            | Event::OrderConfirmationRequested(_)
            | Event::OrderRejectionRequested(_)
            | Event::OrderCancellationCompletionRequested(_) => return Ok(()),
        };
        answered(settled)
    }
}

fn answered(settled: Settled) -> Result<(), HandlerError> {
    match settled {
        Ok(_) => Ok(()),
        Err(ExecuteError::Rejected { rejection, .. }) => Err(HandlerError::Poison(rejection.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn reserve_request(request: &StockReservationRequested) -> Result<ReserveRequest, HandlerError> {
    Ok(ReserveRequest {
        order_id: order_id(&request.order_id)?,
        lines: OrderLines::sum(request.lines.iter().map(|line| (line.sku.as_str(), line.quantity))),
        expires_at: request.expires_at.as_ref().and_then(time),
    })
}

/// Without an order nobody can be answered.
fn order_id(text: &str) -> Result<OrderId, HandlerError> {
    OrderId::parse(text).map_err(|error| HandlerError::Poison(format!("order_id {error}")))
}

/// `None` for a moment that does not exist.
fn time(timestamp: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).ok()?)
}
