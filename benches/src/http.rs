//! A lean HTTP/1.1 client for making load: one kept-alive connection at a time, no pool logic, no redirects, no TLS. It
//! shares the machine with what it measures, so it does as little as it can; both sides of a comparison get the same.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest answer that is shown in an error, in bytes.
const SHOWN: usize = 300;

/// The connections to one server that are not in use. Whoever needs one and finds none opens another.
pub struct Connections {
    address: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// A connection that is in use.
pub struct Connection<'a> {
    of: &'a Connections,
    sender: SendRequest<Full<Bytes>>,
}

impl Connections {
    /// To a server at `host:port`.
    pub fn to(address: &str) -> Self {
        Self { address: address.to_owned(), idle: Mutex::default() }
    }

    /// A connection that was used before and still stands, or a new one.
    pub async fn take(&self) -> anyhow::Result<Connection<'_>> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(Connection { of: self, sender });
                    }
                }
                None => return Ok(Connection { of: self, sender: self.open().await? }),
            }
        }
    }

    async fn open(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.address).await.with_context(|| self.address.clone())?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its errors reach whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Connection<'_> {
    /// Sends a request; the answer's body is still to be read.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.of.address);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        // An answer that was read to its end does not mean yet that the connection can take the next request.
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(body))?).await?)
    }

    /// Sends a request and reads the whole answer, which must be a success.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let response = self.send(method, path, token, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let shown = || String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned();
        ensure!(status.is_success(), "{path}: {status} {}", shown());
        Ok(body)
    }

    /// Keeps the connection for the next one who needs it. Only after the whole answer was read.
    pub fn put_back(self) {
        self.of.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.sender);
    }
}
