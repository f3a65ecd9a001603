//! The real servers that tests and benchmarks run against, one module for each: private, throwaway, on a loopback port
//! that is asked for, gone when the run ends however it ends.

mod postgres;

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use anyhow::Result;

pub use postgres::Postgres;

/// Everything that a run has.
pub struct Servers {
    pub postgres: Postgres,
}

impl Servers {
    /// Finds, installs where needed, and starts them; says what it does.
    pub fn provide() -> Result<Self> {
        Ok(Self { postgres: Postgres::provide()? })
    }

    /// Tells a child process where they are.
    pub fn export_to(&self, command: &mut Command) {
        command
            .env("STORELINE_TEST_DATABASE_URL", self.postgres.url())
            .env("STORELINE_TEST_POSTGRES_BIN", self.postgres.programs());
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
