//! A REST client as thin as can be: a path, a body, a credential, and an answer that tests can take apart. It follows
//! no redirect, repeats nothing and reads no proxy settings, so that a test sees what the shop did.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use serde_json::Value;

use crate::Events;

/// Longest wait for an answer, on a machine that is busy with other tests.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// What problems say that they are.
const PROBLEM: &str = "application/problem+json";

/// A client of one shop. Make one for each test: its connections live in the test's runtime.
#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    /// Requests go to each in turn.
    bases: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    operator: String,
}

/// A request in the making, sent without a credential unless one is given.
#[derive(Debug)]
#[must_use]
pub struct Call {
    request: RequestBuilder,
    /// Where it goes when nobody is there.
    others: Vec<String>,
    operator: String,
    line: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    line: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Api {
    pub(crate) fn new(address: &str, operator: String) -> Self {
        Self::balanced(&[address.to_owned()], operator)
    }

    /// As somebody in front of replicas does it: requests go to each in turn, and to the next when a connection is
    /// refused, which is before anything is sent. Nothing else is repeated.
    pub(crate) fn balanced(addresses: &[String], operator: String) -> Self {
        let http = plain_client().build().expect("a client without TLS needs nothing");
        let bases = addresses.iter().map(|address| format!("http://{address}")).collect();
        Self { http, bases, turn: Arc::default(), operator }
    }

    /// GET `path`, which begins with a slash.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).text("application/json", body.to_string())
    }

    /// PATCH with JSON.
    pub fn patch(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PATCH, path).text("application/json", body.to_string())
    }

    /// A request without a body.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let line = format!("{method} {path}");
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.bases.len();
        let mut urls = (0..self.bases.len())
            .map(|next| format!("{}{path}", self.bases[(first + next) % self.bases.len()]));
        let request = self.http.request(method, urls.next().expect("there is a base"));
        Call { request, others: urls.collect(), operator: self.operator.clone(), line }
    }
}

/// A client in the making that reads no proxy settings.
pub(crate) fn plain_client() -> ClientBuilder {
    // In a build of the whole workspace the client has TLS in it, and asks for this though it never uses it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}

impl Call {
    /// As the operator.
    pub fn operator(self) -> Self {
        let token = self.operator.clone();
        self.bearer(&token)
    }

    /// With this credential.
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Repeatable: every request with this key is the same one.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Not before the model behind it has come this far.
    pub fn at_position(self, position: &str) -> Self {
        self.header("x-min-position", position)
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a body of any kind.
    pub fn text(mut self, kind: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header(CONTENT_TYPE, kind).body(body);
        self
    }

    /// With a body and no word on what it is.
    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// When there is no whole answer, because the shop is gone or went meanwhile.
    ///
    /// # Panics
    /// When nothing happens for [`ANSWER_DEADLINE`].
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let line = self.line;
        let sent = async {
            let (http, request) = self.request.build_split();
            let mut request = request?;
            let mut again = request.try_clone();
            let mut sent = http.execute(request).await;
            for url in self.others {
                if !sent.as_ref().is_err_and(reqwest::Error::is_connect) {
                    break;
                }
                request = again.expect("a body that is sent in whole can be sent again");
                *request.url_mut() = url.parse().expect("it differs in the host alone");
                again = request.try_clone();
                sent = http.execute(request).await;
            }
            let response = sent?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok((status, headers, response.bytes().await?.to_vec()))
        };
        match tokio::time::timeout(ANSWER_DEADLINE, sent).await {
            Ok(answered) => answered.map(|(status, headers, body)| Answer { line, status, headers, body }),
            Err(_) => panic!("{line}: no answer within {ANSWER_DEADLINE:?}"),
        }
    }

    /// Sends it to a shop that is there.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(self) -> Answer {
        let line = self.line.clone();
        self.try_send().await.unwrap_or_else(|error| panic!("{line}: {error:?}"))
    }

    /// The JSON of a good answer.
    ///
    /// # Panics
    /// When the answer is not 200 with JSON.
    pub async fn ok(self) -> Value {
        self.send().await.ok()
    }

    /// The problem of a refusal.
    ///
    /// # Panics
    /// When the answer is not a problem document with this status.
    pub async fn refused(self, status: u16) -> Value {
        self.send().await.refused(status)
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Panics
    /// When the answer is not one.
    pub async fn events(self) -> Events {
        let line = self.line;
        let request = self.request.header(ACCEPT, "text/event-stream").send();
        let response = match tokio::time::timeout(ANSWER_DEADLINE, request).await {
            Ok(answered) => answered.unwrap_or_else(|error| panic!("{line}: {error:?}")),
            Err(_) => panic!("{line}: no answer within {ANSWER_DEADLINE:?}"),
        };
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if response.status() != 200 || !kind.starts_with("text/event-stream") {
            let status = response.status();
            panic!("{line}: {status} {}", response.text().await.unwrap_or_default());
        }
        Events::new(line, response)
    }
}

impl Answer {
    /// The JSON of a good answer.
    ///
    /// # Panics
    /// When it is not 200 with JSON.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        assert_eq!(self.header("content-type"), "application/json", "{self}");
        self.json()
    }

    /// The problem of a refusal, checked to be a problem document that says the same status.
    ///
    /// # Panics
    /// When it is not.
    pub fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), PROBLEM, "{self}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self}");
        for member in ["type", "title", "instance"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {self}");
        }
        problem
    }

    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON, {error}: {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} {}", self.line, self.status, String::from_utf8_lossy(&self.body))
    }
}

/// The value at a JSON pointer.
///
/// # Panics
/// When there is none.
pub fn at<'a>(json: &'a Value, pointer: &str) -> &'a Value {
    json.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer} of {json}"))
}

/// The text at a JSON pointer.
///
/// # Panics
/// When there is none.
pub fn text(json: &Value, pointer: &str) -> String {
    at(json, pointer).as_str().unwrap_or_else(|| panic!("no text at {pointer} of {json}")).to_owned()
}

/// The 64-bit number at a JSON pointer, which proto3 JSON writes as text; 0 when nothing is there.
///
/// # Panics
/// When something else is there.
pub fn number(json: &Value, pointer: &str) -> i64 {
    match json.pointer(pointer) {
        None | Some(Value::Null) => 0,
        Some(Value::String(digits)) => {
            digits.parse().unwrap_or_else(|_| panic!("no number at {pointer} of {json}"))
        }
        Some(other) => panic!("{other} at {pointer} is no 64-bit number in proto3 JSON: {json}"),
    }
}
