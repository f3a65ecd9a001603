//! Answers what the sagas ask of orders. Each request becomes one command, and each command leads to a public
//! event, also when it is repeated; see [`crate::domain::order`].

use contracts::shop::saga::v1::SagaEvent;
use contracts::shop::saga::v1::saga_event::Event;
use eventsourcing::{CommandProcessor, Commands, Decide, HandlerError, IntegrationEvent, Reactor, StreamId};
use prost::Message;

use crate::domain::order::OrderCommand;
use crate::domain::{Order, OrderId, ReasonCode};

/// Stands in for a reason that is not a code.
const UNSPECIFIED: &str = "UNSPECIFIED";

/// The consumer of the saga feed.
pub struct SagaRequests {
    processor: CommandProcessor,
}

impl SagaRequests {
    pub fn new(processor: CommandProcessor) -> Self {
        Self { processor }
    }
}

impl Reactor for SagaRequests {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        "order.saga-requests"
    }

    async fn react(&self, message: &IntegrationEvent, commands: &Commands) -> Result<(), HandlerError> {
        let Some((order_id, command)) = command_of(&message.data)? else { return Ok(()) };
        let stream = StreamId::of::<Order>(order_id);
        let decide = Decide::<Order> { stream, command, expected_version: None };
        // A rejection means that there is no such order. A saga starts with one, so that is for a person to see.
        self.processor.execute(decide, commands.context(0)).await?;
        Ok(())
    }
}

/// What an event of the saga asks of which order; `None` when it asks another service.
pub fn command_of(data: &[u8]) -> Result<Option<(OrderId, OrderCommand)>, HandlerError> {
    let envelope = SagaEvent::decode(data).map_err(|e| HandlerError::Poison(e.to_string()))?;
    let Some((order_id, command)) = envelope.event.and_then(command) else { return Ok(None) };
    let order_id = OrderId::parse(&order_id)
        .ok_or_else(|| HandlerError::Poison("the request names no valid order id".to_owned()))?;
    Ok(Some((order_id, command)))
}

fn command(event: Event) -> Option<(String, OrderCommand)> {
    match event {
        Event::OrderConfirmationRequested(asked) => Some((asked.order_id, OrderCommand::Confirm)),
        Event::OrderRejectionRequested(asked) => {
            Some((asked.order_id, OrderCommand::Reject { reason: code(&asked.reason) }))
        }
        Event::OrderCancellationCompletionRequested(asked) => {
            Some((asked.order_id, OrderCommand::CompleteCancellation { reason: code(&asked.reason) }))
        }
        Event::StockReservationRequested(_)
        | Event::StockReleaseRequested(_)
        | Event::ReservationPinRequested(_)
        | Event::StockCommitRequested(_)
        | Event::StockRestockRequested(_)
        | Event::PaymentAuthorizationRequested(_)
        | Event::PaymentVoidRequested(_)
        | Event::PaymentCaptureRequested(_)
        | Event::PaymentRefundRequested(_) => None,
    }
}

/// A saga must get its answer, so a malformed reason is no reason to refuse it.
fn code(reason: &str) -> ReasonCode {
    ReasonCode::parse(reason).unwrap_or_else(|| ReasonCode::fixed(UNSPECIFIED))
}
