//! Drives a real shop from the outside: the binary as people run it, its REST and gRPC sides, its command line, its
//! database dump. Nothing of the shop is linked into what is here, so it knows only what a user can know, and a
//! kill -9 is a kill -9. The test target `model` is another thing: it searches the services' rules, and links them.
//!
//! [`Shop`] is a process with a throwaway data folder and ports of its own; [`Api`] speaks REST to it; [`trade`] is
//! what tests of orders do again and again; [`tools`] runs other people's programs.

mod api;
pub mod cluster;
mod commands;
mod logs;
mod scratch;
mod shop;
pub mod shoppers;
mod sse;
pub mod tools;
pub mod trade;

pub use api::{ANSWER_DEADLINE, Answer, Api, Call, at, number, text};
pub use commands::{AUDIT_DEADLINE, Finished, finish};
pub use scratch::Scratch;
pub use shop::{Ports, Shop};
pub use sse::{Events, ServerSent};
pub use testkit::eventually;
