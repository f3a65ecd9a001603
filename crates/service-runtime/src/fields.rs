//! The names of log and span fields, so that one search finds the same thing in every service. A field holds
//! an id, a name or a number: never a body, a secret or anything about a person.
//!
//! ```
//! use service_runtime::fields;
//! tracing::info!({ fields::STREAM } = "thing-1", { fields::VERSION } = 3, "appended");
//! ```

/// Trace id of W3C Trace Context, 32 hexadecimal digits.
pub const TRACE_ID: &str = "trace_id";
/// The same for everything that one request from outside set off.
pub const CORRELATION_ID: &str = "correlation_id";
/// Who asked: a role or a pseudonym.
pub const ACTOR: &str = "actor";
/// Path of an RPC: `/package.Service/Method`.
pub const METHOD: &str = "method";
/// Outcome of an RPC, such as `NOT_FOUND`.
pub const CODE: &str = "code";
/// How long something took, in milliseconds.
pub const ELAPSED_MS: &str = "elapsed_ms";
/// Which service a line is about, where a process runs several.
pub const SERVICE: &str = "service";
/// A background task.
pub const TASK: &str = "task";
/// A subscription to a feed.
pub const SUBSCRIPTION: &str = "subscription";
/// A stream id.
pub const STREAM: &str = "stream";
/// A stream version.
pub const VERSION: &str = "version";
/// A position in a log.
pub const POSITION: &str = "position";
/// An event id.
pub const EVENT_ID: &str = "event_id";
/// An event type.
pub const EVENT_TYPE: &str = "event_type";
/// A command id.
pub const COMMAND_ID: &str = "command_id";
/// A listening address.
pub const ADDRESS: &str = "address";
/// An error's description, without its data.
pub const ERROR: &str = "error";
