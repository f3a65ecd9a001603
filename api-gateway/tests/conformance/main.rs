//! What the gateway promises about the mapping between HTTP and protobuf, over a proto of its own.

mod building;
mod documents;
mod errors;
mod headers;
mod limits;
mod mapping;
mod properties;
mod streams;
mod support;
