//! What a service publishes on and follows. Services of processes of their own reach each other over Kafka alone, since
//! none may read another's database; a program that is built without it can do everything else.

#[cfg(not(feature = "kafka"))]
mod absent;
#[cfg(feature = "kafka")]
mod kafka;

use service_runtime::config::ConfigReader;

#[cfg(not(feature = "kafka"))]
pub(crate) use absent::{Bus, BusError};
#[cfg(feature = "kafka")]
pub(crate) use kafka::{Bus, BusError};

/// The only bus that services in processes of their own have.
const KAFKA: &str = "kafka";

/// Reads `BUS`, so that a wrong idea of it is found at the start.
fn read_kind(reader: &mut ConfigReader) {
    let rule = "which is kafka here: `log` is for all services in one process";
    let _: String = reader
        .var("BUS", "what services reach each other over")
        .check(rule, |bus| bus == KAFKA)
        .default(KAFKA.to_owned());
}
