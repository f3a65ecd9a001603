//! The rules that span several products, on streams in memory; and what is stored and published.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod golden;
mod imports;
mod operations;
mod published;
mod support;
mod timeline;
mod uniqueness;
