//! What happens around every handler, in one place and one order: find the RPC's role, admit the call or shed
//! it, know the caller, set the deadline, run the handler, and turn panics and lateness into statuses.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;
use tracing::Instrument;

use super::ServerOptions;
use super::body::{CallBody, code_of};
use super::call::{Call, Labels};
use crate::auth::{Role, RoleTable, Tokens};
use crate::metrics::names;
use crate::request::{CORRELATION_HEADER, RequestContext, client_timeout, correlation_id, incoming_trace};
use crate::status;
use crate::{fields, telemetry};

pub(super) const HEALTH: &str = "grpc.health.v1.Health";

/// RPCs that come with the server: open to everybody, and whether they answer with a stream.
const OWN_METHODS: [(&str, &str, Admission); 4] = [
    (HEALTH, "Check", Admission::Always),
    (HEALTH, "Watch", Admission::Stream),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", Admission::Stream),
    ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", Admission::Stream),
];

/// Against which limit a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// None: health must answer when the server is full, or it would be killed for being busy.
    Always,
    Call,
    Stream,
}

#[derive(Debug)]
struct Method {
    path: Arc<str>,
    labels: Labels,
    role: Role,
    admission: Admission,
    /// The client may send for as long as it likes.
    client_streaming: bool,
}

impl Method {
    fn new(service: &str, method: &str, role: Role, admission: Admission, client_streaming: bool) -> Self {
        let path = format!("/{service}/{method}").into();
        Self { path, labels: Labels::new(service, method), role, admission, client_streaming }
    }
}

struct Shared {
    methods: HashMap<Arc<str>, Method>,
    tokens: Tokens,
    options: ServerOptions,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A service with all of its layers. Clones share limits; it is always ready, and sheds instead of waiting.
#[derive(Clone)]
pub struct GrpcService {
    shared: Arc<Shared>,
    routes: Routes,
}

impl GrpcService {
    pub(super) fn new(
        routes: Routes,
        roles: RoleTable,
        tokens: Tokens,
        options: ServerOptions,
        stop: CancellationToken,
    ) -> Self {
        let of_services = roles.iter().map(|(_, entry)| {
            let admission = if entry.server_streaming { Admission::Stream } else { Admission::Call };
            Method::new(&entry.service, &entry.method, entry.role, admission, entry.client_streaming)
        });
        let own = OWN_METHODS.iter().map(|(service, method, admission)| {
            Method::new(service, method, Role::Public, *admission, *admission == Admission::Stream)
        });
        let methods = of_services.chain(own).map(|method| (Arc::clone(&method.path), method)).collect();
        let (calls, streams) = (Semaphore::new(options.max_calls), Semaphore::new(options.max_streams));
        let (calls, streams) = (Arc::new(calls), Arc::new(streams));
        Self { shared: Arc::new(Shared { methods, tokens, options, calls, streams, stop }), routes }
    }

    async fn answer(mut self, mut request: Request<Body>, arrived: Instant) -> Response<Body> {
        let shared = Arc::clone(&self.shared);
        let Some(method) = shared.methods.get(request.uri().path()) else {
            // Not counted: the path is whatever a stranger sent.
            return status::unknown_method().into_http();
        };
        let correlation_id = correlation_id(request.headers());
        let (span, traceparent) = open_span(method, &correlation_id, incoming_trace(request.headers()));
        let mut call = Call::begin(method.labels.clone(), span.clone());
        let answer = async {
            let caller = shared.tokens.authorize(method.role, request.headers())?;
            span.record(fields::ACTOR, tracing::field::display(&caller));
            let permit = shared.admit(method.admission)?;
            let (answer_by, deadline) = shared.deadlines(method, request.headers(), arrived);
            request.extensions_mut().insert(RequestContext {
                caller,
                method: Arc::clone(&method.path),
                deadline,
                traceparent,
                correlation_id: Arc::clone(&correlation_id),
            });
            let response = run(&mut self.routes, request, answer_by).await?;
            // A stream keeps its permit to its end; other answers are made by now, and a client that is slow
            // to read them shall not keep others out.
            Ok::<_, Status>((response, permit.filter(|_| method.admission == Admission::Stream)))
        };
        let answer = answer.instrument(span.clone()).await;
        let (mut response, permit) = answer.unwrap_or_else(|status| (status.into_http(), None));
        if let Ok(id) = HeaderValue::from_str(&correlation_id) {
            response.headers_mut().insert(CORRELATION_HEADER, id);
        }
        if let Some(code) = code_of(response.headers()) {
            call.end(code);
            return response;
        }
        let stop = shared.stop.clone().cancelled_owned().boxed();
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
        self.clone().answer(request, arrived).map(Ok).boxed()
    }
}

impl Shared {
    fn admit(&self, admission: Admission) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let limit = match admission {
            Admission::Always => return Ok(None),
            Admission::Call => &self.calls,
            Admission::Stream => &self.streams,
        };
        Arc::clone(limit).try_acquire_owned().map(Some).map_err(|_| {
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
        let after = |limit: Option<std::time::Duration>| limit.and_then(|limit| arrived.checked_add(limit));
        let answer_by = after(client.into_iter().chain(server).min());
        let streams = method.client_streaming || method.admission != Admission::Call;
        (answer_by, if streams { after(client) } else { answer_by })
    }
}

fn open_span(
    method: &Method,
    correlation_id: &str,
    incoming: Option<crate::TraceParent>,
) -> (tracing::Span, crate::TraceParent) {
    use tracing::field::Empty;
    let span = tracing::info_span!(
        "call",
        { telemetry::SPAN_NAME } = Empty,
        { fields::METHOD } = &*method.path,
        { fields::CORRELATION_ID } = correlation_id,
        { fields::TRACE_ID } = Empty,
        { fields::ACTOR } = Empty
    );
    telemetry::name_exported_span(&span, &method.path);
    let traceparent = telemetry::continue_trace(&span, incoming);
    span.record(fields::TRACE_ID, tracing::field::display(format_args!("{:032x}", traceparent.trace_id())));
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
    routes: &mut Routes,
    request: Request<Body>,
    deadline: Option<Instant>,
) -> Result<Response<Body>, Status> {
    let handler = AssertUnwindSafe(routes.call(request)).catch_unwind();
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
