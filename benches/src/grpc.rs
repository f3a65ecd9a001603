//! A lean client for unary gRPC calls: HTTP/2 connections that all callers share, messages in and out as bytes. It knows
//! no message types and does not retry.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, TE};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Connections that the callers share in turn.
const CHANNELS: usize = 4;
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Connections to one server.
pub struct Channels {
    address: String,
    channels: Vec<SendRequest<Full<Bytes>>>,
    next: AtomicUsize,
}

impl Channels {
    /// To a server at `host:port`.
    pub async fn to(address: &str) -> anyhow::Result<Self> {
        let mut channels = Vec::with_capacity(CHANNELS);
        for _ in 0..CHANNELS {
            let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            // Its errors reach whoever waits for an answer.
            tokio::spawn(connection);
            channels.push(sender);
        }
        Ok(Self { address: address.to_owned(), channels, next: AtomicUsize::new(0) })
    }

    /// Sends a message and returns the answer's.
    pub async fn call(&self, method: &str, message: &[u8]) -> anyhow::Result<Bytes> {
        let mut body = BytesMut::with_capacity(PREFIX + message.len());
        body.put_u8(0);
        body.put_u32(message.len() as u32);
        body.put_slice(message);
        let request = Request::post(format!("http://{}{method}", self.address))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(body.freeze()))?;
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let response = self.channels[place].clone().send_request(request).await?;
        let status = response.status();
        ensure!(status == StatusCode::OK, "{method}: {status}");
        let early = response.headers().get("grpc-status").cloned();
        let answer = response.into_body().collect().await?;
        let code = answer.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()).or(early);
        ensure!(code.as_ref().is_some_and(|code| code == "0"), "{method}: grpc-status {code:?}");
        let answer = answer.to_bytes();
        ensure!(answer.len() >= PREFIX, "{method}: no message");
        Ok(answer.slice(PREFIX..))
    }
}
