//! Read models, each kept in step with one feed.

mod catalogue;
mod orders;

pub use catalogue::CatalogueProjection;
pub use orders::OrdersProjection;
