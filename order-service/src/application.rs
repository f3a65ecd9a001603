//! What can be done with orders, one module for each group of use cases. Each gathers the facts that the rules
//! need, puts a command to the decider, and knows neither gRPC nor how events leave the service.

pub mod catalogue;
pub mod change_orders;
pub mod forget_person;
pub mod personal_data;
pub mod place_orders;
pub mod read_orders;
pub mod timeline;
pub mod watch_orders;

use eventsourcing::HandlerError;

use personal_data::PersonalDataError;

pub use change_orders::ChangeOrders;
pub use forget_person::ForgetPerson;
pub use place_orders::PlaceOrders;
pub use read_orders::ReadOrders;
pub use watch_orders::WatchOrders;

/// All of them.
#[derive(Clone)]
pub struct Application {
    pub place: PlaceOrders,
    pub change: ChangeOrders,
    pub read: ReadOrders,
    pub watch: WatchOrders,
    pub forget: ForgetPerson,
}

/// Why something could not be read or written beside the log. Nothing here is an answer of the domain.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database of the order service does not answer: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Fault(String),
}

impl From<HandlerError> for StoreError {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Unreachable(why) => Self::Unreachable(why),
            HandlerError::Poison(why) => Self::Fault(why),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        HandlerError::from(error).into()
    }
}

impl From<eventsourcing::DecodeError> for StoreError {
    fn from(error: eventsourcing::DecodeError) -> Self {
        Self::Fault(error.to_string())
    }
}

impl From<PersonalDataError> for StoreError {
    fn from(error: PersonalDataError) -> Self {
        match error {
            PersonalDataError::Database(error) => error.into(),
            fault => Self::Fault(fault.to_string()),
        }
    }
}
