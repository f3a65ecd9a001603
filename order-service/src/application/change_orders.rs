//! What people do with an order that exists: ask for its cancellation, ship it, deliver it.

use eventsourcing::{CommandContext, CommandProcessor, Committed, Decide, ExecuteError, StreamId};

use super::StoreError;
use super::personal_data::{Field, PersonalData};
use super::timeline;
use crate::domain::order::{OrderCommand, OrderError};
use crate::domain::{Order, OrderId, ReasonCode, SealedText};

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct ChangeOrders {
    processor: CommandProcessor,
    personal_data: PersonalData,
}

/// Who wants an order cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canceller {
    Shopper,
    Operator,
}

impl Canceller {
    fn code(self) -> ReasonCode {
        ReasonCode::fixed(match self {
            Self::Shopper => "REQUESTED_BY_SHOPPER",
            Self::Operator => "REQUESTED_BY_OPERATOR",
        })
    }
}

/// Why an order was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Command(#[from] ExecuteError<OrderError>),
}

impl ChangeOrders {
    pub fn new(processor: CommandProcessor, personal_data: PersonalData) -> Self {
        Self { processor, personal_data }
    }

    /// Asks for an order to be cancelled.
    ///
    /// `reason` may be a code in UPPER_SNAKE_CASE, which is kept and published as it is, or free text, which
    /// may be personal: it is sealed with the order's other personal data, and only who may read the order
    /// reads it.
    pub async fn request_cancellation(
        &self,
        order_id: OrderId,
        reason: &str,
        by: Canceller,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Result<Committed<u64>, ChangeError> {
        let (reason, note) = match ReasonCode::parse(reason) {
            Some(code) => (code, None),
            None => (by.code(), self.seal_note(order_id, reason).await?),
        };
        let command = OrderCommand::RequestCancellation { reason, note };
        self.execute(order_id, command, expected_version, context).await
    }

    pub async fn ship(
        &self,
        order_id: OrderId,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Result<Committed<u64>, ChangeError> {
        self.execute(order_id, OrderCommand::Ship, expected_version, context).await
    }

    pub async fn deliver(
        &self,
        order_id: OrderId,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Result<Committed<u64>, ChangeError> {
        self.execute(order_id, OrderCommand::Deliver, expected_version, context).await
    }

    async fn execute(
        &self,
        order_id: OrderId,
        command: OrderCommand,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Result<Committed<u64>, ChangeError> {
        let stream = StreamId::of::<Order>(order_id);
        let operation = Decide::<Order> { stream, command, expected_version };
        Ok(self.processor.execute(operation, context).await?)
    }

    /// `None` when nothing was written, or when the person is forgotten and nothing about them is kept.
    async fn seal_note(&self, order_id: OrderId, note: &str) -> Result<Option<SealedText>, StoreError> {
        if note.is_empty() {
            return Ok(None);
        }
        let Some(placed) = timeline::placed(self.processor.log(), order_id).await? else { return Ok(None) };
        let key = self.personal_data.find(&placed.key_subject()).await?;
        Ok(key.map(|key| key.seal(order_id, Field::CancellationNote, note.as_bytes())))
    }
}
