//! The real servers that tests and benchmarks run against, one module for each: private, throwaway, on a loopback port
//! that is asked for, gone when the run ends however it ends.

mod kafka;
mod postgres;
mod redis;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::apt;

pub use kafka::Kafka;
pub use postgres::Postgres;
pub use redis::Redis;

/// Everything that a run has.
pub struct Servers {
    pub postgres: Postgres,
    pub kafka: Kafka,
    pub redis: Redis,
}

impl Servers {
    /// Finds, installs where needed, and starts them; says what it does.
    pub fn provide() -> Result<Self> {
        headers()?;
        Ok(Self { postgres: Postgres::provide()?, redis: Redis::provide()?, kafka: Kafka::provide()? })
    }

    /// Tells a child process where they are.
    pub fn export_to(&self, command: &mut Command) {
        command
            .env("STORELINE_TEST_DATABASE_URL", self.postgres.url())
            .env("STORELINE_TEST_POSTGRES_BIN", self.postgres.programs())
            .env("STORELINE_TEST_KAFKA", self.kafka.bootstrap())
            .env("STORELINE_TEST_KAFKA_JARS", self.kafka.jars())
            .env("STORELINE_TEST_REDIS_BIN", self.redis.program());
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What librdkafka is compiled with, beside a C compiler.
pub fn headers() -> Result<()> {
    const HEADERS: [(&str, &str); 2] = [("openssl/ssl.h", "libssl-dev"), ("zlib.h", "zlib1g-dev")];
    // Elsewhere they are where only the system's own tools know.
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let missing: Vec<&str> = (HEADERS.iter())
        .filter(|(header, _)| {
            ["/usr/include", "/usr/local/include"]
                .iter()
                .all(|folder| !Path::new(folder).join(header).is_file())
        })
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt::install(&missing, "elsewhere install the headers of OpenSSL and zlib")
}
