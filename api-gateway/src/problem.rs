//! Errors as `application/problem+json` (RFC 9457). This module holds the one table from gRPC status to HTTP
//! status and the rules of what a client may read. It logs nothing, and it never shows the message of an
//! internal error, which may name tables, hosts or people.
//!
//! | gRPC code | HTTP | remark |
//! |---|---|---|
//! | CANCELLED | 499 | the caller went away |
//! | INVALID_ARGUMENT, OUT_OF_RANGE | 400 | 422 when the reason is `REQUEST_ID_REUSED` |
//! | UNAUTHENTICATED | 401 | with `WWW-Authenticate` |
//! | PERMISSION_DENIED | 403 | |
//! | NOT_FOUND | 404 | |
//! | ALREADY_EXISTS | 409 | |
//! | ABORTED | 409 | a lost race; 412 when the reason is `ETAG_MISMATCH` |
//! | FAILED_PRECONDITION | 422 | a broken business rule, `REQUEST_ID_REUSED` included |
//! | RESOURCE_EXHAUSTED | 429 | with `Retry-After` |
//! | UNIMPLEMENTED | 501 | |
//! | UNAVAILABLE | 503 | with `Retry-After` |
//! | DEADLINE_EXCEEDED | 504 | |
//! | UNKNOWN, INTERNAL, DATA_LOSS and what is no code | 500 | without the message and its details |

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The domain of the reasons that the gateway gives itself; that of the services.
pub const DOMAIN: &str = "storeline";
/// The reason of a request that does not fit its message.
pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
/// The reason of ABORTED that means that an `If-Match` did not hold.
pub const ETAG_MISMATCH: &str = "ETAG_MISMATCH";
/// The reason of a request id that was used before with another body.
pub const REQUEST_ID_REUSED: &str = "REQUEST_ID_REUSED";
/// `Retry-After` of 429 and 503 when the service names no delay.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Longest field path or description of a violation, in characters.
const MAX_VIOLATION_CHARS: usize = 240;

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Path of the field in the request, such as `lines[2].quantity`, or the name of a header.
    pub field: String,
    /// The rule that it breaks.
    pub description: String,
}

impl Violation {
    /// Both are cut at `MAX_VIOLATION_CHARS`: a client's own names stand in them, of any length.
    pub fn new(field: impl AsRef<str>, description: impl AsRef<str>) -> Self {
        let cut = |text: &str| text.chars().take(MAX_VIOLATION_CHARS).collect();
        Self { field: cut(field.as_ref()), description: cut(description.as_ref()) }
    }
}

/// A problem document, with what its response needs besides the body.
#[derive(Debug, Clone)]
pub struct Problem(Box<Document>);

#[derive(Debug, Clone, Serialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    headers: Vec<(http::HeaderName, HeaderValue)>,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem that the gateway itself found.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Document {
            kind: "about:blank".to_owned(),
            title: phrase(status).to_owned(),
            status,
            detail: detail.into(),
            instance: None,
            reason: None,
            domain: None,
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after: None,
            headers: Vec::new(),
        }))
    }

    /// A request that does not fit its message, told in the words of the services.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let mut problem = Self::malformed("the request does not fit the schema");
        problem.0.violations = violations;
        problem
    }

    /// A request whose body is wrong as a whole.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail).because(INVALID_REQUEST, DOMAIN)
    }

    /// Names the reason, for programs.
    #[must_use]
    pub fn because(mut self, reason: &str, domain: &str) -> Self {
        self.0.kind = type_uri(domain, reason);
        self.0.title = sentence(reason);
        self.0.reason = Some(reason.to_owned());
        self.0.domain = Some(domain.to_owned());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Names the request that this problem belongs to.
    #[must_use]
    pub fn instance(mut self, request_id: &str) -> Self {
        if !request_id.is_empty() {
            self.0.instance = Some(format!("urn:request:{request_id}"));
        }
        self
    }

    /// The problem that a service's status stands for.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let code = http_status(status.code(), info.map(|info| info.reason.as_str()));
        // A status with a source was made by the transport, and its message may name hosts and ports.
        if code == StatusCode::INTERNAL_SERVER_ERROR || status.source().is_some() {
            return Self::new(code, hidden_detail(code)).with_default_retry();
        }
        let mut problem = Self::new(code, status.message());
        if let Some(info) = info {
            problem = problem.because(&info.reason, &info.domain);
            problem.0.metadata = sorted(&info.metadata);
        }
        if let Some(bad) = details.bad_request() {
            let violations = &bad.field_violations;
            problem.0.violations.extend(violations.iter().map(|v| Violation::new(&v.field, &v.description)));
        }
        if let Some(failure) = details.precondition_failure() {
            let violations = &failure.violations;
            problem
                .0
                .violations
                .extend(violations.iter().map(|v| Violation::new(&v.subject, &v.description)));
        }
        problem.0.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        problem.with_default_retry()
    }

    fn with_default_retry(mut self) -> Self {
        if matches!(self.0.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            self.0.retry_after = self.0.retry_after.or(Some(DEFAULT_RETRY_AFTER));
        }
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The document.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("strings and numbers always have a JSON form")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(delay) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers.extend(self.0.headers);
        response
    }
}

/// The table at the top of this module.
pub fn http_status(code: Code, reason: Option<&str>) -> StatusCode {
    match (code, reason) {
        (Code::Ok, _) => StatusCode::OK,
        (Code::Cancelled, _) => StatusCode::from_u16(499).expect("499 is within the range of status codes"),
        (Code::InvalidArgument, Some(REQUEST_ID_REUSED)) => StatusCode::UNPROCESSABLE_ENTITY,
        (Code::InvalidArgument | Code::OutOfRange, _) => StatusCode::BAD_REQUEST,
        (Code::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (Code::PermissionDenied, _) => StatusCode::FORBIDDEN,
        (Code::NotFound, _) => StatusCode::NOT_FOUND,
        (Code::Aborted, Some(ETAG_MISMATCH)) => StatusCode::PRECONDITION_FAILED,
        (Code::AlreadyExists | Code::Aborted, _) => StatusCode::CONFLICT,
        (Code::FailedPrecondition, _) => StatusCode::UNPROCESSABLE_ENTITY,
        (Code::ResourceExhausted, _) => StatusCode::TOO_MANY_REQUESTS,
        (Code::Unimplemented, _) => StatusCode::NOT_IMPLEMENTED,
        (Code::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Code::DeadlineExceeded, _) => StatusCode::GATEWAY_TIMEOUT,
        (Code::Unknown | Code::Internal | Code::DataLoss, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn hidden_detail(status: StatusCode) -> &'static str {
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => "an internal error; the instance above finds it in the logs",
        StatusCode::SERVICE_UNAVAILABLE => "the service behind this route cannot be reached at the moment",
        StatusCode::GATEWAY_TIMEOUT => "the service behind this route did not answer in time",
        _ => "the call of the service behind this route failed",
    }
}

fn phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Client Closed Request")
}

fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0)).max(1)
}

fn type_uri(domain: &str, reason: &str) -> String {
    let piece = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' })
            .collect()
    };
    format!("urn:problem-type:{}:{}", piece(domain), piece(reason))
}

/// `PRICE_CHANGED` becomes `Price changed`.
fn sentence(reason: &str) -> String {
    let lower = reason.replace('_', " ").to_lowercase();
    let mut letters = lower.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn sorted(map: &HashMap<String, String>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (90_000, 90)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis}");
        }
    }

    #[test]
    fn a_reason_names_the_type_and_the_title() {
        assert_eq!(type_uri("orders.shop", "PRICE_CHANGED"), "urn:problem-type:orders.shop:price-changed");
        assert_eq!(sentence("PRICE_CHANGED"), "Price changed");
        assert_eq!(sentence(""), "");
    }
}
