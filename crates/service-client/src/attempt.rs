//! One try of a call over one connection, and what became of it: above all whether the replica can have begun it.

use std::error::Error;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use service_runtime::status::reason;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::body::{Outgoing, Unread, Whole, read};
use crate::replicas::Lane;

/// Largest answer, in bytes.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Most digits of a timeout, as gRPC has it.
const MAX_TIMEOUT: u128 = 99_999_999;

/// A call without its message, as every try sends it.
#[derive(Debug)]
pub(crate) struct Outline {
    pub path: PathAndQuery,
    pub headers: HeaderMap,
    /// When its caller stops to wait; it goes along as the time that is left.
    pub deadline: Option<Instant>,
    /// When an answer must have come, or a stream have begun.
    pub answer_by: Instant,
}

/// Why there is no answer that could be passed on just so.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No replica took it.
    Unsent,
    /// It was sent, and the connection broke before the answer.
    Broken,
    /// It was sent, and no answer came in time.
    Late,
    /// The answer is larger than [`MAX_ANSWER_BYTES`].
    TooLarge,
    /// The answer is UNAVAILABLE, for this reason if it has one.
    Unavailable { answer: Response<Body>, reason: Option<String> },
}

/// What a good answer is, or one with another error than UNAVAILABLE.
pub(crate) type Answer<B> = (Response<B>, Code);

/// A call with one answer, which is read to its end.
pub(crate) async fn unary(lane: &Lane, outline: &Outline, message: &Bytes) -> Result<Answer<Body>, Fault> {
    let exchange = async {
        let (parts, body) = send(lane, outline, Outgoing::Whole(Some(message.clone()))).await?.into_parts();
        let whole = match read(body, MAX_ANSWER_BYTES).await {
            Ok(whole) => whole,
            Err(Unread::Broken(error)) => return Err(fault_of(&error)),
            Err(Unread::TooLarge) => return Err(Fault::TooLarge),
        };
        let told = whole.trailers.as_ref().and_then(code_of);
        let Some(code) = code_of(&parts.headers).or(told) else {
            // Something between ended it early, or is no gRPC at all.
            return Err(if parts.status.is_success() {
                Fault::Broken
            } else {
                unavailable_for(parts.status)
            });
        };
        if code == Code::Unavailable {
            let status = Status::from_header_map(&parts.headers)
                .or_else(|| whole.trailers.as_ref().and_then(Status::from_header_map));
            let reason = status.and_then(|status| reason_of(&status));
            return Err(Fault::Unavailable { answer: Response::from_parts(parts, Body::new(whole)), reason });
        }
        Ok((Response::from_parts(parts, Body::new(whole)), code))
    };
    tokio::time::timeout_at(outline.answer_by, exchange).await.map_err(|_| Fault::Late)?
}

/// A call with a stream of answers, which is passed on once it has begun.
pub(crate) async fn stream(
    lane: &Lane,
    outline: &Outline,
    body: Outgoing,
) -> Result<Answer<Incoming>, Fault> {
    let exchange = send(lane, outline, body);
    let answer = tokio::time::timeout_at(outline.answer_by, exchange).await.map_err(|_| Fault::Late)??;
    if !answer.status().is_success() {
        return Err(unavailable_for(answer.status()));
    }
    match code_of(answer.headers()) {
        Some(Code::Unavailable) => {
            let status = Status::from_header_map(answer.headers());
            let reason = status.and_then(|status| reason_of(&status));
            Err(Fault::Unavailable { answer: answer.map(Body::new), reason })
        }
        code => Ok((answer, code.unwrap_or(Code::Ok))),
    }
}

/// What stands between and answers in HTTP's own words is no service: the call may be tried elsewhere.
fn unavailable_for(status: http::StatusCode) -> Fault {
    let status = Status::unavailable(format!("the backend answered {status}"));
    let empty = Whole { data: Bytes::new(), trailers: None };
    Fault::Unavailable { answer: status.into_http::<Body>().map(|_| Body::new(empty)), reason: None }
}

async fn send(lane: &Lane, outline: &Outline, body: Outgoing) -> Result<Response<Incoming>, Fault> {
    let mut request = Request::new(body);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(lane.authority.clone());
    uri.path_and_query = Some(outline.path.clone());
    *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    *headers = outline.headers.clone();
    if let Some(deadline) = outline.deadline {
        headers.insert(TIMEOUT, timeout(deadline));
    }
    let answer = lane.sender.clone().try_send_request(request).await;
    answer.map_err(
        |mut error| {
            if error.take_message().is_some() { Fault::Unsent } else { fault_of(error.error()) }
        },
    )
}

/// The time that is left, as gRPC writes it.
fn timeout(deadline: Instant) -> HeaderValue {
    let left = deadline.saturating_duration_since(Instant::now());
    let text = match (left.as_micros(), left.as_millis()) {
        (micros, _) if micros <= MAX_TIMEOUT => format!("{micros}u"),
        (_, millis) if millis <= MAX_TIMEOUT => format!("{millis}m"),
        _ => format!("{}S", u128::from(left.as_secs()).min(MAX_TIMEOUT)),
    };
    HeaderValue::try_from(text).expect("digits and a letter are valid in a header")
}

/// A stream that the server refused, or that lies behind the last one it took before it went away, was not begun. Of
/// every other nobody knows.
fn fault_of(error: &hyper::Error) -> Fault {
    if error.is_canceled() {
        return Fault::Unsent;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(http2) = cause.downcast_ref::<h2::Error>() {
            let refused = http2.is_reset() && http2.reason() == Some(h2::Reason::REFUSED_STREAM);
            let gone = http2.is_go_away() && http2.reason() == Some(h2::Reason::NO_ERROR);
            return if http2.is_remote() && (refused || gone) { Fault::Unsent } else { Fault::Broken };
        }
        source = cause.source();
    }
    Fault::Broken
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

fn reason_of(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}

impl Fault {
    /// Whether it says that the replica, and not what it depends on, is out of order.
    pub fn blames_replica(&self) -> bool {
        match self {
            Self::Unsent | Self::TooLarge => false,
            Self::Broken | Self::Late => true,
            Self::Unavailable { reason, .. } => reason.is_none(),
        }
    }

    /// Whether it says that the service cannot be reached at all.
    pub fn blames_service(&self) -> bool {
        match self {
            Self::Unsent | Self::Broken | Self::Late => true,
            Self::TooLarge => false,
            Self::Unavailable { reason, .. } => {
                reason.as_deref().is_none_or(|reason| reason == reason::STOPPING)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_left_is_written_with_eight_digits_at_most() {
        let written = |left| timeout(Instant::now() + left).to_str().unwrap().to_owned();
        assert_eq!(written(Duration::from_millis(1500)), "1500000u");
        assert_eq!(written(Duration::from_secs(100)), "100000m");
        assert_eq!(written(Duration::from_secs(1_000_000)), "1000000S");
        assert_eq!(written(Duration::ZERO), "0u");
    }
}
