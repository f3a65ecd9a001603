//! What connects the service to the rest: [`integration_events`] is what others hear of, [`projections`] keep the
//! tables that are read, and [`CacheFollower`] the products in memory; [`price_timers`] let scheduled prices take
//! effect.

mod cache_follower;
pub mod integration_events;
pub mod price_timers;
pub mod projections;

pub use cache_follower::{CacheFollower, LOOK_INTERVAL};
