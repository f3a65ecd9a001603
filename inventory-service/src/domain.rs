//! The rules of stock: how many pieces of a SKU are there, and which of them are held for which order. It is
//! pure: no clock, no database, no wire format; time arrives inside commands. What a piece costs or looks like
//! is the business of other services.

pub mod operations;
pub mod reservation;
pub mod stock;
mod values;

pub use values::{
    Adjustment, InvalidLines, InvalidValue, Line, MAX_LINES, MAX_NOTE_CHARS, MAX_QUANTITY, MAX_SKU_BYTES,
    MAX_SKU_CHARS, Note, OrderId, OrderLines, Quantity, Sku,
};
