//! Who a client is, for limits: the address that it comes from, as far as that can be believed, or a credential that a
//! service has let through to a call for operators or services. A credential that nobody has vouched for is none here,
//! nor is a shopper's: anybody can make up the one, and gets the other with each order.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Entries of `X-Forwarded-For` that are looked at, from the end: more proxies in a row are none of ours.
const MAX_HOPS: usize = 16;

/// A digest that tells credentials apart and gives none away.
pub type CredentialId = [u8; 16];

/// Whose bucket a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// In an IPv6 network the first 64 bits: the rest is a customer's own to choose.
    Address(IpAddr),
    Credential(CredentialId),
    /// Nobody said where the request came from, as within a process.
    Unknown,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address:{address}"),
            Self::Credential(id) => write!(f, "credential:{:032x}", u128::from_be_bytes(*id)),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Addresses with the same first bits, such as `10.0.0.0/8`; or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address, or an address and a number of bits, such as 10.0.0.0/8")]
pub struct InvalidNetwork;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| InvalidNetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| InvalidNetwork)?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some(Self { address, bits }).ok_or(InvalidNetwork)
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => u128::from(u32::from(own) ^ u32::from(other)) << 96,
            (IpAddr::V6(own), IpAddr::V6(other)) => u128::from(own) ^ u128::from(other),
            _ => return false,
        };
        // All bits equal needs a shift by the whole width when none counts.
        differ.leading_zeros() >= u32::from(self.bits)
    }
}

/// The address that a request comes from: that of the connection, or while that is a trusted proxy's, the one which it
/// says the request came from, and so on.
pub fn address(parts: &Parts, trusted: &[Network]) -> Client {
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
        return Client::Unknown;
    };
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.ip().to_canonical();
    for hop in forwarded(&parts.headers).take(MAX_HOPS) {
        if !is_trusted(client) {
            break;
        }
        // What cannot be read was not written by a proxy that can be trusted.
        let Some(hop) = hop else { break };
        client = hop;
    }
    Client::Address(match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    })
}

/// What the header says, the last hop first.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',')).map(|hop| {
        let hop = hop.trim();
        let bare = hop.parse::<IpAddr>().ok();
        let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
        bare.or_else(with_port).map(|address| address.to_canonical())
    })
}

/// Tells the credential of a request from others.
pub fn credential(headers: &HeaderMap) -> Option<CredentialId> {
    let digest: [u8; 32] = Sha256::digest(headers.get(AUTHORIZATION)?.as_bytes()).into();
    digest[..16].try_into().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut request = Request::builder();
        for line in forwarded {
            request = request.header(X_FORWARDED_FOR, *line);
        }
        let peer: SocketAddr = peer.parse().unwrap();
        let (parts, ()) = request.extension(ConnectInfo(peer)).body(()).unwrap().into_parts();
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        address(&parts, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_where_a_request_comes_from() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded, expected) in [
            ("203.0.113.7:5", &[][..], "203.0.113.7"),
            ("203.0.113.7:5", &["198.51.100.1"], "203.0.113.7"),
            ("10.1.2.3:5", &["198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3:5", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3:5", &["1.1.1.1", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.1.2.3:5", &["10.7.7.7, 10.8.8.8"], "10.7.7.7"),
            ("10.1.2.3:5", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.1.2.3:5", &["198.51.100.1, unknown"], "10.1.2.3"),
            ("10.1.2.3:5", &[""], "10.1.2.3"),
            ("[::ffff:10.1.2.3]:5", &["198.51.100.1"], "198.51.100.1"),
            ("[fd00::1]:5", &["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            ("[fd00::1]:5", &["[2001:db8:1:2::9]:80"], "2001:db8:1:2::"),
        ] {
            assert_eq!(
                client(peer, forwarded, &proxies),
                format!("address:{expected}"),
                "{peer} {forwarded:?}"
            );
        }
        assert_eq!(client("10.1.2.3:5", &["198.51.100.1"], &[]), "address:10.1.2.3", "nobody is trusted");
    }

    #[test]
    fn a_chain_of_proxies_without_end_is_not_followed() {
        let hops = vec!["10.0.0.1"; 100_000].join(",");
        assert_eq!(
            client("10.0.0.1:5", &[&format!("198.51.100.1,{hops}")], &["10.0.0.0/8"]),
            "address:10.0.0.1"
        );
    }

    #[test]
    fn a_network_is_an_address_and_bits() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "203.0.113.7") && !contains("0.0.0.0/0", "::1"));
        assert!(
            contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::1")
        );
        assert!(contains("::/0", "2001:db8::1"));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/-1", "10.0.0.0/"] {
            assert_eq!(wrong.parse::<Network>(), Err(InvalidNetwork), "{wrong}");
        }
    }

    #[test]
    fn a_credential_is_known_by_a_digest_that_does_not_hold_it() {
        let of = |value: &str| credential(&HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]));
        assert_eq!(credential(&HeaderMap::new()), None);
        assert_eq!(of("Bearer a"), of("Bearer a"));
        assert_ne!(of("Bearer a"), of("Bearer b"));
        assert!(!Client::Credential(of("Bearer secret").unwrap()).to_string().contains("secret"));
    }

    #[test]
    fn without_a_connection_a_client_is_unknown() {
        let (parts, ()) = Request::new(()).into_parts();
        assert_eq!(address(&parts, &[]), Client::Unknown);
    }
}
