//! Follows what orders, inventory and payment publish, and tells the sagas. Every message is one command, whose id
//! is derived from the message, so a message that is delivered again has no new effect.

pub mod inventory;
pub mod order;
pub mod payment;

use eventsourcing::{Commands, HandlerError, IntegrationEvent, Reactor};
use service_runtime::fields;

use crate::application::{Sagas, Told};
use crate::domain::{Input, OrderId};

/// What a message says about an order; `None` when it is no business of a saga's.
pub type Meaning = Result<Option<(OrderId, Input)>, HandlerError>;

/// The reactor behind one participant's feed.
pub struct Participant {
    name: &'static str,
    meaning: fn(&[u8]) -> Meaning,
    sagas: Sagas,
}

impl Participant {
    /// A message is one command.
    const COMMAND: u32 = 0;

    /// Follows the order service.
    pub fn order(sagas: Sagas) -> Self {
        Self { name: "saga.order-events", meaning: order::meaning, sagas }
    }

    /// Follows the inventory service.
    pub fn inventory(sagas: Sagas) -> Self {
        Self { name: "saga.inventory-events", meaning: inventory::meaning, sagas }
    }

    /// Follows the payment service.
    pub fn payment(sagas: Sagas) -> Self {
        Self { name: "saga.payment-events", meaning: payment::meaning, sagas }
    }
}

impl Reactor for Participant {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn react(&self, message: &IntegrationEvent, commands: &Commands) -> Result<(), HandlerError> {
        let Some((order_id, input)) = (self.meaning)(&message.data)? else { return Ok(()) };
        let told = self.sagas.hear(order_id, input, commands.context(Self::COMMAND)).await?;
        if told.reply == Told::Ignored {
            tracing::info!(
                { fields::EVENT_TYPE } = message.event_type,
                { fields::EVENT_ID } = %message.id,
                { fields::STREAM } = message.subject,
                "no saga awaits this message"
            );
        }
        Ok(())
    }
}

/// A message that cannot be what it says.
fn poison(error: impl std::fmt::Display) -> HandlerError {
    HandlerError::Poison(error.to_string())
}
