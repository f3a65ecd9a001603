//! What the service does: [`Catalogue`] changes products, [`Queries`] reads them, [`ProductCache`] keeps what is
//! read often, [`SharedProducts`] keeps it for all replicas, [`search`] finds them by what they are called, [`Past`]
//! knows what they were, [`Imports`] brings the shop to what a file says.

mod cache;
mod catalogue;
mod export;
mod import;
mod list;
mod past;
mod queries;
pub mod search;
mod shared;
mod views;

pub use cache::{CACHE_TTL, CONFIRMED_FOR, Change as CachedChange, ProductCache};
pub use catalogue::{Catalogue, Change, Creation};
pub use export::{Export, ExportError, Exports};
pub use import::{ImportError, Imports};
pub use list::{CATEGORY_SEPARATOR, ListFilter, PriceRange, status_name};
pub use past::{Past, PastError, ThereWas};
pub use queries::Queries;
pub use shared::{AsOf, SHARED_TTL, SharedProducts};
pub use views::{
    PricePage, PricePoint, PricePointKey, ProductPage, ProductView, ScheduledPriceView, ServedProduct,
    VariantView,
};
