//! The running shop as the commands beside it see it: its addresses, which it leaves in its data folder, and
//! calls with the operator's token from there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

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
pub struct RunningShop {
    pub addresses: Addresses,
    pub operator_token: String,
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

impl RunningShop {
    /// Finds it through its data folder.
    ///
    /// # Errors
    /// When there is none, with what to do.
    pub fn find(location: &Location) -> anyhow::Result<Self> {
        let folder = DataFolder::attach(&location.data)?;
        let operator_token = folder.secret(OPERATOR_TOKEN)?;
        let path = folder.path().join(ADDRESSES_FILE);
        let text = std::fs::read(&path).with_context(|| {
            format!("no shop runs on {}: start it with `shop serve`", folder.path().display())
        })?;
        let addresses = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: start the shop again", path.display()))?;
        Ok(Self { addresses, operator_token })
    }

    /// Opens a channel to one service.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn channel(&self, service: &str) -> anyhow::Result<OperatorChannel> {
        let Some(address) = self.addresses.grpc.get(service) else {
            bail!("the running shop has no service `{service}`");
        };
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .connect()
            .await
            .with_context(|| format!("nobody answers on {address}: start the shop with `shop serve`"))?;
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", self.operator_token).parse()?;
        token.set_sensitive(true);
        Ok(InterceptedService::new(channel, OperatorToken(token)))
    }
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
