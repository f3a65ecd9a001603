//! What every request goes through, whatever its route: a request id, the log line and the metrics, security
//! headers, CORS when origins are configured, compression, and a problem document instead of a panic. Limits
//! on bodies, time and concurrency are not here but with the routes, since a refusal of theirs is a problem
//! document that names the limit.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG, IF_MATCH, IF_NONE_MATCH,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::CorsLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument;
use uuid::Uuid;

use crate::handler::{IDEMPOTENCY_REPLAYED, TRACEPARENT, X_POSITION};
use crate::problem::Problem;
use crate::request::{IDEMPOTENCY_KEY, LAST_EVENT_ID, X_MIN_POSITION};
use crate::{GatewayError, Options};

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

/// Pages may load nothing and be framed by nobody, unless they say otherwise themselves.
const CONTENT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Route label of paths that are no route.
const NO_ROUTE: &str = "none";

/// The id of the request, for problems and logs.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// The template of the route that answered.
#[derive(Debug, Clone)]
pub struct RouteLabel(pub Arc<str>);

/// Puts the layers around the router, the last one outermost.
///
/// # Errors
/// When a CORS origin is not one.
pub fn wrap(router: axum::Router, options: &Options) -> Result<axum::Router, GatewayError> {
    let fixed = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    let same_origin = HeaderName::from_static("cross-origin-resource-policy");
    let router = router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new().gzip(true).compress_when(compressible()));
    let router = match cors(&options.cors_origins)? {
        Some(cors) => router.layer(cors),
        None => router,
    };
    Ok(router
        .layer(fixed(CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(REFERRER_POLICY, "no-referrer"))
        .layer(fixed(same_origin, "same-origin"))
        .layer(from_fn(observe))
        .layer(SetSensitiveRequestHeadersLayer::new([AUTHORIZATION, COOKIE])))
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
            .expose_headers([ETAG, RETRY_AFTER, X_POSITION, X_REQUEST_ID, IDEMPOTENCY_REPLAYED])
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

fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; the request id finds it in the logs")
        .into_response()
}

/// Gives the request its ids, and tells the log and the metrics how it went.
async fn observe(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let id_value = HeaderValue::try_from(&*id).expect("request ids are checked to be plain ASCII");
    request.headers_mut().insert(X_REQUEST_ID, id_value.clone());
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let trace = request.headers_mut().entry(TRACEPARENT).or_insert_with(new_trace).clone();
    let method = known_method(request.method());
    let page = request.extensions().get::<MatchedPath>().map(|path| Arc::from(path.as_str()));
    let span = tracing::info_span!("http", request_id = %id, trace_id = trace_id(&trace));

    let mut response = next.run(request).instrument(span.clone()).await;

    response.headers_mut().insert(X_REQUEST_ID, id_value);
    let matched = response.extensions_mut().remove::<RouteLabel>().map(|label| label.0);
    let route = matched.or(page).unwrap_or_else(|| Arc::from(NO_ROUTE));
    let (status, elapsed) = (response.status(), begun.elapsed());
    let labels = [
        ("http_route", metrics::SharedString::from(Arc::clone(&route))),
        ("http_method", method.into()),
        ("http_status", status.as_str().to_owned().into()),
    ];
    metrics::counter!(names::HTTP_HANDLED, &labels).increment(1);
    metrics::histogram!(names::HTTP_SECONDS, &labels).record(elapsed.as_secs_f64());
    let (status, elapsed_ms) = (status.as_u16(), elapsed.as_secs_f64() * 1000.0);
    span.in_scope(|| {
        if status >= 500 {
            tracing::warn!(http_method = method, http_route = %route, http_status = status, elapsed_ms, "answered");
        } else {
            tracing::info!(http_method = method, http_route = %route, http_status = status, elapsed_ms, "answered");
        }
    });
    response
}

/// The client's id when it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    given.filter(plain).map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from)
}

/// A trace that begins with this request.
fn new_trace() -> HeaderValue {
    let (trace, span) = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u64_pair().0);
    HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-01"))
        .expect("hexadecimal digits are valid in a header")
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
            request_id(&headers).to_string()
        };
        assert_eq!(id("order-7.a:b_c"), "order-7.a:b_c");
        for refused in ["a b", "a\"b", "", &"x".repeat(MAX_REQUEST_ID + 1)] {
            assert_ne!(id(refused), refused);
        }
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
