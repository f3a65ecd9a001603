//! Tells callers that what they get is the answer to an earlier call with the same request id. It is metadata and
//! no part of the message, so that a repeat gets the very same message.
//!
//! After a broken connection the command processor may find what it stored itself; that counts as a repeat too, since
//! nobody can tell the two apart.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

/// Metadata of the answer to a repeat, with the value `true`. No other answer has it.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// A reply to a command, marked if it is a repeat's: `replayed` is that of [`eventsourcing::Committed`].
pub fn response<T>(message: T, replayed: bool) -> Response<T> {
    let mut response = Response::new(message);
    mark(response.metadata_mut(), replayed);
    response
}

/// The same for a refusal.
pub(crate) fn status(mut status: Status, replayed: bool) -> Status {
    mark(status.metadata_mut(), replayed);
    status
}

fn mark(metadata: &mut MetadataMap, replayed: bool) {
    if replayed {
        metadata.insert(IDEMPOTENCY_REPLAYED, MetadataValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeat_is_marked() {
        assert_eq!(response((), true).metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
        assert!(response((), false).metadata().is_empty());
        assert_eq!(status(Status::aborted(""), true).metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
        assert!(status(Status::aborted(""), false).metadata().is_empty());
    }
}
