//! Where a service is: a host, which may be a name of many replicas, and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use service_runtime::config::ConfigValue;

/// Longest name of a host, as DNS has it.
const MAX_HOST_CHARS: usize = 253;

/// One address of a service. Several may stand for one service, with commas in between: `Vec<Address>` is a
/// [`ConfigValue`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

impl Address {
    /// The name or IP address.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is if it needs no name to be looked up.
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl ConfigValue for Address {
    const RULE: &'static str =
        "host:port or http://host:port, several with commas in between (https is left to a mesh)";

    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => host,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let named = (1..=MAX_HOST_CHARS).contains(&host.len()) && host.bytes().all(plain);
        (named || host.parse::<IpAddr>().is_ok()).then(|| Self { host: host.into(), port })
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn stand_in() -> Self {
        SocketAddr::from(([127, 0, 0, 1], 1)).into()
    }

    fn may_hide_secret(text: &str) -> bool {
        text.contains('@')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_with_or_without_http() {
        for (text, shown) in [
            ("things:50051", "things:50051"),
            ("http://things.default.svc.cluster.local:50051/", "things.default.svc.cluster.local:50051"),
            ("127.0.0.1:5", "127.0.0.1:5"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()).as_deref(), Some(shown));
        }
        for wrong in
            ["things", "things:0", "things:x", ":5", "https://things:5", "a b:5", "me@things:5", "h/p:5"]
        {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_an_ip_address_needs_no_look_up() {
        let literal = |text| Address::parse(text).unwrap().literal();
        assert_eq!(literal("127.0.0.1:5"), Some(([127, 0, 0, 1], 5).into()));
        assert_eq!(literal("localhost:5"), None);
    }
}
