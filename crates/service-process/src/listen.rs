//! Binding of ports, with what to do when one is taken.

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}. {}", advice(source, *address, variable))]
pub struct ListenError {
    address: SocketAddr,
    variable: String,
    source: std::io::Error,
}

fn advice(error: &std::io::Error, address: SocketAddr, variable: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "Another program holds it (`ss -ltnp 'sport = :{}'` names it): stop that one, or set {variable} to another \
             address",
            address.port()
        ),
        _ => format!("Set {variable} to an address of this machine"),
    }
}

/// Listens on `address`, which was read from `variable`.
///
/// # Errors
/// When that is not possible, with what to do.
pub async fn listen(address: SocketAddr, variable: &str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError {
        address,
        variable: variable.to_owned(),
        source,
    })
}
