//! The service against a real database: its API with all checks around it, lists, the cache, imports, and two
//! replicas at once.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cache;
mod facets;
mod imports;
mod lists;
mod many;
mod past;
mod plans;
mod prices;
mod products;
mod races;
mod relevance;
mod scheduled_prices;
mod search;
mod shared;
mod support;
