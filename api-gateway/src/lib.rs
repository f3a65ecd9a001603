//! The REST side of the shop: every RPC with a `google.api.http` annotation is a route, an OpenAPI operation
//! and, where it streams, server-sent events, all derived from descriptors when the process starts. There is
//! no domain here and no list of routes: an RPC that gains an annotation gains a route. Who may call what is
//! decided by the services; the gateway only passes the credential on.
//!
//! A request goes through `layers` (request id, log, metrics, headers, compression, panics), the route tree
//! (`template`), the message builder (`request`, `json`), the service ([`Backend`]), and back as JSON, as events
//! (`sse`) or as a problem ([`problem`]). `binding` holds what the annotations say; `openapi`, `schema` and
//! `docs` tell it to people.
//!
//! # Why dynamic messages and not generated code
//!
//! Tried: the generator of `rest_over_grpc` 0.3 on the conformance proto of this crate. It refused a path
//! variable that is a timestamp; without it, it made 65 kB of routes, which need 80 kB of serde code from
//! `pbjson` beside them. That code was not built or run, so there is no line count of a finished gateway on it.
//! Read in its source: its bridge calls the tonic trait beside all layers, where our roles are checked, and so
//! wants a forwarder for each RPC when the service is another process; errors are `{code, message, details}` with
//! ABORTED always 409; nothing in it maps Idempotency-Key, If-Match or Last-Event-ID, or tells roles in OpenAPI.
//! All that would stay our own code. What it would spare us is the mapping, here `binding`, `request`, `json` and
//! `template`: about 1,200 lines with their tests, no build step, and the whole conformance list passes.

mod backend;
mod binding;
mod connections;
mod docs;
mod etag;
mod handler;
mod json;
mod layers;
mod memo;
mod openapi;
pub mod problem;
pub mod rate;
mod request;
mod schema;
mod sse;
mod template;
mod wire;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use prost_reflect::DescriptorPool;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;

pub use backend::{Backend, MAX_RESPONSE_MESSAGE_BYTES};
pub use connections::{
    Connections, DEFAULT_FAREWELL, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_CONNECTIONS, MAX_HEAD_BYTES,
};
pub use etag::MAX_ENTITY_TAGS;
pub use json::MAX_JSON_DEPTH;
pub use request::{MAX_IDEMPOTENCY_KEY, MAX_MIN_POSITIONS, MAX_QUERY_PARAMETERS, MAX_VIOLATIONS};
pub use template::MAX_PATH_SEGMENTS;

/// Largest request body, in bytes.
pub const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;
/// How long a request may take, its body included; a stream, until its service has begun to answer.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests answered at once; more wait.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 1024;
/// Requests that wait for their turn; more are refused.
pub const DEFAULT_MAX_QUEUED: usize = 1024;
/// How long a request waits for its turn before it is refused.
pub const DEFAULT_QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Size of all request bodies that are held at a time, in bytes; what would exceed it is refused.
pub const DEFAULT_MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Event streams open at once; more are refused.
pub const DEFAULT_MAX_STREAMS: usize = 1024;
/// Pause after which a silent event stream sends a comment, so that nothing between takes it for dead.
pub const DEFAULT_SSE_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What can be set from outside. The defaults suit a laptop and a small server.
#[derive(Debug, Clone)]
pub struct Options {
    /// See [`DEFAULT_BODY_LIMIT`].
    pub body_limit: usize,
    /// See [`DEFAULT_REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// Origins whose pages may call the API, such as `https://shop.example`. None by default.
    pub cors_origins: Vec<String>,
    /// See [`DEFAULT_MAX_IN_FLIGHT`].
    pub max_in_flight: usize,
    /// See [`DEFAULT_MAX_QUEUED`].
    pub max_queued: usize,
    /// See [`DEFAULT_QUEUE_TIMEOUT`].
    pub queue_timeout: Duration,
    /// See [`DEFAULT_MAX_BODY_BYTES`].
    pub max_body_bytes: usize,
    /// See [`DEFAULT_MAX_STREAMS`].
    pub max_streams: usize,
    /// See [`DEFAULT_SSE_KEEP_ALIVE`].
    pub sse_keep_alive: Duration,
    /// How much each client may ask for. Nothing is limited by default: it is of use where the gateway is reached from
    /// outside, and in the way of whoever tries a shop on a laptop.
    pub rate_limits: Option<rate::Options>,
    /// Title of the OpenAPI document.
    pub title: String,
    /// Version of the OpenAPI document.
    pub version: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_limit: DEFAULT_BODY_LIMIT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            cors_origins: Vec::new(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            max_queued: DEFAULT_MAX_QUEUED,
            queue_timeout: DEFAULT_QUEUE_TIMEOUT,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            max_streams: DEFAULT_MAX_STREAMS,
            sse_keep_alive: DEFAULT_SSE_KEEP_ALIVE,
            rate_limits: None,
            title: "Storeline".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// What ties the gateway to its process.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// The routes `/healthz` and `/readyz`, as the process's readiness makes them.
    pub probes: axum::Router,
    /// When this is cancelled, event streams end, so that a graceful shutdown need not wait for their clients.
    pub shutdown: CancellationToken,
}

/// Why there is no gateway for these descriptors, backends and options.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the descriptor set cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("the descriptor set does not declare google.api.http")]
    NoAnnotations,
    #[error("the annotation of {rpc}: {problem}")]
    Annotation { rpc: String, problem: String },
    #[error("{first} and {second} have the same method and path: {route}")]
    RouteCollision { first: String, second: String, route: String },
    #[error("{rpc} has a route but its service has no backend")]
    NoBackend { rpc: String },
    #[error("there is a backend for {0}, which the descriptor set does not have")]
    UnknownService(String),
    #[error("{0} has two backends")]
    TwoBackends(String),
    #[error("`{0}` is no origin; an origin is a scheme, a host and a port if it is not the scheme's own")]
    Origin(String),
    #[error("the option {0} must not be zero")]
    ZeroLimit(&'static str),
}

/// The whole REST side as one service; cheap to clone, and always ready. It is no `axum::Router`, which would box each
/// request's way through it once more.
pub type RestService = BoxCloneSyncService<Request, Response, Infallible>;

/// Builds the service of the whole REST side.
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// Derives all routes. `backends` are full service names (`shop.order.v1.OrderService`) and who answers
    /// for them; a service without annotated RPCs may have one but needs none.
    ///
    /// # Errors
    /// When an annotated RPC has no backend, two routes collide, a path variable names no field, or an option
    /// makes no sense.
    pub fn build(
        options: Options,
        descriptor_set: &[u8],
        backends: Vec<(String, Backend)>,
        lifecycle: Lifecycle,
    ) -> Result<RestService, GatewayError> {
        let pool = DescriptorPool::decode(descriptor_set)?;
        let backends = by_service(&pool, backends)?;
        for (name, zero) in [
            ("body_limit", options.body_limit == 0),
            ("request_timeout", options.request_timeout.is_zero()),
            ("max_in_flight", options.max_in_flight == 0),
            ("max_streams", options.max_streams == 0),
            ("max_body_bytes", options.max_body_bytes == 0),
            ("sse_keep_alive", options.sse_keep_alive.is_zero()),
        ] {
            if zero {
                return Err(GatewayError::ZeroLimit(name));
            }
        }
        let bindings = binding::bindings(&pool)?;
        let document = openapi::document(&options, &pool, &bindings);
        let tree = handler::routes(bindings, &backends)?;
        let rest = handler::Rest::new(&options, tree, lifecycle.shutdown);
        let pages = lifecycle.probes.merge(docs::routes(&document));
        layers::wrap(handler::Front::new(rest, pages), &options)
    }
}

fn by_service(
    pool: &DescriptorPool,
    backends: Vec<(String, Backend)>,
) -> Result<HashMap<String, Backend>, GatewayError> {
    let known: HashSet<String> = pool.services().map(|service| service.full_name().to_owned()).collect();
    let mut by_service = HashMap::new();
    for (service, backend) in backends {
        if !known.contains(&service) {
            return Err(GatewayError::UnknownService(service));
        }
        if by_service.insert(service.clone(), backend).is_some() {
            return Err(GatewayError::TwoBackends(service));
        }
    }
    Ok(by_service)
}
