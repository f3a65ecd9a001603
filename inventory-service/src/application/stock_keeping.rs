//! Goods that arrive, and corrections of what is there: what people who run a store do.

use chrono::Utc;
use eventsourcing::{CommandContext, CommandProcessor, ExecuteError, Position};

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

    /// Carries out a change. Returns the stock with it, and where the log is then.
    pub async fn change(
        &self,
        request: ChangeRequest,
        context: CommandContext,
    ) -> Result<(StockLevel, Position), ExecuteError<StockError>> {
        let ChangeRequest { sku, change, expected_version } = request;
        let command = match change {
            Change::Receive { quantity, reference } => StockCommand::Receive { quantity, reference },
            Change::Adjust { delta, reason } => StockCommand::Adjust { delta, reason },
        };
        let operation = ChangeStock { sku: sku.clone(), command, expected_version, now: Utc::now() };
        let committed = self.processor.execute(operation, context).await?;
        let changed = committed.reply;
        let level =
            StockLevel { sku, state: changed.state, version: changed.version, updated_at: changed.at };
        Ok((level, committed.position))
    }
}
