//! Other people's servers as processes of a run or of a test: Apache Kafka and Redis, on loopback, in a folder of their
//! own, gone when whoever started them is gone, however that ended. It finds and installs nothing, waits for nothing (it
//! says whether something is ready), and knows nothing of the shop; it needs the standard library alone, so that
//! `cargo xtask` stays quick to build.

mod folder;
pub mod kafka;
mod ports;
mod process;
pub mod redis;

pub use folder::Folder;
pub use ports::free_port;
pub use process::{Process, Signal};
