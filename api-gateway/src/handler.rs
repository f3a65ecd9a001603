//! One REST request from the route tree to the answer: limits, body, message, call, response headers. What it
//! knows of an RPC stands in its binding; nothing is looked up in descriptors while a request waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost_reflect::DynamicMessage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::binding::{Binding, BodyRule};
use crate::layers::{RequestId, RouteLabel, X_REQUEST_ID, names};
use crate::problem::{DEFAULT_RETRY_AFTER, Problem};
use crate::request::without_quotes;
use crate::template::{Found, RouteTree};
use crate::{Backend, GatewayError, Options, json, request, sse};

/// The position that an answer reached.
pub const X_POSITION: HeaderName = HeaderName::from_static("x-position");
/// `true` when a repeated request got the stored answer of the first.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A binding and who answers for it.
#[derive(Debug)]
pub struct Route {
    pub binding: Arc<Binding>,
    backend: Backend,
}

/// The state that all requests share.
#[derive(Debug)]
pub struct Rest {
    tree: RouteTree<Route>,
    body_limit: usize,
    request_timeout: Duration,
    sse_keep_alive: Duration,
    in_flight: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shutdown: CancellationToken,
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
        tree.insert(method, &template, Route { binding: Arc::new(binding), backend: backend.clone() })
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
            in_flight: Arc::new(Semaphore::new(options.max_in_flight.min(Semaphore::MAX_PERMITS))),
            streams: Arc::new(Semaphore::new(options.max_streams.min(Semaphore::MAX_PERMITS))),
            shutdown,
        }
    }
}

/// Answers whatever is not one of the gateway's own pages.
pub async fn serve(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let request_id = parts.extensions.get::<RequestId>().map(|id| Arc::clone(&id.0)).unwrap_or_default();
    let head = parts.method == Method::HEAD;
    let method = if head { &Method::GET } else { &parts.method };
    let (label, answer) = match rest.tree.find(method, parts.uri.path()) {
        Found::Route(route) if head && route.binding.is_stream() => {
            (Some(&route.binding.label), Err(wrong_method(&[&Method::GET])))
        }
        Found::Route(route) => {
            (Some(&route.binding.label), rest.answer(route, &parts, body, &request_id).await)
        }
        Found::WrongMethod(methods) => (None, Err(wrong_method(&methods))),
        Found::Nothing => (None, Err(Problem::new(StatusCode::NOT_FOUND, "there is no such route"))),
    };
    let mut response = answer.unwrap_or_else(|problem| problem.instance(&request_id).into_response());
    if let Some(label) = label {
        response.extensions_mut().insert(RouteLabel(Arc::clone(label)));
    }
    if head {
        *response.body_mut() = Body::empty();
    }
    response
}

/// Answers for a page of the gateway's own that was asked for with another method than GET.
pub async fn page_with_wrong_method(request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().map(|id| Arc::clone(&id.0)).unwrap_or_default();
    wrong_method(&[&Method::GET]).instance(&id).into_response()
}

fn wrong_method(methods: &[&Method]) -> Problem {
    let mut allowed: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let list = HeaderValue::try_from(allowed.join(", ")).expect("method names are valid in a header");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method").header(ALLOW, list)
}

fn shed(limit: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(limit).try_acquire_owned().map_err(|_| {
        metrics::counter!(names::HTTP_SHED).increment(1);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once")
            .retry_after(DEFAULT_RETRY_AFTER)
    })
}

impl Rest {
    async fn answer(
        &self,
        route: &Route,
        parts: &Parts,
        body: Body,
        request_id: &Arc<str>,
    ) -> Result<Response, Problem> {
        let binding = &route.binding;
        let deadline = Instant::now() + self.request_timeout;
        if binding.is_stream() && !accepts_events(&parts.headers) {
            return Err(Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                "this route answers with text/event-stream",
            ));
        }
        let permit = shed(&self.in_flight)?;
        let body = self.body(binding, &parts.headers, body, deadline).await?;
        let message = request::build(binding, parts.uri.path(), parts.uri.query(), &parts.headers, &body)?;
        if !binding.is_stream() {
            return self.unary(route, parts, message, deadline).await;
        }
        let stream_permit = shed(&self.streams)?;
        drop(permit);
        let call = tonic::Request::from_parts(metadata(&parts.headers), http::Extensions::new(), message);
        let call = route.backend.server_streaming(binding.grpc_path.clone(), &binding.output, call);
        let answer = timeout_at(deadline, call).await.map_err(|_| too_late())?;
        let answer = answer.map_err(|status| Problem::from_status(&status))?;
        Ok(sse::response(sse::Source {
            messages: answer.into_inner(),
            binding: Arc::clone(binding),
            request_id: Arc::clone(request_id),
            shutdown: self.shutdown.clone(),
            keep_alive: self.sse_keep_alive,
            permit: stream_permit,
        }))
    }

    /// Reads the body, when the binding takes one, within the limits.
    async fn body(
        &self,
        binding: &Binding,
        headers: &HeaderMap,
        body: Body,
        deadline: Instant,
    ) -> Result<Bytes, Problem> {
        if body.is_end_stream() || body.size_hint().exact() == Some(0) {
            return match &binding.body {
                BodyRule::Field(_) => Err(Problem::malformed("a JSON body is missing")),
                BodyRule::None | BodyRule::Whole => Ok(Bytes::new()),
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
        let collected = timeout_at(deadline, Limited::new(body, self.body_limit).collect()).await;
        match collected.map_err(|_| cut_off(StatusCode::REQUEST_TIMEOUT, "the body took too long"))? {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(cut_off(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body may have at most {} bytes", self.body_limit),
            )),
            Err(_) => Err(Problem::malformed("the body ended early")),
        }
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
        let call = route.backend.unary(binding.grpc_path.clone(), &binding.output, call);
        let answer = timeout_at(deadline, call).await.map_err(|_| too_late())?;
        let (metadata, message, _) = answer.map_err(|status| refusal(&status))?.into_parts();
        respond(binding, &parts.headers, &metadata, &message)
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
    let mut passed = HeaderMap::with_capacity(4);
    for name in [AUTHORIZATION, TRACEPARENT, TRACESTATE, X_REQUEST_ID] {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    MetadataMap::from_headers(passed)
}

fn respond(
    binding: &Binding,
    request: &HeaderMap,
    metadata: &MetadataMap,
    message: &DynamicMessage,
) -> Result<Response, Problem> {
    let etag = entity_tag(binding, message);
    let unchanged = binding.method.is_safe()
        && etag
            .as_ref()
            .is_some_and(|etag| request.get_all(IF_NONE_MATCH).iter().any(|tags| has_tag(tags, etag)));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = json::encode(message, binding.response_body.as_ref())
            .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer has no JSON form"))?;
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    };
    let headers = response.headers_mut();
    // Answers depend on the credential; with an entity tag they may be kept, but must be asked about.
    let caching = if etag.is_some() && binding.method.is_safe() { "private, no-cache" } else { "no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Some(etag) = etag {
        headers.insert(ETAG, etag);
    }
    let answered = metadata.as_ref();
    let written =
        || json::plain_text(message, binding.position.as_ref()?).and_then(|text| text.try_into().ok());
    if let Some(position) = answered.get(&X_POSITION).cloned().or_else(written) {
        headers.insert(X_POSITION, position);
    }
    if is_replayed(metadata) {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What a service refused, marked if it is the stored answer to an earlier request.
fn refusal(status: &Status) -> Problem {
    let problem = Problem::from_status(status);
    match is_replayed(status.metadata()) {
        true => problem.header(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true")),
        false => problem,
    }
}

fn is_replayed(answered: &MetadataMap) -> bool {
    answered.as_ref().get(&IDEMPOTENCY_REPLAYED).is_some_and(|replayed| replayed == "true")
}

/// The tag of the field `etag`, which may have the quotes of the header or not.
fn entity_tag(binding: &Binding, message: &DynamicMessage) -> Option<HeaderValue> {
    let (last, outer) = binding.etag.as_ref()?.split_last()?;
    let tag = match outer {
        [] => json::plain_text(message, last),
        [resource, ..] if message.has_field(resource) => {
            json::plain_text(message.get_field(resource).as_message()?, last)
        }
        _ => None,
    }?;
    let bare = without_quotes(&tag);
    let allowed = |byte: u8| byte == b'!' || (b'#'..=b'~').contains(&byte);
    HeaderValue::try_from(format!("\"{bare}\"")).ok().filter(|_| bare.bytes().all(allowed))
}

/// The weak comparison of RFC 9110 with a list of tags.
fn has_tag(tags: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(etag)) = (tags.to_str(), etag.to_str()) else { return false };
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
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
    fn entity_tags_are_compared_weakly_on_reads() {
        let etag = HeaderValue::from_static("\"7\"");
        for (tags, same) in
            [("\"7\"", true), ("W/\"7\"", true), ("\"6\", \"7\"", true), ("*", true), ("\"77\"", false)]
        {
            assert_eq!(has_tag(&HeaderValue::from_static(tags), &etag), same, "{tags}");
        }
    }

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
