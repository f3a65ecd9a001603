//! Reads which role each RPC names in its proto, by the option `shop.options.v1.role`. A server refuses to
//! start when one names none, so nothing is open by oversight.

use std::collections::HashMap;
use std::fmt;

use prost_reflect::{DescriptorPool, MethodDescriptor, Value};

/// Full name of the method option.
const OPTION: &str = "shop.options.v1.role";

/// Who may call an RPC. Operators may call everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Anybody.
    Public,
    /// Somebody with a credential for the very thing asked about, which the handler checks.
    Shopper,
    /// The people who run the shop.
    Operator,
    /// Other services.
    Service,
}

impl Role {
    fn from_number(number: i32) -> Option<Self> {
        use contracts::shop::options::v1::Role as Wire;
        match Wire::try_from(number).ok()? {
            Wire::Unspecified => None,
            Wire::Public => Some(Self::Public),
            Wire::Shopper => Some(Self::Shopper),
            Wire::Operator => Some(Self::Operator),
            Wire::Service => Some(Self::Service),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Shopper => "shopper",
            Self::Operator => "operator",
            Self::Service => "service",
        })
    }
}

/// Why a server must not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingRole {
    #[error("the descriptors cannot be read: {0}")]
    Descriptors(String),
    #[error("the descriptors have no service {0}")]
    UnknownService(String),
    #[error("{0} names no role: add `option (shop.options.v1.role) = ...` to it in its proto")]
    Method(String),
}

/// What the descriptors say about one RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodRole {
    /// Full name of its service.
    pub service: String,
    pub method: String,
    pub role: Role,
    pub client_streaming: bool,
    pub server_streaming: bool,
}

/// The roles of some services, by the path of the RPC: `/package.Service/Method`.
#[derive(Clone, Debug, Default)]
pub struct RoleTable(HashMap<String, MethodRole>);

impl RoleTable {
    /// Reads the roles of all RPCs of `services` (full names) from an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When a service is not there, or an RPC names no role.
    pub fn from_descriptors(descriptors: &[u8], services: &[&str]) -> Result<Self, MissingRole> {
        let pool = DescriptorPool::decode(descriptors)
            .map_err(|error| MissingRole::Descriptors(error.to_string()))?;
        let mut table = HashMap::new();
        for name in services {
            let service = pool
                .get_service_by_name(name)
                .ok_or_else(|| MissingRole::UnknownService((*name).to_owned()))?;
            for method in service.methods() {
                let path = format!("/{name}/{}", method.name());
                let role = role_of(&pool, &method).ok_or_else(|| MissingRole::Method(path.clone()))?;
                let entry = MethodRole {
                    service: (*name).to_owned(),
                    method: method.name().to_owned(),
                    role,
                    client_streaming: method.is_client_streaming(),
                    server_streaming: method.is_server_streaming(),
                };
                table.insert(path, entry);
            }
        }
        Ok(Self(table))
    }

    pub fn get(&self, path: &str) -> Option<&MethodRole> {
        self.0.get(path)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &MethodRole)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }
}

fn role_of(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<Role> {
    let option = pool.get_extension_by_name(OPTION)?;
    match method.options().get_extension(&option).as_ref() {
        Value::EnumNumber(number) => Role::from_number(*number),
        _ => None,
    }
}
