//! Forgetting a person: deleting the key of their personal data. Open orders of theirs go on; what was sealed
//! cannot be read by anybody any more, so an address that is still needed must be on the parcel by then.

use eventsourcing::EventLog;

use super::StoreError;
use super::personal_data::PersonalData;
use super::timeline;
use crate::domain::{CustomerId, KeySubject, OrderId};

/// The use case. Cheap to clone.
#[derive(Clone)]
pub struct ForgetPerson {
    log: EventLog,
    personal_data: PersonalData,
}

/// Why nobody was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error("there is no such order")]
    UnknownOrder,
    /// Its data is sealed under the customer's key; forgetting the order would forget all of their orders.
    #[error("the order is of customer {0}: forget the customer")]
    OrderOfCustomer(CustomerId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ForgetPerson {
    pub fn new(log: EventLog, personal_data: PersonalData) -> Self {
        Self { log, personal_data }
    }

    /// Forgets the guest who placed an order. Returns how many keys were deleted.
    pub async fn guest(&self, order_id: OrderId) -> Result<u64, ForgetError> {
        let placed = timeline::placed(&self.log, order_id).await?.ok_or(ForgetError::UnknownOrder)?;
        if let Some(customer) = placed.customer_id {
            return Err(ForgetError::OrderOfCustomer(customer));
        }
        Ok(self.forget(&KeySubject::of_guest_order(order_id)).await?)
    }

    /// Forgets a customer with all of their orders. Returns how many keys were deleted; a customer who never
    /// ordered anything has none.
    pub async fn customer(&self, customer_id: &CustomerId) -> Result<u64, StoreError> {
        self.forget(&KeySubject::of_customer(customer_id)).await
    }

    async fn forget(&self, subject: &KeySubject) -> Result<u64, StoreError> {
        Ok(self.personal_data.forget(subject).await?)
    }
}
