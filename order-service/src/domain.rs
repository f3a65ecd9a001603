//! What an order is and which rules it keeps. Everything here is pure: no clock, no randomness, no storage,
//! and no wire format; times, ids, prices and sealed texts arrive inside commands.

pub mod contact;
pub mod country;
pub mod free_text;
pub mod money;
pub mod order;
pub mod values;

pub use contact::{Address, Contact, KeySubject, SealedText};
pub use money::{Currency, Money};
pub use order::Order;
pub use values::{CustomerId, OrderId, PaymentToken, Quantity, ReasonCode, Sku};
