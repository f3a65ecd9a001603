//! The shop's REST API as the demo calls it: JSON in and out, problems as errors, and an order's event stream.
//! It knows routes and nothing of what lies behind them.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest line of an event stream that is kept, in bytes.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A client of one shop.
#[derive(Clone)]
pub struct RestClient {
    http: reqwest::Client,
    base: String,
}

/// One call, built up and then sent.
pub struct Call {
    request: reqwest::RequestBuilder,
    what: String,
}

impl RestClient {
    /// For the shop at `address`.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(address: std::net::SocketAddr) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().connect_timeout(TIMEOUT).build()?;
        Ok(Self { http, base: format!("http://{address}") })
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        let mut call = self.call(Method::POST, path);
        call.request = call.request.header("content-type", "application/json").body(body.to_string());
        call
    }

    fn call(&self, method: Method, path: &str) -> Call {
        let request = self.http.request(method.clone(), format!("{}{path}", self.base));
        Call { request, what: format!("{method} {path}") }
    }

    /// The events of an order, from the first on, until the stream ends.
    ///
    /// # Errors
    /// When the stream does not begin.
    pub async fn watch_order(&self, order_id: &str, token: &str) -> anyhow::Result<EventStream> {
        let call = self.get(&format!("/v1/orders/{order_id}/events")).bearer(token);
        let response = call.request.header("accept", "text/event-stream").send().await?;
        if response.status() != StatusCode::OK {
            bail!("{}: {}", call.what, problem(response.status(), &response.text().await?));
        }
        let chunks = response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed();
        Ok(EventStream { chunks, buffer: Vec::new(), ready: VecDeque::new() })
    }
}

impl Call {
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    #[must_use]
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.request = self.request.header("idempotency-key", key);
        self
    }

    /// Sends it and reads the JSON of a success.
    ///
    /// # Errors
    /// A problem, with what the shop says about it.
    pub async fn send(self) -> anyhow::Result<Value> {
        let response = self.request.timeout(TIMEOUT).send().await.with_context(|| self.what.clone())?;
        let status = response.status();
        let text = response.text().await.with_context(|| self.what.clone())?;
        if !status.is_success() {
            bail!("{}: {}", self.what, problem(status, &text));
        }
        serde_json::from_str(&text).with_context(|| format!("{}: the answer is not JSON", self.what))
    }
}

fn problem(status: StatusCode, text: &str) -> String {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    format!("{status} {} {}", member("reason"), member("detail"))
}

/// Server-sent events as they come.
pub struct EventStream {
    chunks: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
    ready: VecDeque<Value>,
}

impl EventStream {
    /// The data of the next event; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or the stream says that something is wrong.
    pub async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(chunk) = self.chunks.next().await else { return Ok(None) };
            self.buffer.extend(chunk?);
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = std::str::from_utf8(&line)?.trim_end();
                if line == "event: error" {
                    bail!("the event stream ended with an error");
                }
                if let Some(data) = line.strip_prefix("data:") {
                    self.ready.push_back(serde_json::from_str(data.trim_start())?);
                }
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                bail!("a line of the event stream is longer than {MAX_LINE_BYTES} bytes");
            }
        }
    }
}
