//! Follows the saga orchestrator's requests and puts them to the reservations. Every request that can be true is
//! answered by an event, also when it comes again; one that no correct saga sends is parked for people to see.

use chrono::{DateTime, Utc};
use contracts::shop::saga::v1::saga_event::Event;
use contracts::shop::saga::v1::{SagaEvent, StockReservationRequested};
use eventsourcing::{Commands, ExecuteError, HandlerError, IntegrationEvent, Reactor};
use prost::Message;

use crate::application::{Request, Reservations, ReserveRequest, Settled};
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
        let Some(request) = request_of(&message.data)? else { return Ok(()) };
        answered(self.reservations.carry_out(request, commands.context(Self::COMMAND)).await)
    }
}

/// What an event of the saga asks of a reservation; `None` when it asks another service, or when it is one of a
/// newer saga.
pub fn request_of(data: &[u8]) -> Result<Option<Request>, HandlerError> {
    let event = SagaEvent::decode(data)
        .map_err(|error| HandlerError::Poison(format!("not a saga event: {error}")))?;
    let Some(event) = event.event else { return Ok(None) };
    Ok(Some(match event {
        Event::StockReservationRequested(asked) => Request::Reserve(reserve_request(&asked)?),
        Event::StockReleaseRequested(asked) => Request::Release(order_id(&asked.order_id)?),
        Event::ReservationPinRequested(asked) => Request::Pin(order_id(&asked.order_id)?),
        Event::StockCommitRequested(asked) => Request::Commit(order_id(&asked.order_id)?),
        Event::StockRestockRequested(asked) => Request::Restock(order_id(&asked.order_id)?),
        Event::PaymentAuthorizationRequested(_)
        | Event::PaymentVoidRequested(_)
        | Event::PaymentCaptureRequested(_)
        | Event::PaymentRefundRequested(_)
        | Event::OrderConfirmationRequested(_)
        | Event::OrderRejectionRequested(_)
        | Event::OrderCancellationCompletionRequested(_) => return Ok(None),
    }))
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
