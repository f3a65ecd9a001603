//! How much of requests is being read at a time, over all calls: a crowd of slow senders of large messages is refused
//! before it fills the memory. It covers a message until its handler has it whole; streams of messages are read as
//! fast as their handler takes them and are not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

use crate::metrics::names;
use crate::status;

/// What the room is counted in, in bytes.
const UNIT: usize = 1024;
/// A request that tells that it is not longer is not counted: the limit of calls bounds these. In bytes.
const SMALL: u64 = 64 * 1024;

/// Room for requests that are being read.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// The same request, which takes room as it comes.
    pub fn bounded(&self, request: Request<Body>) -> Request<Body> {
        if request.body().size_hint().upper().is_some_and(|length| length <= SMALL) {
            return request;
        }
        request.map(|inner| Body::new(Bounded { inner, room: self.clone(), taken: None }))
    }
}

struct Bounded {
    inner: Body,
    room: Room,
    taken: Option<OwnedSemaphorePermit>,
}

impl Bounded {
    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.room.0).try_acquire_many_owned(units).map_err(|_| {
            counter!(names::GRPC_SHED).increment(1);
            status::overloaded()
        })?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = data.len();
            if let Err(full) = self.take(length) {
                return Poll::Ready(Some(Err(full)));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tonic::Code;

    use super::*;

    fn request(bytes: usize) -> Request<Body> {
        Request::new(Body::new(Full::new(Bytes::from(vec![0; bytes]))))
    }

    #[tokio::test]
    async fn what_does_not_fit_beside_what_is_being_read_is_refused_and_room_comes_back() {
        let room = Room::new(256 * UNIT);
        let mut first = room.bounded(request(200 * UNIT)).into_body();
        assert!(first.frame().await.unwrap().is_ok());
        let refused = room.bounded(request(100 * UNIT)).into_body().collect().await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        room.bounded(request(10)).into_body().collect().await.unwrap();
        drop(first);
        room.bounded(request(100 * UNIT)).into_body().collect().await.unwrap();
    }
}
