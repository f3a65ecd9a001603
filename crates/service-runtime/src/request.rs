//! What a handler knows about the call it answers: who calls, how long they wait, and which flow it belongs
//! to. The gRPC server puts it beside every request; nothing here looks into a message.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventsourcing::{CommandContext, Metadata, NotReached, Position, Retention, SubscriptionHandle};
use http::HeaderMap;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use crate::auth::Caller;
use crate::secret::Secret;
use crate::status::{self, invalid_field};
use crate::traceparent::{self, TraceParent};

/// How long a call may take when its client does not say, and at most.
pub const MAX_CALL_DURATION: Duration = Duration::from_secs(30);
/// How long a read waits for `min_position` at most.
pub const MAX_POSITION_WAIT: Duration = Duration::from_secs(10);
/// What is left of a deadline after waiting for a position, to read and answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(100);
/// Longest `min_position`, in bytes: some positions of logs with short names.
const MAX_POSITION_CHARS: usize = 1024;
/// Longest `request_id`, in characters.
pub const MAX_REQUEST_ID_CHARS: usize = 255;
/// Header that carries the correlation id, in requests and answers.
pub const CORRELATION_HEADER: &str = "x-request-id";
/// Longest correlation id that is taken over from a client.
const MAX_CORRELATION_CHARS: usize = 128;
/// Header that carries how long the client waits.
const TIMEOUT_HEADER: &str = "grpc-timeout";
/// Request fields with a meaning of their own.
const REQUEST_ID_FIELD: &str = "request_id";
const MIN_POSITION_FIELD: &str = "min_position";

/// Namespace of the command ids that are derived from request ids.
const REQUESTS: Uuid = Uuid::from_u128(0x0d1f_9c55_7e0b_4c35_8a3e_61c2_27ab_f0d6);

/// One call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub caller: Caller,
    /// Path of the RPC: `/package.Service/Method`.
    pub method: Arc<str>,
    /// When nobody waits any more; `None` for a stream whose client set no limit.
    pub deadline: Option<Instant>,
    /// The span of this call.
    pub traceparent: TraceParent,
    /// The same for everything that one request from outside set off.
    pub correlation_id: Arc<str>,
}

impl RequestContext {
    /// A call that comes from no network: tests, and work that a process gives itself.
    pub fn new(caller: Caller, method: &str) -> Self {
        Self {
            caller,
            method: method.into(),
            deadline: Some(Instant::now() + MAX_CALL_DURATION),
            traceparent: TraceParent::root(),
            correlation_id: new_correlation_id(),
        }
    }

    /// The context of a request. One that did not come through the server of [`crate::grpc`] is anonymous.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_else(|| Self::new(Caller::Anonymous, "unknown"))
    }

    /// Identity and origin of the command that a request asks for.
    ///
    /// `body` is the request after its `request_id` was taken out: the same id with another body is refused by
    /// the command processor. An empty id means that the caller does not care about repeats. All anonymous
    /// callers share a scope; what keeps them apart is that only the very same body gets the same answer.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the id is too long or has control characters.
    pub fn command_context(&self, request_id: &str, body: &impl Message) -> Result<CommandContext, Status> {
        if request_id.chars().count() > MAX_REQUEST_ID_CHARS {
            let rule = format!("must have at most {MAX_REQUEST_ID_CHARS} characters");
            return Err(invalid_field(REQUEST_ID_FIELD, rule));
        }
        if request_id.chars().any(char::is_control) {
            return Err(invalid_field(REQUEST_ID_FIELD, "must not have control characters"));
        }
        let scope = format!("{} {}", self.caller.scope(), self.method);
        let command_id = match request_id {
            "" => Uuid::now_v7(),
            id => Uuid::new_v5(&REQUESTS, format!("{scope}\n{id}").as_bytes()),
        };
        Ok(CommandContext {
            scope,
            command_id,
            request_hash: Sha256::digest(body.encode_to_vec()).into(),
            metadata: self.metadata(),
            retention: Retention::Client,
        })
    }

    /// What events of this call record about it.
    pub fn metadata(&self) -> Metadata {
        Metadata {
            correlation_id: self.correlation_id.to_string(),
            causation_id: None,
            actor: self.caller.actor(),
            traceparent: Some(self.traceparent.to_string()),
        }
    }

    /// Waits until the models behind a read have caught up with `min_position`: what a reply to a mutation
    /// carried, or several of those with commas in between. Empty means not to wait.
    ///
    /// `models` are the subscriptions that the read depends on. It waits no longer than the caller does, nor
    /// than [`MAX_POSITION_WAIT`].
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no position, or one of a log that no model follows; UNAVAILABLE with
    /// RetryInfo when time runs out.
    pub async fn wait_for_position(
        &self,
        min_position: &str,
        models: &[&SubscriptionHandle],
    ) -> Result<(), Status> {
        if min_position.is_empty() {
            return Ok(());
        }
        let refused = |rule: &str| invalid_field(MIN_POSITION_FIELD, rule);
        if min_position.len() > MAX_POSITION_CHARS {
            return Err(refused("is too long"));
        }
        let until = Instant::now() + self.position_wait();
        for token in min_position.split(',') {
            let position: Position =
                token.parse().map_err(|_| refused("must be a position as it was returned"))?;
            let mut followed = false;
            for model in models {
                let patience = until.saturating_duration_since(Instant::now());
                match model.wait_for(&position, patience).await {
                    Ok(()) => followed = true,
                    Err(NotReached::AnotherLog { .. }) => {}
                    Err(NotReached::AnotherIncarnation) => {
                        return Err(refused("is from before the log was restored: read again without it"));
                    }
                    Err(NotReached::TimedOut) => return Err(status::position_not_reached()),
                }
            }
            if !followed {
                return Err(refused("is of a log that this read does not depend on"));
            }
        }
        Ok(())
    }

    /// How long to wait for a position.
    fn position_wait(&self) -> Duration {
        let left = self.time_left().unwrap_or(MAX_POSITION_WAIT);
        left.saturating_sub(ANSWER_RESERVE).min(MAX_POSITION_WAIT)
    }

    /// Until the deadline; `None` when there is none.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for `work` as long as somebody waits for the call. The server does so for every handler; this is
    /// for parts of one, and for work that a stream does.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED; `work` is then dropped.
    pub async fn within_deadline<F: Future>(&self, work: F) -> Result<F::Output, Status> {
        match self.deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, work).await.map_err(|_| status::deadline_exceeded())
            }
            None => Ok(work.await),
        }
    }

    /// A request to another service as part of this call: it carries trace, correlation id and the remaining
    /// time on, and this process's own credential rather than the caller's.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when no time is left.
    pub fn outgoing<T>(&self, message: T, credential: Option<&Secret>) -> Result<tonic::Request<T>, Status> {
        let mut request = tonic::Request::new(message);
        if let Some(left) = self.time_left() {
            if left.is_zero() {
                return Err(status::deadline_exceeded());
            }
            request.set_timeout(left);
        }
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = value.parse() {
                request.metadata_mut().insert(name, value);
            }
        };
        set(traceparent::HEADER, &self.traceparent.to_string());
        set(CORRELATION_HEADER, &self.correlation_id);
        if let Some(credential) = credential {
            set("authorization", &format!("Bearer {}", credential.expose()));
        }
        Ok(request)
    }
}

/// The client's correlation id, if it is a harmless one, or a new one.
pub(crate) fn correlation_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=MAX_CORRELATION_CHARS).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    given.filter(harmless).map_or_else(new_correlation_id, Arc::from)
}

/// A UUIDv7, so that ids sort by time. Its chance comes from the thread's generator: the system's costs a system
/// call, and an id for logs has nothing to hide.
fn new_correlation_id() -> Arc<str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    Arc::from(&*id.hyphenated().encode_lower(&mut text))
}

/// The client's trace context, if it sent a valid one.
pub(crate) fn incoming_trace(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get(traceparent::HEADER)?.to_str().ok()?.parse().ok()
}

/// How long the client waits, by the header `grpc-timeout`. A malformed one counts as none.
pub fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
    /// Most digits that the protocol allows.
    const MAX_DIGITS: usize = 8;
    let value = headers.get(TIMEOUT_HEADER)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn context(caller: Caller, method: &str) -> RequestContext {
        RequestContext::new(caller, method)
    }

    fn body() -> String {
        "the body".to_owned()
    }

    #[test]
    fn a_repeated_request_is_the_same_command() {
        let first = context(Caller::Operator, "/m").command_context("id-1", &body()).unwrap();
        let second = context(Caller::Operator, "/m").command_context("id-1", &body()).unwrap();
        assert_eq!((first.command_id, first.request_hash), (second.command_id, second.request_hash));
        assert_eq!(first.scope, second.scope);
    }

    #[test]
    fn another_caller_method_or_id_is_another_command() {
        let shopper = || Caller::Bearer(Secret::new("a"));
        let id =
            |caller, method, id| context(caller, method).command_context(id, &body()).unwrap().command_id;
        let one = id(Caller::Operator, "/m", "id-1");
        for other in
            [id(shopper(), "/m", "id-1"), id(Caller::Operator, "/n", "id-1"), id(Caller::Operator, "/m", "2")]
        {
            assert_ne!(one, other);
        }
        assert_ne!(id(shopper(), "/m", ""), id(shopper(), "/m", ""), "without an id nothing is a repeat");
    }

    #[test]
    fn another_body_has_another_fingerprint() {
        let context = context(Caller::Operator, "/m");
        let first = context.command_context("id", &body()).unwrap();
        let second = context.command_context("id", &"another".to_owned()).unwrap();
        assert_eq!(first.command_id, second.command_id);
        assert_ne!(first.request_hash, second.request_hash);
    }

    #[test]
    fn a_request_id_has_limits() {
        let context = context(Caller::Anonymous, "/m");
        assert!(context.command_context(&"é".repeat(MAX_REQUEST_ID_CHARS), &body()).is_ok());
        for wrong in ["x".repeat(MAX_REQUEST_ID_CHARS + 1), "a\nb".to_owned()] {
            let refused = context.command_context(&wrong, &body()).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_harmful_correlation_id_is_replaced() {
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(CORRELATION_HEADER, http::HeaderValue::from_bytes(value).unwrap());
            correlation_id(&headers).to_string()
        };
        assert_eq!(id(b"req-7"), "req-7");
        for harmful in [b"".as_slice(), b"two words", "ö".as_bytes(), &[b'x'; 129]] {
            assert_eq!(id(harmful).len(), Uuid::nil().to_string().len());
        }
    }

    #[test]
    fn a_timeout_header_is_read_as_the_protocol_writes_it() {
        let timeout = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT_HEADER, value.parse().unwrap());
            client_timeout(&headers)
        };
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "m", "1", "-1S", "+1S", "999999999S", "1.5S", "1x"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_call_onward_carries_the_time_left_and_the_process_s_own_credential() {
        let mut context = context(Caller::Bearer(Secret::new("theirs")), "/m");
        let onward = context.outgoing((), Some(&Secret::new("ours"))).unwrap();
        assert_eq!(onward.metadata().get("authorization").unwrap(), "Bearer ours");
        assert_eq!(onward.metadata().get("traceparent").unwrap(), &context.traceparent.to_string());
        let headers = onward.metadata().clone().into_headers();
        let left = client_timeout(&headers).unwrap();
        assert!(left <= MAX_CALL_DURATION && left > MAX_CALL_DURATION / 2, "{left:?}");
        context.deadline = None;
        assert!(context.outgoing((), None).unwrap().metadata().get("grpc-timeout").is_none());
    }

    #[tokio::test]
    async fn nothing_is_waited_for_after_the_deadline() {
        let mut context = context(Caller::Operator, "/m");
        assert_eq!(context.within_deadline(async { 5 }).await.unwrap(), 5);
        context.deadline = Some(Instant::now());
        let late = context.within_deadline(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert_eq!(context.outgoing((), None).unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(context.position_wait(), Duration::ZERO);
    }
}
