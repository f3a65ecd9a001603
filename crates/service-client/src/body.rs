//! Bodies on their way: a request that can be sent again, an answer that was read to its end, and a stream of answers
//! that gives back what it holds when it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::ready;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;

use crate::replicas::InFlight;

/// What a connection sends.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message in its frame, which is kept to be sent again.
    Whole(Option<Bytes>),
    /// Messages that come by and by, once.
    Stream(Body),
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Self::Stream(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(data) => data.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub data: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(crate) enum Unread<E> {
    Broken(E),
    TooLarge,
}

/// Reads a body to its end, up to `limit` bytes.
pub(crate) async fn read<B>(mut body: B, limit: usize) -> Result<Whole, Unread<B::Error>>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let (mut data, mut trailers) = (Bytes::new(), None);
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.map_err(Unread::Broken)?.into_data() {
            Ok(more) if data.is_empty() => data = more,
            Ok(more) => {
                if data.len() + more.len() > limit {
                    return Err(Unread::TooLarge);
                }
                let mut whole = BytesMut::from(data);
                whole.extend_from_slice(&more);
                data = whole.freeze();
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if data.len() > limit { Err(Unread::TooLarge) } else { Ok(Whole { data, trailers }) }
}

/// A stream of answers.
#[derive(Debug)]
pub(crate) struct Stream {
    pub inner: Incoming,
    /// Given back when the stream ends.
    pub held: Option<(InFlight, OwnedSemaphorePermit)>,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.held = None;
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
