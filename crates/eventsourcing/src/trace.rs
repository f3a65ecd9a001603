//! Spans of what messages and tasks lead to, so that one trace goes from a request through events and feeds to the last
//! command that follows from it. How a span becomes part of a trace is the process's matter, which says so once; until
//! then there are no such spans, and events pass on the trace that led to them.

use std::sync::OnceLock;

use tracing::Span;

use crate::command::Metadata;

/// Makes a span part of the trace that a `traceparent` names, or of a new one, and returns the `traceparent` of the span.
/// `None` when spans are not collected after all.
pub type ContinueTrace = fn(&Span, Option<&str>) -> Option<String>;

static CONTINUE: OnceLock<ContinueTrace> = OnceLock::new();

/// Opens spans from now on, in this process, and has `continue_trace` join them to traces. Only the first call counts.
pub fn collect_spans(continue_trace: ContinueTrace) {
    let _ = CONTINUE.set(continue_trace);
}

/// Whether anybody collects spans.
pub(crate) fn is_collected() -> bool {
    CONTINUE.get().is_some()
}

/// Opens a span that follows from what `metadata` was recorded with, and has what follows from it record the span. It is
/// disabled when nobody collects spans.
pub(crate) fn follow(metadata: &mut Metadata, open: impl FnOnce() -> Span) -> Span {
    let Some(continue_trace) = CONTINUE.get() else { return Span::none() };
    let span = open();
    if let Some(own) = continue_trace(&span, metadata.traceparent.as_deref()) {
        metadata.traceparent = Some(own);
    }
    span
}
