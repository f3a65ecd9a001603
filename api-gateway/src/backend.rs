//! Calls a service with dynamic messages. A backend is any tower service that takes gRPC requests: tonic's
//! `Routes` of a service in this process, which then answers without HTTP/2 and without a socket, or a tonic
//! `Channel` to another process. It retries nothing: only the caller knows what may be repeated.

mod frame;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tower::{BoxError, Service, ServiceExt};

/// Largest message that a service may answer with.
pub const MAX_RESPONSE_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A service that answers gRPC requests; cheap to clone.
#[derive(Clone)]
pub struct Backend(Arc<dyn Fn(http::Request<Body>) -> Answer + Send + Sync>);

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Status>> + Send>>;

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    /// Wraps a tower service, such as tonic's `Routes` or `Channel`.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // One box for a call, whatever the service is made of, and none for a copy of it.
        Self(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                let ready = service.ready().await.map_err(|error| unreachable(error.into()))?;
                let answer = ready.call(request).await.map_err(|error| Status::from_error(error.into()))?;
                Ok(answer.map(Body::new))
            })
        }))
    }

    /// One request, one answer, whose message is left as it came: most of it goes straight into JSON.
    ///
    /// This is what tonic's client does for a call without streams, less what a stream needs.
    pub(crate) async fn unary(
        &self,
        path: PathAndQuery,
        metadata: MetadataMap,
        message: &DynamicMessage,
    ) -> Result<(HeaderMap, Bytes), Status> {
        frame::answer((self.0)(frame::request(path, metadata, message)).await?).await
    }

    /// One request, a stream of answers.
    pub(crate) async fn server_streaming(
        &self,
        path: PathAndQuery,
        output: &MessageDescriptor,
        request: Request<DynamicMessage>,
    ) -> Result<Response<Streaming<DynamicMessage>>, Status> {
        let mut client = Grpc::new(self.clone()).max_decoding_message_size(MAX_RESPONSE_MESSAGE_BYTES);
        client.server_streaming(request, path, DynamicCodec(output.clone())).await
    }
}

/// A backend that does not even take the request is unavailable; the cause stays inside, as its source.
fn unreachable(error: BoxError) -> Status {
    let mut status = Status::unavailable("the backend is not ready");
    status.set_source(Arc::from(error));
    status
}

impl Service<http::Request<Body>> for Backend {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Each call waits for the service by itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        (self.0)(request)
    }
}

/// Encodes and decodes dynamic messages; it holds the type of the answer.
#[derive(Debug, Clone)]
struct DynamicCodec(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicCodec;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicCodec {
        self.clone()
    }
}

#[derive(Debug)]
struct DynamicEncoder;

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backend_that_cannot_be_reached_is_unavailable_and_keeps_its_address_to_itself() {
        let refused = tower::service_fn(|_: http::Request<Body>| async {
            Err::<http::Response<Body>, _>(std::io::Error::other("10.0.0.7:5432 refused"))
        });
        let pool = prost_reflect::DescriptorPool::global();
        let empty = pool.get_message_by_name("google.protobuf.Empty").unwrap();
        let (message, path) = (DynamicMessage::new(empty), PathAndQuery::from_static("/a.B/C"));
        let call = Backend::new(refused).unary(path, MetadataMap::new(), &message).await;
        let status = call.unwrap_err();
        let problem = crate::problem::Problem::from_status(&status).to_json();
        assert!(!problem.contains("10.0.0.7"), "{problem}");
    }
}
