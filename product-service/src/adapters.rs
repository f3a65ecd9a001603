//! What connects the service to the rest: [`integration_events`] is what others hear of, [`projections`] keep the
//! tables that are read, and [`CacheFollower`] the products in memory.

mod cache_follower;
pub mod integration_events;
pub mod projections;

pub use cache_follower::{CacheFollower, LOOK_INTERVAL};
