//! What happens around every handler, in one place and one order: find the RPC's role, admit the call or shed
//! it, know the caller, set the deadline, run the handler, and turn panics and lateness into statuses.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use metrics::counter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::Service;
use tracing::Instrument;

use super::ServerOptions;
use super::body::{CallBody, code_of};
use super::call::{Call, Meters};
use super::request_body::Room;
use crate::auth::{Caller, Role, RoleTable, Tokens};
use crate::gate::Gate;
use crate::metrics::names;
use crate::request::{CORRELATION_HEADER, RequestContext, client_timeout, correlation_id, incoming_trace};
use crate::traceparent::TraceParent;
use crate::{fields, status, telemetry};

/// How long a call waits for its turn before it is refused: clients are better off elsewhere, or later.
const MAX_QUEUE_WAIT: Duration = Duration::from_millis(500);
/// Streams of health that are open at a time: clients and meshes have a few each.
const MAX_WATCHES: usize = 4096;

pub(super) const HEALTH: &str = "grpc.health.v1.Health";

/// RPCs that come with the server: open to everybody, and whether they answer with a stream.
const OWN_METHODS: [(&str, &str, Admission); 4] = [
    (HEALTH, "Check", Admission::Always),
    (HEALTH, "Watch", Admission::Watch),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", Admission::Stream),
    ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", Admission::Stream),
];

/// What a generated server answers with.
pub(super) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;
/// A generated server.
pub(super) type Handler = Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>;

/// Against which limit a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// None: health must answer when the server is full, or it would be killed for being busy.
    Always,
    Call,
    Stream,
    /// A stream with a limit of its own, for the same reason.
    Watch,
}

impl Admission {
    fn streams(self) -> bool {
        matches!(self, Self::Stream | Self::Watch)
    }
}

struct Method {
    path: Arc<str>,
    handler: Handler,
    meters: Arc<Meters>,
    role: Role,
    admission: Admission,
    /// The client may send for as long as it likes.
    client_streaming: bool,
}

struct Shared {
    methods: HashMap<Arc<str>, Method>,
    tokens: Tokens,
    options: ServerOptions,
    calls: Gate,
    streams: Gate,
    watches: Gate,
    /// For requests that are being read.
    room: Room,
    stop: CancellationToken,
}

/// A service with all of its layers. Clones share limits; it is always ready, and sheds instead of waiting.
#[derive(Clone)]
pub struct GrpcService {
    shared: Arc<Shared>,
}

impl GrpcService {
    pub(super) fn new(
        handlers: &[(&'static str, Handler)],
        roles: RoleTable,
        tokens: Tokens,
        options: ServerOptions,
        stop: CancellationToken,
    ) -> Self {
        let mut methods = HashMap::new();
        for (service, handler) in handlers {
            let mut add = |method: &str, role, admission, client_streaming| {
                let path: Arc<str> = format!("/{service}/{method}").into();
                let (handler, meters) = (Arc::clone(handler), Arc::new(Meters::new(service, method)));
                let key = Arc::clone(&path);
                methods.insert(key, Method { path, handler, meters, role, admission, client_streaming });
            };
            for (_, entry) in roles.iter().filter(|(_, entry)| entry.service == *service) {
                let admission = if entry.server_streaming { Admission::Stream } else { Admission::Call };
                add(&entry.method, entry.role, admission, entry.client_streaming);
            }
            for (_, method, admission) in OWN_METHODS.iter().filter(|(own, _, _)| own == service) {
                add(method, Role::Public, *admission, admission.streams());
            }
        }
        let calls = Gate::new(options.max_calls, options.max_queued, MAX_QUEUE_WAIT);
        let streams = Gate::new(options.max_streams, 0, Duration::ZERO);
        let watches = Gate::new(MAX_WATCHES, 0, Duration::ZERO);
        let room = Room::new(options.max_request_bytes);
        Self { shared: Arc::new(Shared { methods, tokens, options, calls, streams, watches, room, stop }) }
    }

    async fn answer(shared: Arc<Shared>, mut request: Request<Body>, arrived: Instant) -> Response<Body> {
        let Some(method) = shared.methods.get(request.uri().path()) else {
            // Not counted: the path is whatever a stranger sent.
            return status::unknown_method().into_http();
        };
        let correlation_id = correlation_id(request.headers());
        let caller = shared.tokens.authorize(method.role, request.headers());
        let trace = incoming_trace(request.headers());
        let (span, traceparent) = open_span(method, &correlation_id, caller.as_ref().ok(), trace);
        let mut call = Call::begin(Arc::clone(&method.meters), span.clone());
        let answer = async {
            let caller = caller?;
            let (answer_by, deadline) = shared.deadlines(method, request.headers(), arrived);
            let permit = shared.admit(method.admission, answer_by).await?;
            if !method.client_streaming {
                request = shared.room.bounded(request);
            }
            request.extensions_mut().insert(RequestContext {
                caller,
                method: Arc::clone(&method.path),
                deadline,
                traceparent,
                correlation_id: Arc::clone(&correlation_id),
            });
            let response = run(&method.handler, request, answer_by).await?;
            // A stream keeps its permit to its end; other answers are made by now, and a client that is slow
            // to read them shall not keep others out.
            Ok::<_, Status>((response, permit.filter(|_| method.admission.streams())))
        };
        let answer = answer.instrument(span).await;
        let (mut response, permit) = answer.unwrap_or_else(|status| (status.into_http(), None));
        if let Ok(id) = HeaderValue::from_str(&correlation_id) {
            response.headers_mut().insert(CORRELATION_HEADER, id);
        }
        if let Some(code) = code_of(response.headers()) {
            call.end(code);
            return response;
        }
        // What is no stream is encoded by now, and has nothing to wait for.
        let streams = method.admission.streams();
        let stop = streams.then(|| shared.stop.clone().cancelled_owned().boxed());
        response.map(|inner| Body::new(CallBody { inner, call, permit, stop, ended: false }))
    }
}

impl Service<Request<Body>> for GrpcService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Taken here and not in the future, so that our deadline is not later than tonic's own.
        let arrived = Instant::now();
        Self::answer(Arc::clone(&self.shared), request, arrived).map(Ok).boxed()
    }
}

impl Shared {
    async fn admit(
        &self,
        admission: Admission,
        answer_by: Option<Instant>,
    ) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let entered = match admission {
            Admission::Always => return Ok(None),
            Admission::Call => self.calls.enter(answer_by).await,
            Admission::Stream => self.streams.try_enter(),
            Admission::Watch => self.watches.try_enter(),
        };
        entered.map(Some).map_err(|_| {
            counter!(names::GRPC_SHED).increment(1);
            status::overloaded()
        })
    }

    /// When the answer must have begun, and when the client stops waiting for its end. The two are the same
    /// for a call that does not stream.
    fn deadlines(
        &self,
        method: &Method,
        headers: &http::HeaderMap,
        arrived: Instant,
    ) -> (Option<Instant>, Option<Instant>) {
        let client = client_timeout(headers);
        let server = (!method.client_streaming).then_some(self.options.max_call_duration);
        let after = |limit: Option<Duration>| limit.and_then(|limit| arrived.checked_add(limit));
        let answer_by = after(client.into_iter().chain(server).min());
        let streams = method.client_streaming || method.admission != Admission::Call;
        (answer_by, if streams { after(client) } else { answer_by })
    }
}

/// The span of a call. What is known before is given at once: a field that is filled in later is formatted anew.
fn open_span(
    method: &Method,
    correlation_id: &str,
    caller: Option<&Caller>,
    incoming: Option<TraceParent>,
) -> (tracing::Span, TraceParent) {
    use tracing::field::{Empty, display};
    let known = telemetry::local_trace(incoming);
    let span = tracing::info_span!(
        "call",
        { telemetry::SPAN_NAME } = Empty,
        { fields::METHOD } = &*method.path,
        { fields::CORRELATION_ID } = correlation_id,
        { fields::TRACE_ID } = known.map(|trace| display(trace.shown_trace_id())),
        { fields::ACTOR } = caller.map(display)
    );
    let traceparent = known.unwrap_or_else(|| {
        telemetry::name_exported_span(&span, &method.path);
        let traceparent = telemetry::continue_trace(&span, incoming);
        span.record(fields::TRACE_ID, display(traceparent.shown_trace_id()));
        traceparent
    });
    (span, traceparent)
}

/// Turns the gRPC library's words on a message that it could not read into ours. Statuses of handlers have details,
/// its own have none.
fn readable(response: Response<Body>) -> Result<Response<Body>, Status> {
    let headers = response.headers();
    let bare = code_of(headers).filter(|_| !headers.contains_key(Status::GRPC_STATUS_DETAILS));
    bare.and_then(status::unreadable).map_or(Ok(response), Err)
}

async fn run(
    handler: &Handler,
    request: Request<Body>,
    deadline: Option<Instant>,
) -> Result<Response<Body>, Status> {
    let handler = AssertUnwindSafe(handler(request)).catch_unwind();
    let finished = match deadline {
        Some(deadline) => {
            tokio::time::timeout_at(deadline, handler).await.map_err(|_| status::deadline_exceeded())?
        }
        None => handler.await,
    };
    match finished {
        Ok(Ok(response)) => readable(response),
        Ok(Err(never)) => match never {},
        Err(_panic) => {
            counter!(names::GRPC_PANICS).increment(1);
            Err(status::internal("a handler panicked"))
        }
    }
}
