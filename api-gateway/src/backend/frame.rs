//! gRPC's framing of a call with one request and one answer: a message behind five bytes, and the status in
//! trailers or, when there is no message, in headers. Streams are left to tonic.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::MAX_RESPONSE_MESSAGE_BYTES;

/// Before each message: one byte that says whether it is compressed, four of length.
const PREFIX_BYTES: usize = 5;

/// The request of a call.
pub(super) fn request(path: PathAndQuery, metadata: MetadataMap, message: &impl Message) -> Request<Body> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut frame).expect("a buffer that grows takes every message");
    let mut request = Request::new(Body::new(Full::new(frame.freeze())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_2;
    let mut headers = metadata.into_headers();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    *request.headers_mut() = headers;
    request
}

/// The metadata and the message of an answer.
///
/// # Errors
/// What the service answers instead, or that this is no answer to such a call.
pub(super) async fn answer(response: Response<Body>) -> Result<(HeaderMap, Bytes), Status> {
    let (parts, mut body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers).filter(|status| status.code() != Code::Ok) {
        return Err(status);
    }
    if parts.status != StatusCode::OK {
        return Err(Status::new(code_of(parts.status), format!("the backend answered {}", parts.status)));
    }
    let (mut data, mut ended) = (Bytes::new(), None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(more) if data.is_empty() => data = more,
            Ok(more) => data = joined(data, &more)?,
            Err(frame) => ended = frame.into_trailers().ok(),
        }
    }
    match ended.as_ref().and_then(Status::from_header_map) {
        Some(status) if status.code() != Code::Ok => Err(status),
        Some(_) => Ok((parts.headers, message(data)?)),
        None => Err(Status::unknown("the answer ended without a status")),
    }
}

/// What comes in pieces is put together; a service in this process answers in one.
fn joined(data: Bytes, more: &[u8]) -> Result<Bytes, Status> {
    if data.len() + more.len() > PREFIX_BYTES + MAX_RESPONSE_MESSAGE_BYTES {
        return Err(Status::out_of_range("the answer is too large"));
    }
    let mut whole = BytesMut::from(data);
    whole.extend_from_slice(more);
    Ok(whole.freeze())
}

fn message(mut data: Bytes) -> Result<Bytes, Status> {
    if data.len() < PREFIX_BYTES {
        return Err(Status::internal("the answer has no message"));
    }
    let (compressed, length) = (data.get_u8(), data.get_u32());
    if compressed != 0 || usize::try_from(length) != Ok(data.len()) {
        return Err(Status::internal("the answer is not one plain message"));
    }
    if data.len() > MAX_RESPONSE_MESSAGE_BYTES {
        return Err(Status::out_of_range("the answer is too large"));
    }
    Ok(data)
}

/// The code of an answer that is not gRPC's, as its specification maps HTTP's statuses.
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn answered(status: u16, frames: Vec<Frame<Bytes>>) -> Result<Bytes, Code> {
        let frames = stream::iter(frames.into_iter().map(Ok::<_, Status>));
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        answer(response).await.map(|(_, message)| message).map_err(|status| status.code())
    }

    fn data(bytes: &'static [u8]) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(bytes))
    }

    fn ended(code: Code) -> Frame<Bytes> {
        let mut trailers = HeaderMap::new();
        Status::new(code, "").add_header(&mut trailers).unwrap();
        Frame::trailers(trailers)
    }

    #[tokio::test]
    async fn an_answer_is_one_plain_message_and_a_status_however_it_is_cut() {
        let whole = answered(200, vec![data(b"\0\0\0\0\x02ab"), ended(Code::Ok)]).await;
        assert_eq!(whole, Ok(Bytes::from_static(b"ab")));
        let cut = vec![data(b"\0\0"), data(b"\0\0\x02a"), data(b"b"), ended(Code::Ok)];
        assert_eq!(answered(200, cut).await, whole);
        let empty = answered(200, vec![data(b"\0\0\0\0\0"), ended(Code::Ok)]).await;
        assert_eq!(empty, Ok(Bytes::new()));
    }

    #[tokio::test]
    async fn anything_else_is_an_error() {
        let message = || data(b"\0\0\0\0\x02ab");
        for (status, frames, code) in [
            (200, vec![message()], Code::Unknown),
            (200, vec![message(), ended(Code::Aborted)], Code::Aborted),
            (200, vec![ended(Code::Ok)], Code::Internal),
            (200, vec![message(), message(), ended(Code::Ok)], Code::Internal),
            (200, vec![data(b"\x01\0\0\0\x02ab"), ended(Code::Ok)], Code::Internal),
            (200, vec![data(b"\0\0\0\0\x03ab"), ended(Code::Ok)], Code::Internal),
            (503, vec![], Code::Unavailable),
            (404, vec![], Code::Unimplemented),
        ] {
            assert_eq!(answered(status, frames).await, Err(code), "{status} {code:?}");
        }
    }
}
