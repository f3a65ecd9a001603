//! The RPCs: requests become commands and queries, results become replies. Nothing is decided here.

mod payment_service;
mod status;

pub use payment_service::PaymentServiceHandler;
