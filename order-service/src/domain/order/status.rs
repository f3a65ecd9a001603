//! The status of an order as it is read: the phase without its reason.

use super::Phase;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Confirmed,
    Shipped,
    Delivered,
    Rejected,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Confirmed, Self::Shipped, Self::Delivered, Self::Rejected, Self::Cancelled];

    /// The status of an order in this phase; one that was never placed has none.
    pub fn of(phase: &Phase) -> Option<Self> {
        match phase {
            Phase::Unplaced => None,
            Phase::Pending => Some(Self::Pending),
            Phase::Confirmed => Some(Self::Confirmed),
            Phase::Shipped => Some(Self::Shipped),
            Phase::Delivered => Some(Self::Delivered),
            Phase::Rejected(_) => Some(Self::Rejected),
            Phase::Cancelled(_) => Some(Self::Cancelled),
        }
    }

    /// As read models hold it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}
