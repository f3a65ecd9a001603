//! What can be asked of a product.

use chrono::{DateTime, Utc};

use super::super::details::{DetailChange, Details};
use super::super::{Assortment, Handle, Price, ScheduleId, Sku};
use super::ScheduledPrice;

/// A command to one product. What it holds was checked where it entered.
#[derive(Clone, Debug)]
pub enum ProductCommand {
    Create {
        handle: Handle,
        details: Box<Details>,
        assortment: Assortment,
        /// Put it on sale at once.
        publish: bool,
    },
    /// Changes details, and the status if one is wanted.
    Update {
        changes: Vec<DetailChange>,
        status: Option<WantedStatus>,
    },
    AddVariants(Assortment),
    ChangePrices {
        prices: Vec<NewPrice>,
        reason: String,
        now: DateTime<Utc>,
    },
    Discontinue {
        reason: String,
    },
    /// Takes a discontinuation back.
    Reinstate {
        reason: String,
    },
    /// Sets a price that takes effect by itself.
    SchedulePrice {
        /// New.
        schedule_id: ScheduleId,
        scheduled: ScheduledPrice,
        now: DateTime<Utc>,
    },
    WithdrawScheduledPrice {
        schedule_id: ScheduleId,
        reason: String,
    },
    /// Lets a scheduled price take effect, since its time has come.
    TakeEffect {
        schedule_id: ScheduleId,
        now: DateTime<Utc>,
    },
}

/// The statuses that an update can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedStatus {
    Draft,
    Active,
}

/// The price that a variant is to have.
#[derive(Clone, Debug)]
pub struct NewPrice {
    pub sku: Sku,
    pub price: Price,
}
