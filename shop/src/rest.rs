//! The shop's REST API as the demo calls it: JSON in and out, problems as errors, and an order's event stream.
//! It knows routes and nothing of what lies behind them.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer, and longest line of an event stream, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A client of one shop, over plain HTTP: it is on the same machine, or within one network.
#[derive(Clone)]
pub struct RestClient {
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// One call, built up and then sent.
pub struct Call {
    http: Client<HttpConnector, Full<Bytes>>,
    request: http::request::Builder,
    body: String,
    what: String,
}

impl RestClient {
    /// For the shop at the URL `base`, which does not end with a slash.
    pub fn new(base: String) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { http, base }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path, String::new())
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path, body.to_string()).header("content-type", "application/json")
    }

    fn call(&self, method: Method, path: &str, body: String) -> Call {
        let what = format!("{method} {path}");
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        Call { http: self.http.clone(), request, body, what }
    }

    /// The events of an order, from the first on, until the stream ends.
    ///
    /// # Errors
    /// When the stream does not begin.
    pub async fn watch_order(&self, order_id: &str, token: &str) -> anyhow::Result<EventStream> {
        let call = self.get(&format!("/v1/orders/{order_id}/events")).bearer(token);
        let what = call.what.clone();
        let response = call.header("accept", "text/event-stream").answer().await?;
        let status = response.status();
        if status != StatusCode::OK {
            bail!("{what}: {}", problem(status, &text(response).await?));
        }
        Ok(EventStream { body: response.into_body(), buffer: Vec::new(), ready: VecDeque::new() })
    }
}

impl Call {
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends it and reads the JSON of a success.
    ///
    /// # Errors
    /// A problem, with what the shop says about it.
    pub async fn send(self) -> anyhow::Result<Value> {
        let what = self.what.clone();
        let answered = async {
            let response = self.answer().await?;
            anyhow::Ok((response.status(), text(response).await?))
        };
        let answered = tokio::time::timeout(TIMEOUT, answered).await;
        let (status, text) = answered
            .with_context(|| format!("{what}: no answer within {TIMEOUT:?}"))?
            .with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what}: {}", problem(status, &text));
        }
        serde_json::from_str(&text).with_context(|| format!("{what}: the answer is not JSON"))
    }

    async fn answer(self) -> anyhow::Result<Response<Incoming>> {
        let request = self.request.body(Full::new(Bytes::from(self.body)))?;
        Ok(self.http.request(request).await?)
    }
}

async fn text(response: Response<Incoming>) -> anyhow::Result<String> {
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer cannot be read: {error}"))?;
    Ok(String::from_utf8(body.to_bytes().into())?)
}

fn problem(status: StatusCode, text: &str) -> String {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    format!("{status} {} {}", member("reason"), member("detail"))
}

/// Server-sent events as they come.
pub struct EventStream {
    body: Incoming,
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
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            self.buffer.extend(frame?.into_data().unwrap_or_default());
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
            if self.buffer.len() > MAX_BYTES {
                bail!("a line of the event stream is longer than {MAX_BYTES} bytes");
            }
        }
    }
}
