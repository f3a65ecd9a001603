//! What the gateway promises about the mapping between HTTP and protobuf, over a proto of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod building;
mod connections;
mod documents;
mod errors;
mod headers;
mod limits;
mod mapping;
mod properties;
mod rate;
mod shop;
mod streams;
mod support;
