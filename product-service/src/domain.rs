//! The rules of the catalogue, pure: no I/O, no clock, no randomness. Read [`product`] first; [`claims`] makes SKUs
//! and handles unique, and [`operations`] joins both.

pub mod claims;
pub mod currency;
pub mod details;
pub mod limits;
pub mod operations;
pub mod product;
pub mod text;
mod values;
mod variants;

pub use currency::{Currency, UnknownCurrency};
pub use values::{Handle, InvalidValue, Price, ProductId, ScheduleId, Sku, Violation};
pub use variants::{Assortment, NewVariant, Offer, Variant};
