//! What the service does, as a table of contents: goods come and are corrected, orders hold and settle them, and
//! both can be looked at. The rules are the domain's; here is where the clock is read.

mod queries;
mod reservations;
mod stock_keeping;

pub use queries::{Queries, ReservationView, StockLevel, StockPage};
pub use reservations::{Request, Reservations, ReserveRequest, Settled};
pub use stock_keeping::{Change, ChangeRequest, StockKeeping};
