//! Builders for the errors of the API: a gRPC status with the details that clients branch on. Each has an
//! `ErrorInfo` with a reason in UPPER_SNAKE_CASE. Which domain error becomes which status is each service's
//! own match; here stands only what is the same for all.

mod violations;

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use eventsourcing::{ExecuteError, HandlerError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::replay;

pub use violations::Violations;

/// `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "storeline";

/// How long clients should wait before they repeat a call that found a dependency down or the server full,
/// unless something better is known.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Reasons that are the same in all services.
pub mod reason {
    /// The request is malformed; the violations say where.
    pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
    /// No usable `authorization: Bearer ...` came with the call.
    pub const CREDENTIAL_REQUIRED: &str = "CREDENTIAL_REQUIRED";
    /// The credential is nobody's.
    pub const CREDENTIAL_INVALID: &str = "CREDENTIAL_INVALID";
    /// The caller is known and may not do this.
    pub const ROLE_REQUIRED: &str = "ROLE_REQUIRED";
    /// The resource changed since the caller read it.
    pub const ETAG_MISMATCH: &str = "ETAG_MISMATCH";
    /// Others changed the same thing at the same time, again and again.
    pub const LOST_RACE: &str = "LOST_RACE";
    /// The request id was used before with another body.
    pub const REQUEST_ID_REUSED: &str = "REQUEST_ID_REUSED";
    /// A dependency is down.
    pub const DEPENDENCY_UNAVAILABLE: &str = "DEPENDENCY_UNAVAILABLE";
    /// The model behind a read has not come as far as `min_position` yet.
    pub const POSITION_NOT_REACHED: &str = "POSITION_NOT_REACHED";
    /// Too many calls at once.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// The process is stopping.
    pub const STOPPING: &str = "STOPPING";
    /// Time ran out.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// A fault of the service.
    pub const INTERNAL: &str = "INTERNAL";
    /// The message of a call is larger than the server takes.
    pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
    /// There is no such RPC.
    pub const UNKNOWN_METHOD: &str = "UNKNOWN_METHOD";
}

fn details(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

fn plain(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, details(reason))
}

/// INVALID_ARGUMENT for several fields; see [`Violations::into_result`] for the usual way.
pub fn invalid_argument(violations: &Violations) -> Status {
    let mut details = details(reason::INVALID_REQUEST);
    details.set_bad_request(violations.fields());
    Status::with_error_details(Code::InvalidArgument, violations.summary(), details)
}

/// INVALID_ARGUMENT for one field, named by its path in the request.
pub fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Status {
    let mut violations = Violations::new();
    violations.add(field, description);
    invalid_argument(&violations)
}

/// NOT_FOUND: `resource` is the kind of thing, `name` what was asked for.
pub fn not_found(reason: &str, resource: &str, name: &str) -> Status {
    let mut details = details(reason);
    details.set_resource_info(resource, name, "", "");
    Status::with_error_details(Code::NotFound, format!("{resource} {name} was not found"), details)
}

/// ALREADY_EXISTS: the caller wanted to create what is there.
pub fn already_exists(reason: &str, resource: &str, name: &str) -> Status {
    let mut details = details(reason);
    details.set_resource_info(resource, name, "", "");
    Status::with_error_details(Code::AlreadyExists, format!("{resource} {name} exists already"), details)
}

/// FAILED_PRECONDITION: a rule forbids it. `metadata` holds the facts that a client shows or computes with,
/// under lowerCamelCase keys.
pub fn failed_precondition(
    reason: &str,
    detail: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> Status {
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(Code::FailedPrecondition, detail, details)
}

/// ABORTED, ETAG_MISMATCH: the resource changed since the caller read it.
pub fn etag_mismatch() -> Status {
    plain(Code::Aborted, reason::ETAG_MISMATCH, "the resource was changed since it was read; read it again")
}

/// ABORTED, LOST_RACE: repeating the call is right.
pub fn lost_race() -> Status {
    let mut details = details(reason::LOST_RACE);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Aborted, "others changed the same thing at the same time", details)
}

/// UNAVAILABLE: a dependency is down; the call had no effect or may be repeated with its request id.
pub fn unavailable(reason: &str, detail: impl Into<String>, retry_after: Duration) -> Status {
    let mut details = details(reason);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(Code::Unavailable, detail, details)
}

/// UNAVAILABLE, POSITION_NOT_REACHED: what the caller wants to see is not there yet.
pub fn position_not_reached() -> Status {
    unavailable(reason::POSITION_NOT_REACHED, "min_position was not reached in time", RETRY_AFTER)
}

/// UNAVAILABLE, OVERLOADED: too many calls at once; this one was not begun.
pub fn overloaded() -> Status {
    unavailable(reason::OVERLOADED, "too many calls at once", RETRY_AFTER)
}

/// RESOURCE_EXHAUSTED: a limit that is this caller's own.
pub fn resource_exhausted(reason: &str, detail: impl Into<String>, retry_after: Option<Duration>) -> Status {
    let mut details = details(reason);
    details.set_retry_info(retry_after);
    Status::with_error_details(Code::ResourceExhausted, detail, details)
}

/// UNAUTHENTICATED: nobody knows who calls.
pub fn unauthenticated(reason: &str, detail: impl Into<String>) -> Status {
    plain(Code::Unauthenticated, reason, detail)
}

/// PERMISSION_DENIED: the caller is known and may not do this.
pub fn permission_denied(reason: &str, detail: impl Into<String>) -> Status {
    plain(Code::PermissionDenied, reason, detail)
}

/// DEADLINE_EXCEEDED: the caller's time, or the server's limit, ran out. What was begun may still happen.
pub fn deadline_exceeded() -> Status {
    plain(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, "the deadline of the call has passed")
}

/// What a caller gets whose message never came to a handler, since the gRPC library could not read it and said so
/// with this code. It calls that its own fault; here it is the caller's, and no reason to wake anybody.
pub(crate) fn unreadable(code: Code) -> Option<Status> {
    let of = |code, reason, detail: String| Some(plain(code, reason, detail));
    match code {
        Code::Internal => of(
            Code::InvalidArgument,
            reason::INVALID_REQUEST,
            "the request is not one message of the type that this method takes".to_owned(),
        ),
        Code::OutOfRange => of(
            Code::OutOfRange,
            reason::MESSAGE_TOO_LARGE,
            format!("a message may have at most {} bytes", crate::grpc::MAX_MESSAGE_BYTES),
        ),
        _ => None,
    }
}

/// The status of a message of a client's stream that did not come: the gRPC library's words in ours where the message
/// is at fault, and as they are where the stream is.
pub fn of_unread(status: Status) -> Status {
    if status.details().is_empty() { unreadable(status.code()).unwrap_or(status) } else { status }
}

/// UNIMPLEMENTED: there is no such RPC.
pub fn unknown_method() -> Status {
    plain(Code::Unimplemented, reason::UNKNOWN_METHOD, "there is no such method")
}

/// INTERNAL: the cause is logged and not told. `error` must not hold personal data.
pub fn internal(error: impl Display) -> Status {
    tracing::error!({ crate::fields::ERROR } = %error, "internal error");
    plain(Code::Internal, reason::INTERNAL, "internal error; the log has more under this request's id")
}

/// The status of a command that was not carried out. What the domain rejected is for `rejected` to translate;
/// everything else means the same in every service.
pub fn of_execute_error<R>(error: ExecuteError<R>, rejected: impl FnOnce(R) -> Status) -> Status {
    match error {
        ExecuteError::Rejected { rejection, replayed, .. } => replay::status(rejected(rejection), replayed),
        ExecuteError::StaleVersion { .. } => etag_mismatch(),
        ExecuteError::RequestIdReused => {
            let rule = "was used before with another request";
            let mut details = details(reason::REQUEST_ID_REUSED);
            details.add_bad_request_violation("request_id", rule);
            Status::with_error_details(Code::InvalidArgument, format!("request_id {rule}"), details)
        }
        ExecuteError::Contended => lost_race(),
        ExecuteError::Overloaded => overloaded(),
        ExecuteError::Unavailable(cause) => {
            tracing::warn!({ crate::fields::ERROR } = cause, "the event log is unavailable");
            unavailable(reason::DEPENDENCY_UNAVAILABLE, "the event log is unavailable", RETRY_AFTER)
        }
        fault @ (ExecuteError::Refused(_) | ExecuteError::Corrupt(_)) => internal(fault),
    }
}

/// The status of a read that failed: UNAVAILABLE while the database is away or overloaded, INTERNAL for everything
/// else. What the database says stays in the log.
pub fn of_read_error(error: impl Into<HandlerError>) -> Status {
    match error.into() {
        HandlerError::Unreachable(cause) => {
            tracing::warn!({ crate::fields::ERROR } = cause, "the database is unavailable");
            unavailable(reason::DEPENDENCY_UNAVAILABLE, "the database is unavailable", RETRY_AFTER)
        }
        HandlerError::Poison(cause) => internal(cause),
    }
}

/// The `ErrorInfo` reason of a status, or an empty text.
pub fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_carries_reason_and_domain() {
        for status in [
            invalid_field("name", "must not be empty"),
            not_found("THING_NOT_FOUND", "thing", "t1"),
            failed_precondition("THING_CLOSED", "the thing is closed", [("closedAt", "noon".to_owned())]),
            etag_mismatch(),
            lost_race(),
            overloaded(),
            resource_exhausted("TOO_MANY_THINGS", "ten at most", None),
            unauthenticated(reason::CREDENTIAL_REQUIRED, "who are you"),
            permission_denied(reason::ROLE_REQUIRED, "not you"),
            deadline_exceeded(),
            internal("disk on fire"),
        ] {
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.domain, DOMAIN);
            assert!(info.reason.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{}", info.reason);
        }
    }

    #[test]
    fn the_cause_of_an_internal_error_is_not_told() {
        let status = internal("password of the database");
        assert!(!format!("{status:?}").contains("password"));
    }

    #[test]
    fn a_command_that_was_not_carried_out_has_one_status_in_all_services() {
        let refused = |rule: &str| failed_precondition("RULE_BROKEN", rule, []);
        for (error, code, reason) in [
            (ExecuteError::StaleVersion { expected: 1, actual: 2 }, Code::Aborted, reason::ETAG_MISMATCH),
            (ExecuteError::Contended, Code::Aborted, reason::LOST_RACE),
            (ExecuteError::RequestIdReused, Code::InvalidArgument, reason::REQUEST_ID_REUSED),
            (ExecuteError::Overloaded, Code::Unavailable, reason::OVERLOADED),
            (ExecuteError::Unavailable("host".into()), Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE),
            (ExecuteError::Refused("row".into()), Code::Internal, reason::INTERNAL),
            (ExecuteError::Corrupt("row".into()), Code::Internal, reason::INTERNAL),
        ] {
            let status = of_execute_error(error, refused);
            assert_eq!((status.code(), reason_of(&status).as_str()), (code, reason));
            assert!(!status.message().contains("host") && !status.message().contains("row"));
        }
        let position = "MS40LmxvZw".parse().unwrap();
        let rejected = ExecuteError::Rejected { rejection: "closed", position, replayed: true };
        let status = of_execute_error(rejected, refused);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(replay::IDEMPOTENCY_REPLAYED).unwrap(), "true");
    }

    #[test]
    fn a_read_that_failed_may_be_repeated_if_the_database_was_away_and_tells_nothing_of_it() {
        for (error, code, reason) in [
            (sqlx::Error::PoolTimedOut.into(), Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE),
            (HandlerError::Unreachable("secret".into()), Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE),
            (sqlx::Error::ColumnNotFound("secret".into()).into(), Code::Internal, reason::INTERNAL),
        ] {
            let status = of_read_error(error);
            assert_eq!((status.code(), reason_of(&status).as_str()), (code, reason));
            assert!(!format!("{status:?}").contains("secret"));
        }
    }

    #[test]
    fn a_full_server_says_when_to_come_back() {
        let retry = overloaded().get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(RETRY_AFTER));
    }
}
