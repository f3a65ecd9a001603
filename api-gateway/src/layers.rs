//! What every request goes through, whatever its route: a request id, the log line and the metrics, security
//! headers, CORS when origins are configured, compression, and a problem document instead of a panic. Limits
//! on bodies, time and concurrency are not here but with the routes, since a refusal of theirs is a problem
//! document that names the limit.

use std::any::Any;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG, Entry, IF_MATCH, IF_NONE_MATCH,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use metrics::{Counter, Histogram, SharedString};
use service_runtime::telemetry;
use tower::util::option_layer;
use tower::{BoxError, Layer, Service};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::CorsLayer;
use tracing::Span;
use uuid::Uuid;

use crate::handler::{Front, IDEMPOTENCY_REPLAYED, TRACEPARENT, X_POSITION};
use crate::problem::Problem;
use crate::rate::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::request::{IDEMPOTENCY_KEY, LAST_EVENT_ID, X_MIN_POSITION};
use crate::{GatewayError, Options, RestService};

/// Names of the metrics that the gateway records.
pub mod names {
    /// Counter: answered requests by `http_route` (the template), `http_method` and `http_status`.
    pub const HTTP_HANDLED: &str = "http_server_handled_total";
    /// Histogram: seconds until the head of the answer, by the same labels.
    pub const HTTP_SECONDS: &str = "http_server_handling_seconds";
    /// Counter: requests refused because too many ran already.
    pub const HTTP_SHED: &str = "http_server_shed_total";
}

/// The header that carries the request id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
pub const MAX_REQUEST_ID: usize = 128;
/// Answers below this size are not worth compressing, in bytes.
pub const COMPRESS_ABOVE: u64 = 1024;
/// How long a browser may keep the answer to a CORS preflight.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(3600);

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// What every answer says to browsers unless it says otherwise itself: a page may load nothing and be framed by nobody.
const SECURITY: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];
/// Route label of paths that are no route.
const NO_ROUTE: &str = "none";

/// The id of the request, for problems and logs: short, plain ASCII.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Of a request that came through these layers.
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or(Self(HeaderValue::from_static("")))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The template of the route that answered, and what its good answers are counted with: looked up once, since a
/// look-up builds a key of owned labels.
pub struct RouteMeters {
    label: Arc<str>,
    ok: OnceLock<(&'static str, Counter, Histogram)>,
}

impl std::fmt::Debug for RouteMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

impl RouteMeters {
    pub fn new(label: Arc<str>) -> Self {
        Self { label, ok: OnceLock::new() }
    }

    fn record(&self, method: &'static str, status: StatusCode, elapsed: Duration) {
        let look_up = || {
            let labels = [
                ("http_route", SharedString::from(Arc::clone(&self.label))),
                ("http_method", method.into()),
                ("http_status", status.as_str().to_owned().into()),
            ];
            (
                method,
                metrics::counter!(names::HTTP_HANDLED, &labels),
                metrics::histogram!(names::HTTP_SECONDS, &labels),
            )
        };
        let count = |(_, handled, seconds): &(&'static str, Counter, Histogram)| {
            handled.increment(1);
            seconds.record(elapsed.as_secs_f64());
        };
        // One route has one method, and HEAD beside its GET.
        match status {
            StatusCode::OK if method != "HEAD" => count(self.ok.get_or_init(look_up)),
            _ => count(&look_up()),
        }
    }
}

/// Puts the layers around the routes. They are one service of one type: as layers of axum's router each of them
/// would be boxed, and copied with all that is inside it for every request.
///
/// # Errors
/// When a CORS origin is not one.
pub fn wrap(front: Front, options: &Options) -> Result<RestService, GatewayError> {
    let cors = option_layer(cors(&options.cors_origins)?);
    let compression = CompressionLayer::new().gzip(true).compress_when(compressible());
    let observed = Observed(compression.layer(cors.layer(front)));
    Ok(RestService::new(observed))
}

/// A compressed answer is another representation and would need another strong entity tag, so answers with
/// one, which are single resources and small, stay as they are.
fn compressible() -> impl Predicate {
    let no_etag =
        |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| !headers.contains_key(ETAG);
    SizeAbove::new(COMPRESS_ABOVE).and(NotForContentType::SSE).and(no_etag)
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, GatewayError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let origins = origins.iter().map(|origin| parse_origin(origin)).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                IF_MATCH,
                IF_NONE_MATCH,
                IDEMPOTENCY_KEY,
                LAST_EVENT_ID,
                X_MIN_POSITION,
                X_REQUEST_ID,
                TRACEPARENT,
            ])
            .expose_headers([
                ETAG,
                RETRY_AFTER,
                X_POSITION,
                X_REQUEST_ID,
                IDEMPOTENCY_REPLAYED,
                RATE_LIMIT,
                RATE_LIMIT_POLICY,
            ])
            .max_age(CORS_MAX_AGE),
    ))
}

fn parse_origin(origin: &str) -> Result<HeaderValue, GatewayError> {
    let refused = || GatewayError::Origin(origin.to_owned());
    let (scheme, host) = origin.split_once("://").ok_or_else(refused)?;
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ', ',']);
    if !plain || !["http", "https"].contains(&scheme) {
        return Err(refused());
    }
    HeaderValue::try_from(origin).map_err(|_| refused())
}

pub fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; the request id finds it in the logs")
        .into_response()
}

/// Gives the request its ids, and tells the log and the metrics how it went.
#[derive(Debug, Clone)]
struct Observed<S>(S);

impl<S, B> Service<Request> for Observed<S>
where
    S: Service<Request, Response = http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let observation = Observation::begin(&mut request);
        let answer = self.0.call(request);
        Box::pin(async move {
            let Ok(mut response) = answer.await;
            observation.end(&mut response);
            Ok(response.map(Body::new))
        })
    }
}

/// One request from its arrival to the head of its answer.
struct Observation {
    begun: Instant,
    id: HeaderValue,
    trace: HeaderValue,
    method: &'static str,
    /// Disabled without a collector.
    span: Span,
}

impl Observation {
    fn begin(request: &mut Request) -> Self {
        let begun = Instant::now();
        let (method, headers) = (known_method(request.method()), request.headers_mut());
        for name in [AUTHORIZATION, COOKIE] {
            if let Entry::Occupied(mut credentials) = headers.entry(name) {
                credentials.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
        let id = request_id(headers);
        headers.insert(X_REQUEST_ID, id.clone());
        let (span, trace) = match telemetry::is_exporting() {
            true => open_span(method, &id, headers),
            false => (Span::none(), headers.entry(TRACEPARENT).or_insert_with(new_trace).clone()),
        };
        request.extensions_mut().insert(RequestId(id.clone()));
        Self { begun, id, trace, method, span }
    }

    fn end<B>(self, response: &mut http::Response<B>) {
        let Self { begun, id, trace, method, span } = self;
        let meters = response.extensions_mut().remove::<Arc<RouteMeters>>();
        let meters = meters.unwrap_or_else(|| Arc::new(RouteMeters::new(NO_ROUTE.into())));
        let (status, elapsed) = (response.status(), begun.elapsed());
        meters.record(method, status, elapsed);
        let route = &meters.label;
        let read = matches!(method, "GET" | "HEAD");
        let http_status = status.as_u16();
        if !span.is_none() {
            telemetry::rename_exported_span(&span, format!("{method} {route}"));
            span.record("http_route", tracing::field::display(route)).record("http_status", http_status);
            if status.is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
        }
        // Good reads are told by the metrics: a line for each would cost as much as the read. What a line needs is made
        // inside of these, where it is made only when the line is written.
        macro_rules! answered {
            ($level:ident) => {
                tracing::$level!(
                    request_id = id.to_str().unwrap_or_default(),
                    trace_id = trace_id(&trace),
                    http_method = method,
                    http_route = %route,
                    http_status,
                    elapsed_ms = elapsed.as_secs_f64() * 1000.0,
                    "answered"
                )
            };
        }
        if status.is_server_error() {
            answered!(warn);
        } else if read && !status.is_client_error() {
            answered!(debug);
        } else {
            answered!(info);
        }
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id);
        for (name, value) in SECURITY {
            headers.entry(name).or_insert(value);
        }
    }
}

/// The span of a request in its client's trace, or in a new one, and what goes on to the service in place of what came.
fn open_span(method: &'static str, id: &HeaderValue, headers: &mut HeaderMap) -> (Span, HeaderValue) {
    use tracing::field::Empty;
    let incoming = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse().ok());
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.status_code = Empty,
        request_id = id.to_str().unwrap_or_default(),
        http_method = method,
        http_route = Empty,
        http_status = Empty,
    );
    let own = telemetry::continue_trace(&span, incoming).to_string();
    let own = HeaderValue::try_from(own).expect("hexadecimal digits are valid in a header");
    headers.insert(TRACEPARENT, own.clone());
    (span, own)
}

/// Tells which of the gateway's own pages answered.
pub async fn name_page(request: Request, next: Next) -> Response {
    let page = request.extensions().get::<MatchedPath>().map(|path| Arc::from(path.as_str()));
    let mut response = next.run(request).await;
    if let Some(page) = page {
        response.extensions_mut().insert(Arc::new(RouteMeters::new(page)));
    }
    response
}

/// The client's id when it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(X_REQUEST_ID).filter(plain).cloned().unwrap_or_else(new_id)
}

/// A UUIDv7, so that ids sort by time. Its chance comes from the thread's generator: the system's costs a system
/// call, and an id for logs has nothing to hide.
fn new_id() -> HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let id: Uuid = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).expect("a UUID is valid in a header")
}

/// A trace that begins with this request.
fn new_trace() -> HeaderValue {
    let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
    // Formatting machinery takes longer than the rest, and a UUID's plain form is hexadecimal digits too.
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
    Uuid::from_u128(trace).simple().encode_lower(&mut text[3..35]);
    let mut digits = [0; uuid::fmt::Simple::LENGTH];
    Uuid::from_u64_pair(span, 0).simple().encode_lower(&mut digits);
    text[36..52].copy_from_slice(&digits[..16]);
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are valid in a header")
}

fn trace_id(traceparent: &HeaderValue) -> &str {
    let id = traceparent.to_str().ok().and_then(|text| text.get(3..35));
    id.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())).unwrap_or_default()
}

/// Method names are labels, so a client must not be able to make up new ones.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_over_only_when_it_is_short_and_plain() {
        let id = |text: &str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(text).unwrap())]);
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id("order-7.a:b_c"), "order-7.a:b_c");
        for refused in ["a b", "a\"b", "", &"x".repeat(MAX_REQUEST_ID + 1)] {
            assert_ne!(id(refused), refused);
        }
    }

    #[test]
    fn a_new_trace_is_a_sampled_one_of_version_00_with_ids_of_its_own() {
        let (one, other) = (new_trace(), new_trace());
        let parts: Vec<_> = one.to_str().unwrap().split('-').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "01"));
        assert!(
            parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        );
        assert!(parts[1].bytes().any(|b| b != b'0') && parts[2].bytes().any(|b| b != b'0'));
        assert_eq!(trace_id(&one), parts[1]);
        assert_ne!(trace_id(&one), trace_id(&other));
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        assert!(parse_origin("https://shop.example:8443").is_ok());
        for refused in
            ["*", "shop.example", "https://shop.example/", "ftp://x", "https://", "https://*.example"]
        {
            assert!(parse_origin(refused).is_err(), "{refused}");
        }
    }
}
