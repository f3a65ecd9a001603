//! The body of an answer, watched to its end: it tells the call how it ended, keeps its permit as long as a
//! stream is open, ends idle streams when the server stops, and turns a panic into a status.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::{Code, Status};

use super::call::Call;
use crate::status::{self, RETRY_AFTER, reason};

pub(super) struct CallBody {
    pub inner: Body,
    pub call: Call,
    /// Given back when the body ends.
    pub permit: Option<OwnedSemaphorePermit>,
    /// Of a stream: resolves when the server stops.
    pub stop: Option<BoxFuture<'static, ()>>,
    pub ended: bool,
}

impl CallBody {
    /// Ends the answer here, in the middle of a stream.
    fn break_off(&mut self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.ended = true;
        self.permit = None;
        self.call.end(status.code());
        let mut trailers = HeaderMap::new();
        // Our own statuses are valid headers.
        Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let inner = &mut this.inner;
        let poll = || catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context)));
        // Only a stream still runs its handler here; to enter a span costs more than to encode most messages.
        let polled = if this.stop.is_some() { this.call.span.in_scope(poll) } else { poll() };
        match polled {
            Ok(Poll::Pending) => match this.stop.as_mut().map(|stop| stop.poll_unpin(context)) {
                None | Some(Poll::Pending) => Poll::Pending,
                Some(Poll::Ready(())) => {
                    let stopping =
                        status::unavailable(reason::STOPPING, "the server is stopping", RETRY_AFTER);
                    Poll::Ready(this.break_off(stopping))
                }
            },
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    this.call.end(code);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(other)) => {
                this.ended = true;
                this.permit = None;
                if let Some(Err(status)) = &other {
                    this.call.end(status.code());
                }
                Poll::Ready(other)
            }
            Err(_panic) => {
                metrics::counter!(crate::metrics::names::GRPC_PANICS).increment(1);
                Poll::Ready(this.break_off(status::internal("a stream panicked")))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The outcome that headers or trailers tell, if they tell one.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}
