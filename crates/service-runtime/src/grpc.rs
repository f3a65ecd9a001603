//! The gRPC server that every service stands in: health, reflection, roles, deadlines, admission, metrics and
//! traces around its handlers. The same layered service answers calls over TCP and calls inside the process.
//! It speaks plaintext HTTP/2; what it would need to encrypt belongs into [`ServerOptions`].

mod body;
mod call;
mod request_body;
mod service;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tower::Service;

use crate::auth::{MissingRole, RoleTable, Tokens};
use crate::config::{ByteSize, ConfigReader};
use crate::readiness::Readiness;
use crate::request::MAX_CALL_DURATION;
use crate::shutdown::Shutdown;

pub use call::code_name;
pub use service::GrpcService;
use service::{Answer, Handler};

/// Largest message that a server takes, in bytes; a call with a larger one ends with OUT_OF_RANGE. This is
/// tonic's own limit, which the generated servers can lower.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Calls that one HTTP/2 connection may have open.
const MAX_STREAMS_PER_CONNECTION: u32 = 1024;
/// Largest header list of a request, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Health of this name says whether the process answers, whatever it depends on: for liveness probes.
pub const LIVENESS: &str = "liveness";
/// Health of this name says whether the process can do its work, as the server as a whole and each service do.
pub const READINESS: &str = "readiness";
/// A connection is asked for a sign of life this often, and closed without one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the sign may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Calls that are worked on at a time; one more waits.
    pub max_calls: usize,
    /// Calls that wait for their turn; one more is refused as overloaded, and so is one that waited too long.
    pub max_queued: usize,
    /// Size of the requests that are being read at a time, in bytes; what would exceed it is refused as overloaded.
    pub max_request_bytes: usize,
    /// Server streams that are open at a time.
    pub max_streams: usize,
    /// Longest time to an answer, whatever the client asks for. Streams may go on after their first answer.
    pub max_call_duration: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_calls: 1024,
            max_queued: 1024,
            max_request_bytes: 128 * 1024 * 1024,
            max_streams: 4096,
            max_call_duration: MAX_CALL_DURATION,
        }
    }
}

impl ServerOptions {
    /// Reads `GRPC_MAX_CALLS`, `GRPC_MAX_QUEUED`, `GRPC_MAX_REQUEST_BYTES`, `GRPC_MAX_STREAMS` and
    /// `GRPC_MAX_CALL_DURATION`.
    pub fn read(reader: &mut ConfigReader) -> Self {
        let Self { max_calls, max_queued, max_request_bytes, max_streams, max_call_duration } =
            Self::default();
        let most = 1..=1_000_000;
        let durations = Duration::from_millis(100)..=Duration::from_secs(600);
        Self {
            max_calls: reader
                .var("GRPC_MAX_CALLS", "calls worked on at a time")
                .range(most.clone())
                .default(max_calls),
            max_queued: reader
                .var("GRPC_MAX_QUEUED", "calls that wait for their turn")
                .range(most.clone())
                .default(max_queued),
            max_request_bytes: usize::try_from(
                reader
                    .var("GRPC_MAX_REQUEST_BYTES", "size of the requests that are being read at a time")
                    .range(ByteSize(MAX_MESSAGE_BYTES as u64)..=ByteSize(1 << 40))
                    .default(ByteSize(max_request_bytes as u64))
                    .0,
            )
            .unwrap_or(usize::MAX),
            max_streams: reader
                .var("GRPC_MAX_STREAMS", "server streams open at a time")
                .range(most)
                .default(max_streams),
            max_call_duration: reader
                .var("GRPC_MAX_CALL_DURATION", "longest time to an answer")
                .range(durations)
                .default(max_call_duration),
        }
    }
}

/// The generated servers that make up a service. The RPC's path alone finds the server, so there is no router
/// between: it would cost a call in the process as much as its handler.
#[derive(Default)]
pub struct Services {
    handlers: Vec<(&'static str, Handler)>,
}

impl Services {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a generated server.
    #[must_use]
    pub fn with<S>(mut self, server: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future = Answer>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        // A generated server is always ready, and boxes its answer itself.
        let handler = move |request| server.clone().call(request);
        self.handlers.push((S::NAME, Arc::new(handler)));
        self
    }

    fn names(&self) -> Vec<&'static str> {
        self.handlers.iter().map(|(name, _)| *name).collect()
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error(transparent)]
    Role(#[from] MissingRole),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the gRPC server: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A server that is put together and not bound to an address yet.
#[derive(Clone)]
pub struct GrpcServer {
    service: GrpcService,
    health: tonic_health::server::HealthReporter,
    names: Vec<&'static str>,
}

impl GrpcServer {
    /// Puts health, reflection and all checks around `services`, whose protos are in [`contracts`].
    ///
    /// # Errors
    /// When an RPC names no role.
    pub fn new(
        services: Services,
        tokens: Tokens,
        options: ServerOptions,
        shutdown: &Shutdown,
    ) -> Result<Self, GrpcError> {
        Self::with_descriptors(contracts::FILE_DESCRIPTOR_SET, services, tokens, options, shutdown)
    }

    /// Like [`new`](Self::new), for protos from elsewhere: `descriptors` is an encoded `FileDescriptorSet`.
    pub fn with_descriptors(
        descriptors: &[u8],
        services: Services,
        tokens: Tokens,
        options: ServerOptions,
        shutdown: &Shutdown,
    ) -> Result<Self, GrpcError> {
        let names = services.names();
        let roles = RoleTable::from_descriptors(descriptors, &names)?;
        let (health, health_server) = tonic_health::server::health_reporter();
        let reflection = || {
            let all = names.iter().copied().chain([service::HEALTH]);
            all.fold(tonic_reflection::server::Builder::configure(), |builder, name| {
                builder.with_service_name(name)
            })
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let services =
            services.with(health_server).with(reflection().build_v1()?).with(reflection().build_v1alpha()?);
        let service = GrpcService::new(&services.handlers, roles, tokens, options, shutdown.stop_accepting());
        Ok(Self { service, health, names })
    }

    /// The layered service, to call inside the process: a generated client takes it as its channel, and every
    /// check applies as it does over TCP.
    pub fn service(&self) -> GrpcService {
        self.service.clone()
    }

    /// Listens. Calls are answered once [`BoundServer::serve`] runs.
    pub async fn bind(self, address: SocketAddr) -> Result<BoundServer, GrpcError> {
        let failed = |source| GrpcError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        self.on(listener).map_err(failed)
    }

    /// Takes a listener that was bound before: whoever opens connections meanwhile cannot sit on its port.
    ///
    /// # Errors
    /// When the system does not tell where it listens.
    pub fn on(self, listener: TcpListener) -> std::io::Result<BoundServer> {
        let local = listener.local_addr()?;
        Ok(BoundServer { server: self, listener, local })
    }
}

/// A server that listens.
pub struct BoundServer {
    server: GrpcServer,
    listener: TcpListener,
    local: SocketAddr,
}

impl BoundServer {
    /// Where it listens, with the port that the system chose if port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `stop`, then finishes the calls in flight; server streams are told to come back. Health
    /// follows `readiness`.
    pub async fn serve(self, readiness: Readiness, stop: CancellationToken) -> Result<(), GrpcError> {
        let Self { server: GrpcServer { service, health, names }, listener, local } = self;
        tracing::info!({ crate::fields::ADDRESS } = %local, services = names.join(","), "gRPC server listens");
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .serve_with_incoming_shutdown(
                service,
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.cancelled_owned(),
            );
        tokio::select! {
            served = serving => Ok(served?),
            () = report_health(health, names, readiness) => Ok(()),
        }
    }
}

/// Keeps health as readiness is, for the server as a whole and for each of its services. It never ends.
async fn report_health(
    health: tonic_health::server::HealthReporter,
    names: Vec<&'static str>,
    readiness: Readiness,
) {
    let mut changes = readiness.watch();
    health.set_service_status(LIVENESS, ServingStatus::Serving).await;
    loop {
        let ready = changes.borrow_and_update().is_empty();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in ["", READINESS].into_iter().chain(names.iter().copied()) {
            health.set_service_status(name, status).await;
        }
        if changes.changed().await.is_err() {
            // Nobody can change it any more.
            std::future::pending::<()>().await;
        }
    }
}
