//! A stream of messages as server-sent events: `id` is the message's `cursor` or `event_id`, `event` the set
//! member of its oneof (else `message`), `data` its JSON. A stream that its service ended closes with an
//! `event: end`, so that clients do not connect again; one cut by the end of this process, or of the service's,
//! closes without, so that they do, and go on behind the last event that they saw. Any other error after the
//! beginning is an `event: error` whose data is the problem document.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode};
use prost_reflect::DynamicMessage;
use service_runtime::status::reason::STOPPING;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::binding::Binding;
use crate::json;
use crate::layers::RequestId;
use crate::problem::Problem;

/// How long a client shall wait before it connects again.
pub const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Event name of messages without a oneof.
pub const MESSAGE: &str = "message";
/// Event name of the last event of a stream that is complete.
pub const END: &str = "end";
/// Event name of a problem.
pub const ERROR: &str = "error";

/// Everything that an open stream holds on to.
pub struct Source {
    pub messages: Streaming<DynamicMessage>,
    pub binding: Arc<Binding>,
    pub request_id: RequestId,
    pub shutdown: CancellationToken,
    pub keep_alive: Duration,
    /// Given back when the stream ends.
    #[expect(dead_code, reason = "only its drop matters")]
    pub permit: OwnedSemaphorePermit,
}

/// The response whose body is the stream.
pub fn response(source: Source) -> Response {
    let keep_alive = KeepAlive::new().interval(source.keep_alive).text("keep-alive");
    let mut response = Sse::new(events(source)).keep_alive(keep_alive).into_response();
    // Proxies that collect answers before they pass them on would hold events back.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn events(source: Source) -> impl Stream<Item = Result<Event, Infallible>> {
    // Sent at once, so that the client sees its stream open before the first message.
    let opening = Event::default().comment("open").retry(RECONNECT_AFTER);
    let rest = stream::unfold(Some(source), async |source| {
        let mut source = source?;
        let next = tokio::select! {
            biased;
            () = source.shutdown.cancelled() => return None,
            next = source.messages.message() => next,
        };
        Some(match next {
            Ok(Some(message)) => match event(&source.binding, &message) {
                Ok(event) => (event, Some(source)),
                Err(_) => {
                    let problem =
                        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an event has no JSON form");
                    (error(problem, &source), None)
                }
            },
            Ok(None) => (Event::default().event(END).data("{}"), None),
            Err(status) if is_cut(&status) => return None,
            Err(status) => (error(Problem::from_status(&status), &source), None),
        })
    });
    stream::once(async { opening }).chain(rest).map(Ok)
}

/// Whether the stream ended for no reason of its own: its server stops, or the connection to it broke, which is told by
/// a status that has a source.
fn is_cut(status: &Status) -> bool {
    let reason = || status.get_error_details().error_info().map(|info| info.reason.clone());
    status.source().is_some() || status.code() == Code::Unavailable && reason().as_deref() == Some(STOPPING)
}

fn error(problem: Problem, source: &Source) -> Event {
    Event::default().event(ERROR).data(problem.instance(source.request_id.as_str()).to_json())
}

fn event(binding: &Binding, message: &DynamicMessage) -> Result<Event, serde_json::Error> {
    let data = json::encode(message, binding.response_body.as_ref())?;
    let set =
        binding.event_kind.as_ref().and_then(|kind| kind.fields().find(|field| message.has_field(field)));
    let name = set.as_ref().map_or(MESSAGE, |field| field.json_name());
    let event = Event::default().event(name).data(String::from_utf8_lossy(&data));
    let id = binding.event_id.as_ref().and_then(|field| json::plain_text(message, field));
    Ok(match id.filter(|id| !id.contains(['\r', '\n', '\0'])) {
        Some(id) => event.id(id),
        None => event,
    })
}
