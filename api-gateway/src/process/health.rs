//! `healthcheck`: asks the process beside it, for container engines that have no probe of their own.

#![expect(clippy::print_stdout, reason = "container engines keep what a check says")]

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::config::Health;

/// Container engines give a check some seconds; an answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(3);
/// More of an answer than its first lines and what is not ready is not read, in bytes.
const MAX_ANSWER: u64 = 16 * 1024;
/// Exit code when it is not well.
const NOT_WELL: u8 = 1;

/// Asks `/readyz`, or `/healthz` for `live`.
pub async fn check(config: &Health, live: bool) -> ExitCode {
    let path = if live { "/healthz" } else { "/readyz" };
    let asked = tokio::time::timeout(TIMEOUT, ask(config, path)).await;
    let (said, well) = match asked {
        Ok(Ok(answer)) => {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
            (body.to_owned(), answer.starts_with("HTTP/1.1 200"))
        }
        Ok(Err(error)) => (error.to_string(), false),
        Err(_) => ("no answer in time".to_owned(), false),
    };
    println!("{}{path}: {said}", config.target());
    if well { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) }
}

/// One request on a connection of its own: a client library would be the larger part of this program.
async fn ask(config: &Health, path: &str) -> std::io::Result<String> {
    let target = config.target();
    let mut connection = TcpStream::connect(target).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
