//! One REST request from the route tree to the answer: limits, body, message, call, response headers. What it
//! knows of an RPC stands in its binding; nothing is looked up in descriptors while a request waits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost_reflect::{DynamicMessage, FieldDescriptor};
use service_runtime::gate::Gate;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tower::{Service, ServiceExt};

use crate::binding::{Binding, BodyRule, Role};
use crate::layers::{self, RequestId, RouteMeters, X_REQUEST_ID, names};
use crate::memo::{Memo, Written};
use crate::problem::{DEFAULT_RETRY_AFTER, Problem};
use crate::rate::RateLimits;
use crate::template::{Found, RouteTree};
use crate::wire::text_at;
use crate::{Backend, GatewayError, Options, etag, request, sse};

/// The position that an answer reached.
pub const X_POSITION: HeaderName = HeaderName::from_static("x-position");
/// `true` when a repeated request got the stored answer of the first.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the room of bodies is counted in, in bytes.
const BODY_UNIT: usize = 1024;
/// Room for the headers of a call, so that their map does not grow one by one.
const CALL_HEADERS: usize = 8;
/// The same for an answer, with those that all answers have.
const ANSWER_HEADERS: usize = 16;

/// A binding, who answers for it, and what its answers are counted with.
#[derive(Debug)]
pub struct Route {
    pub binding: Arc<Binding>,
    backend: Backend,
    meters: Arc<RouteMeters>,
}

/// The state that all requests share.
#[derive(Debug)]
pub struct Rest {
    tree: RouteTree<Route>,
    body_limit: usize,
    request_timeout: Duration,
    sse_keep_alive: Duration,
    in_flight: Gate,
    streams: Gate,
    /// In units of [`BODY_UNIT`].
    body_room: Arc<Semaphore>,
    shutdown: CancellationToken,
    memo: Memo,
    limits: Option<RateLimits>,
}

/// Puts every binding into the tree.
///
/// # Errors
/// When two collide or one has no backend.
pub fn routes(
    bindings: Vec<Binding>,
    backends: &HashMap<String, Backend>,
) -> Result<RouteTree<Route>, GatewayError> {
    let mut tree = RouteTree::default();
    for binding in bindings {
        let rpc = binding.rpc.full_name().to_owned();
        let Some(backend) = backends.get(binding.service()) else {
            return Err(GatewayError::NoBackend { rpc });
        };
        let (method, template) = (binding.method.clone(), binding.template.clone());
        let route = format!("{method} {}", binding.label);
        let meters = Arc::new(RouteMeters::new(Arc::clone(&binding.label)));
        tree.insert(
            method,
            &template,
            Route { binding: Arc::new(binding), backend: backend.clone(), meters },
        )
        .map_err(|other: &Route| GatewayError::RouteCollision {
            first: other.binding.rpc.full_name().to_owned(),
            second: rpc,
            route,
        })?;
    }
    Ok(tree)
}

impl Rest {
    pub fn new(options: &Options, tree: RouteTree<Route>, shutdown: CancellationToken) -> Self {
        Self {
            tree,
            body_limit: options.body_limit,
            request_timeout: options.request_timeout,
            sse_keep_alive: options.sse_keep_alive,
            in_flight: Gate::new(options.max_in_flight, options.max_queued, options.queue_timeout),
            streams: Gate::new(options.max_streams, 0, Duration::ZERO),
            body_room: Arc::new(Semaphore::new(options.max_body_bytes.div_ceil(BODY_UNIT))),
            shutdown,
            memo: Memo::default(),
            limits: options.rate_limits.clone().map(RateLimits::new),
        }
    }
}

/// All that the gateway answers: the routes of the tree, and its own pages.
#[derive(Debug, Clone)]
pub struct Front {
    rest: Arc<Rest>,
    pages: axum::Router,
}

impl Front {
    pub fn new(rest: Rest, pages: axum::Router) -> Self {
        let pages = pages
            .method_not_allowed_fallback(page_with_wrong_method)
            .fallback(nowhere)
            .layer(axum::middleware::from_fn(layers::name_page));
        Self { rest: Arc::new(rest), pages }
    }

    async fn answer(self, request: Request) -> Response {
        let Self { rest, pages } = self;
        let head = request.method() == Method::HEAD;
        let method = if head { &Method::GET } else { request.method() };
        let (meters, answer, request_id) = match rest.tree.find(method, request.uri().path()) {
            Found::Nothing => return pages.oneshot(request).await.unwrap_or_else(|never| match never {}),
            Found::WrongMethod(methods) => (None, Err(wrong_method(&methods)), RequestId::of(&request)),
            Found::Route(route) => {
                let request_id = RequestId::of(&request);
                let answer = if head && route.binding.is_stream() {
                    Err(wrong_method(&[&Method::GET]))
                } else {
                    let (parts, body) = request.into_parts();
                    rest.limited(route, &parts, body, &request_id).await
                };
                (Some(&route.meters), answer, request_id)
            }
        };
        let mut response =
            answer.unwrap_or_else(|problem| problem.instance(request_id.as_str()).into_response());
        if let Some(meters) = meters {
            response.extensions_mut().insert(Arc::clone(meters));
        }
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = AssertUnwindSafe(self.clone().answer(request)).catch_unwind();
        Box::pin(answer.map(|answer| Ok(answer.unwrap_or_else(layers::panicked))))
    }
}

async fn nowhere(request: Request) -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND, "there is no such route");
    problem.instance(RequestId::of(&request).as_str()).into_response()
}

/// Answers for a page of the gateway's own that was asked for with another method than GET.
async fn page_with_wrong_method(request: Request) -> Response {
    wrong_method(&[&Method::GET]).instance(RequestId::of(&request).as_str()).into_response()
}

fn wrong_method(methods: &[&Method]) -> Problem {
    let mut allowed: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let list = HeaderValue::try_from(allowed.join(", ")).expect("method names are valid in a header");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method").header(ALLOW, list)
}

/// The answer when there is no place for a request.
fn shed(_full: impl std::error::Error) -> Problem {
    metrics::counter!(names::HTTP_SHED).increment(1);
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once")
        .retry_after(DEFAULT_RETRY_AFTER)
}

impl Rest {
    /// The answer, if the client's quota still has one.
    async fn limited(
        &self,
        route: &Route,
        parts: &Parts,
        body: Body,
        request_id: &RequestId,
    ) -> Result<Response, Problem> {
        let Some(limits) = &self.limits else { return self.answer(route, parts, body, request_id).await };
        let visit = limits.admit(&route.binding, parts).await?;
        let answer = self.answer(route, parts, body, request_id).await;
        limits.answered(visit, &route.binding, answer)
    }

    async fn answer(
        &self,
        route: &Route,
        parts: &Parts,
        body: Body,
        request_id: &RequestId,
    ) -> Result<Response, Problem> {
        let binding = &route.binding;
        let deadline = Instant::now() + self.request_timeout;
        if binding.is_stream() && !accepts_events(&parts.headers) {
            return Err(Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                "this route answers with text/event-stream",
            ));
        }
        let permit = self.in_flight.enter(Some(deadline)).await.map_err(shed)?;
        let (body, _room) = self.body(binding, &parts.headers, body, deadline).await?;
        let message = request::build(binding, parts.uri.path(), parts.uri.query(), &parts.headers, &body)?;
        if !binding.is_stream() {
            return self.unary(route, parts, message, deadline).await;
        }
        let stream_permit = self.streams.try_enter().map_err(shed)?;
        drop(permit);
        let call = tonic::Request::from_parts(metadata(&parts.headers), http::Extensions::new(), message);
        let call = route.backend.server_streaming(binding.grpc_path.clone(), &binding.output, call);
        let answer = timeout_at(deadline, call).await.map_err(|_| too_late())?;
        let answer = answer.map_err(|status| Problem::from_status(&status))?;
        Ok(sse::response(sse::Source {
            messages: answer.into_inner(),
            binding: Arc::clone(binding),
            request_id: request_id.clone(),
            shutdown: self.shutdown.clone(),
            keep_alive: self.sse_keep_alive,
            permit: stream_permit,
        }))
    }

    /// Reads the body, when the binding takes one, within the limits, and says how much room it has taken.
    async fn body(
        &self,
        binding: &Binding,
        headers: &HeaderMap,
        body: Body,
        deadline: Instant,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
        if body.is_end_stream() || body.size_hint().exact() == Some(0) {
            return match &binding.body {
                BodyRule::Field(_) => Err(Problem::malformed("a JSON body is missing")),
                BodyRule::None | BodyRule::Whole => Ok((Bytes::new(), None)),
            };
        }
        if matches!(binding.body, BodyRule::None) {
            return Err(Problem::malformed("this operation takes no body"));
        }
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must not be encoded"));
        }
        if !is_json(headers) {
            let problem = "the header Content-Type must be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
        }
        let room = self.room(body.size_hint().upper())?;
        let collected = timeout_at(deadline, Limited::new(body, self.body_limit).collect()).await;
        match collected.map_err(|_| cut_off(StatusCode::REQUEST_TIMEOUT, "the body took too long"))? {
            Ok(whole) => Ok((whole.to_bytes(), Some(room))),
            Err(error) if error.is::<LengthLimitError>() => Err(cut_off(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body may have at most {} bytes", self.body_limit),
            )),
            Err(_) => Err(Problem::malformed("the body ended early")),
        }
    }

    /// Room for a body of this length; for one that does not tell, as much as it may have.
    fn room(&self, length: Option<u64>) -> Result<OwnedSemaphorePermit, Problem> {
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(self.body_limit);
        let units = u32::try_from(length.min(self.body_limit).div_ceil(BODY_UNIT)).unwrap_or(u32::MAX);
        // What is refused is not read, so its connection cannot be used again.
        let full = |full| shed(full).header(CONNECTION, HeaderValue::from_static("close"));
        Arc::clone(&self.body_room).try_acquire_many_owned(units).map_err(full)
    }

    async fn unary(
        &self,
        route: &Route,
        parts: &Parts,
        message: DynamicMessage,
        deadline: Instant,
    ) -> Result<Response, Problem> {
        let binding = &route.binding;
        let mut call = tonic::Request::from_parts(metadata(&parts.headers), http::Extensions::new(), message);
        call.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let (metadata, _, message) = call.into_parts();
        let call = route.backend.unary(binding.grpc_path.clone(), metadata, &message);
        let answer = timeout_at(deadline, call).await.map_err(|_| too_late())?;
        let (metadata, message) = answer.map_err(|status| refusal(&status))?;
        let written = match binding.role == Role::Public && binding.method.is_safe() {
            true => self.memo.written(&binding.label, &message, || write(binding, &message)),
            false => write(binding, &message),
        };
        Ok(respond(binding, &parts.headers, &metadata, &message, written?))
    }
}

/// A problem with a body that is not read to its end. Its connection cannot be used again, and a client that is not
/// told so sends the next request into it.
fn cut_off(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(status, detail).header(CONNECTION, HeaderValue::from_static("close"))
}

fn too_late() -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "the service behind this route did not answer in time")
}

/// What goes on to the service of the request's headers.
fn metadata(headers: &HeaderMap) -> MetadataMap {
    let mut passed = HeaderMap::with_capacity(CALL_HEADERS);
    for name in [AUTHORIZATION, TRACEPARENT, TRACESTATE, X_REQUEST_ID] {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    MetadataMap::from_headers(passed)
}

/// The body of an answer and its tag.
fn write(binding: &Binding, message: &[u8]) -> Result<Written, Problem> {
    let body = binding
        .transcoder
        .json(message, binding.response_body.as_ref())
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer has no JSON form"))?;
    Ok(Written { etag: entity_tag(binding, message, &body), body: body.into() })
}

fn respond(
    binding: &Binding,
    request: &HeaderMap,
    metadata: &HeaderMap,
    message: &[u8],
    Written { body, etag }: Written,
) -> Response {
    let unchanged =
        binding.method.is_safe() && etag.as_ref().is_some_and(|etag| etag::is_known(request, etag));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    };
    let headers = response.headers_mut();
    headers.reserve(ANSWER_HEADERS);
    // Answers depend on the credential; with an entity tag they may be kept, but must be asked about.
    let caching = if etag.is_some() && binding.method.is_safe() { "private, no-cache" } else { "no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Some(etag) = etag {
        headers.insert(ETAG, etag);
    }
    let written =
        || text_at(message, &[binding.position.as_ref()?.number()]).and_then(|text| text.try_into().ok());
    if let Some(position) = metadata.get(&X_POSITION).cloned().or_else(written) {
        headers.insert(X_POSITION, position);
    }
    if is_replayed(metadata) {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// What a service refused, marked if it is the stored answer to an earlier request.
fn refusal(status: &Status) -> Problem {
    let problem = Problem::from_status(status);
    match is_replayed(status.metadata().as_ref()) {
        true => problem.header(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true")),
        false => problem,
    }
}

fn is_replayed(answered: &HeaderMap) -> bool {
    answered.get(&IDEMPOTENCY_REPLAYED).is_some_and(|replayed| replayed == "true")
}

/// The tag of an answer whose message has the field `etag`.
fn entity_tag(binding: &Binding, message: &[u8], body: &[u8]) -> Option<HeaderValue> {
    let path: Vec<u32> = binding.etag.as_ref()?.iter().map(FieldDescriptor::number).collect();
    let field = text_at(message, &path)?;
    if binding.method.is_safe() { etag::of_read(field, body) } else { etag::of_change(field) }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let mut pieces = kind.split(';').map(str::trim);
    let json = pieces.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let mut charsets = pieces
        .filter_map(|piece| piece.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset")));
    json && charsets.all(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"))
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    accepted.peek().is_none()
        || accepted.flat_map(|value| value.split(',')).any(|range| {
            let essence = range.split(';').next().unwrap_or_default().trim();
            ["text/event-stream", "text/*", "*/*"].iter().any(|known| essence.eq_ignore_ascii_case(known))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_a_body() {
        for (kind, json) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_json(&headers), json, "{kind}");
        }
    }
}
