//! Goods that arrive, and corrections of what is there: what people who run a store do.

use chrono::Utc;
use eventsourcing::{CommandContext, CommandProcessor, Committed, ExecuteError};

use super::queries::StockLevel;
use crate::domain::operations::ChangeStock;
use crate::domain::stock::{StockCommand, StockError};
use crate::domain::{Adjustment, Note, Quantity, Sku};

/// Receives and corrects stock.
#[derive(Clone)]
pub struct StockKeeping {
    processor: CommandProcessor,
}

/// What happened to the goods.
#[derive(Clone, Debug)]
pub enum Change {
    Receive { quantity: Quantity, reference: Note },
    Adjust { delta: Adjustment, reason: Note },
}

/// A change of one SKU's stock.
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    pub sku: Sku,
    pub change: Change,
    /// Refuse unless the stock has this version now.
    pub expected_version: Option<u64>,
}

impl StockKeeping {
    pub fn new(processor: CommandProcessor) -> Self {
        Self { processor }
    }

    /// Carries out a change. Replies with the stock that has it.
    pub async fn change(
        &self,
        request: ChangeRequest,
        context: CommandContext,
    ) -> Result<Committed<StockLevel>, ExecuteError<StockError>> {
        let ChangeRequest { sku, change, expected_version } = request;
        let command = match change {
            Change::Receive { quantity, reference } => StockCommand::Receive { quantity, reference },
            Change::Adjust { delta, reason } => StockCommand::Adjust { delta, reason },
        };
        let operation = ChangeStock { sku: sku.clone(), command, expected_version, now: Utc::now() };
        let Committed { reply, position, replayed } = self.processor.execute(operation, context).await?;
        let reply = StockLevel { sku, state: reply.state, version: reply.version, updated_at: reply.at };
        Ok(Committed { reply, position, replayed })
    }
}
