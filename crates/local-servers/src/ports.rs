//! Ports that a server can be stopped on and started again on. They lie below the ranges from which systems hand out
//! ports for connections, so that nobody gets one by chance while its server is down.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Linux hands out ports from 32768 on, others from 49152 on.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// A machine on which so many in a row are taken has none.
const ATTEMPTS: usize = 200;

/// What this process has been given; a port is never given twice, even if its server is down now.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback port that nobody listens on now.
///
/// # Errors
/// When there seems to be none.
pub fn free_port() -> io::Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for attempt in 0..ATTEMPTS {
        // Other processes ask at the same time, so each begins elsewhere.
        let chance = RandomState::new().hash_one(attempt) % u64::from(COUNT);
        let port = FIRST + u16::try_from(chance).unwrap_or_default();
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    Err(io::Error::other(format!("{ATTEMPTS} loopback ports in a row were taken")))
}
