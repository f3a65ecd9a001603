//! Names of services as DNS tells them at the moment: headless services of Kubernetes, Docker's networks and Consul
//! alike. Answers are not cached here; how long one is good for is told with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// How long a server may take to answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Tries of one look-up.
const QUERY_ATTEMPTS: usize = 2;

/// Looks names up; cheap to clone.
#[derive(Clone)]
pub struct Names(Arc<TokioResolver>);

/// Why names cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    #[error("how this machine looks up names cannot be read: {0}")]
    System(String),
    #[error("{name} cannot be looked up: {reason}")]
    LookUp { name: String, reason: String },
}

impl Names {
    /// As the machine is configured, or, if `servers` are given, by asking those, such as a Consul agent.
    ///
    /// # Errors
    /// When the machine's configuration is needed and cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NamesError> {
        let failed = |error: &dyn std::fmt::Display| NamesError::System(error.to_string());
        let mut builder = match servers {
            [] => TokioResolver::builder_tokio().map_err(|error| failed(&error))?,
            servers => {
                let servers = servers.iter().map(|server| server_at(*server)).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = QUERY_TIMEOUT;
        options.attempts = QUERY_ATTEMPTS;
        Ok(Self(Arc::new(builder.build().map_err(|error| failed(&error))?)))
    }

    /// The addresses behind a name, at least one, and how long they are good for.
    ///
    /// # Errors
    /// When nobody answers, or there is no such name.
    pub async fn look_up(&self, name: &str) -> Result<(Vec<IpAddr>, Duration), NamesError> {
        let failed = |reason: String| NamesError::LookUp { name: name.to_owned(), reason };
        let found = self.0.lookup_ip(name).await.map_err(|error| failed(error.to_string()))?;
        let mut addresses: Vec<IpAddr> = found.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(failed("it has no address".to_owned()));
        }
        Ok((addresses, found.valid_until().saturating_duration_since(Instant::now())))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

fn server_at(address: SocketAddr) -> NameServerConfig {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}
