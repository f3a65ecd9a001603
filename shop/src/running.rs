//! The running shop as the commands beside it see it: its addresses, which it leaves in its data folder, and calls with
//! the operator's token from there; or those of a cluster, from the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use service_runtime::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::cluster::{Address, Cluster};
use crate::config::Location;
use crate::data_folder::DataFolder;

/// Where the running shop's addresses are, within its data folder.
pub const ADDRESSES_FILE: &str = "addresses.json";
/// The operator's token, within the data folder.
pub const OPERATOR_TOKEN: &str = "operator.token";
/// How long a command waits for the shop to take its connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a shop listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// By service.
    pub grpc: BTreeMap<String, SocketAddr>,
}

/// A shop that serves.
pub struct RunningShop<'l> {
    place: Place<'l>,
    pub operator_token: Secret,
}

/// Where it does.
enum Place<'l> {
    /// On this machine, in one process.
    Here(Addresses),
    /// Wherever the environment says.
    Cluster(&'l Cluster),
}

/// A channel whose calls carry the operator's token.
pub type OperatorChannel = InterceptedService<Channel, OperatorToken>;

/// Adds the operator's token to a call.
#[derive(Clone)]
pub struct OperatorToken(MetadataValue<Ascii>);

impl Interceptor for OperatorToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl<'l> RunningShop<'l> {
    /// Finds it through its data folder, or where the environment says that it is.
    ///
    /// # Errors
    /// When there is none, with what to do.
    pub fn find(location: &'l Location) -> anyhow::Result<Self> {
        if let Some(cluster) = &location.cluster {
            return Ok(Self {
                operator_token: cluster.operator_token()?.clone(),
                place: Place::Cluster(cluster),
            });
        }
        let folder = DataFolder::attach(&location.data)?;
        let operator_token = Secret::new(folder.secret(OPERATOR_TOKEN)?);
        let path = folder.path().join(ADDRESSES_FILE);
        let text = std::fs::read(&path).with_context(|| {
            format!("no shop runs on {}: start it with `shop serve`", folder.path().display())
        })?;
        let addresses = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: start the shop again", path.display()))?;
        Ok(Self { place: Place::Here(addresses), operator_token })
    }

    /// Where REST is, without a slash at the end.
    ///
    /// # Errors
    /// When nobody said.
    pub fn rest(&self) -> anyhow::Result<String> {
        match &self.place {
            Place::Here(addresses) => Ok(format!("http://{}", addresses.http)),
            Place::Cluster(cluster) => Ok(cluster.gateway()?.to_string().trim_end_matches('/').to_owned()),
        }
    }

    /// Opens a channel to one service.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn channel(&self, service: &str) -> anyhow::Result<OperatorChannel> {
        let channel = match &self.place {
            Place::Here(addresses) => {
                let Some(address) = addresses.grpc.get(service) else {
                    bail!("the running shop has no service `{service}`");
                };
                let answered = connect(&format!("http://{address}")).await;
                answered.with_context(|| {
                    format!("nobody answers on {address}: start the shop with `shop serve`")
                })?
            }
            Place::Cluster(cluster) => any_of(cluster.addresses(service)?, service).await?,
        };
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", self.operator_token.expose()).parse()?;
        token.set_sensitive(true);
        Ok(InterceptedService::new(channel, OperatorToken(token)))
    }
}

/// The first of a service's replicas that answers.
async fn any_of(addresses: &[Address], service: &str) -> anyhow::Result<Channel> {
    let mut refused = Vec::new();
    for address in addresses {
        match connect(&address.uri().to_string()).await {
            Ok(channel) => return Ok(channel),
            Err(_) => refused.push(address.uri().to_string()),
        }
    }
    bail!("the service `{service}` does not answer on {}", refused.join(", "))
}

async fn connect(uri: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(uri.to_owned())?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT).connect().await?)
}

/// A status as people read it: what is wrong, and which field or rule says so.
pub fn explain(status: &Status) -> anyhow::Error {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    let mut text = status.message().to_owned();
    if let Some(info) = details.error_info() {
        text = format!("{text} ({})", info.reason);
    }
    if let Some(request) = details.bad_request() {
        for violation in &request.field_violations {
            text = format!("{text}; {}: {}", violation.field, violation.description);
        }
    }
    anyhow::anyhow!(text)
}
