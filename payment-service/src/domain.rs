//! The rules of a payment, pure: what may be asked of the provider, what its answers mean, and what is told to
//! whoever asked. No clock, no database and no provider is known here.

pub mod money;
pub mod payment;
pub mod values;

pub use money::{Currency, MalformedCurrency, Money};
pub use payment::{Payment, PaymentCommand, PaymentError, PaymentEvent};
pub use values::{MalformedValue, OrderId, PaymentToken, ProviderReference, Reason, RefundId, RefundReason};
