//! Read models, each kept in step with one feed.

mod catalogue;
pub mod orders;

pub use catalogue::CatalogueProjection;
pub use orders::OrdersProjection;
