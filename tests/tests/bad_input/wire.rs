//! Sends what no well-behaved client would send: bytes as they are over gRPC, any body and any header over REST. Both
//! kinds of answer come back in one form, so that one expectation is checked against both.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use contracts::shop::product::v1::ImportProductsResponse;
use contracts::shop::product::v1::import_products_response::Result as Answered;
use e2e_tests::{Api, Shop};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use reqwest::Method;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::schema::Route;

/// Calls over gRPC that may wait for a position wait no longer.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A request on one of the two ways.
#[derive(Debug, Clone)]
pub enum Send {
    Rest {
        method: String,
        target: String,
        headers: Vec<(&'static str, String)>,
        body: Option<Vec<u8>>,
    },
    Grpc {
        port: &'static str,
        path: String,
        streams: bool,
        message: Vec<u8>,
        headers: Vec<(&'static str, String)>,
    },
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status, or the gRPC code.
    pub outcome: Outcome,
    /// `reason` of the problem or of the ErrorInfo.
    pub reason: String,
    /// The fields of the violations, each once, sorted.
    pub fields: Vec<String>,
    /// Whether it says that it is the answer to an earlier request.
    pub replayed: bool,
    /// Everything that the client can read.
    pub text: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Http(u16),
    Grpc(Code),
}

/// Clients of one shop.
pub struct Wire {
    api: Api,
    ports: BTreeMap<String, Channel>,
}

impl Wire {
    pub fn to(shop: &Shop) -> Self {
        let connect = |address: &String| {
            let endpoint =
                Endpoint::from_str(&format!("http://{address}")).expect("an address is an endpoint");
            endpoint.connect_lazy()
        };
        let ports = shop.grpc().iter().map(|(name, address)| (name.clone(), connect(address)));
        Self { api: shop.api(), ports: ports.collect() }
    }

    pub async fn send(&self, send: &Send) -> Answer {
        match send {
            Send::Rest { method, target, headers, body } => {
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                let mut call = self.api.call(method, target);
                for (name, value) in headers {
                    call = call.header(name, value);
                }
                if let Some(body) = body {
                    call = call.body(body.clone());
                }
                of_http(call.send().await)
            }
            Send::Grpc { port, path, streams, message, headers } => {
                let mut request = Request::new(message.clone());
                request.set_timeout(CLIENT_TIMEOUT);
                for (name, value) in headers {
                    let name = MetadataKey::from_static(name);
                    request.metadata_mut().insert(name, MetadataValue::from_str(value).expect("a header"));
                }
                of_grpc(grpc(self.ports[*port].clone(), path, *streams, request).await)
            }
        }
    }
}

async fn grpc(
    channel: Channel,
    path: &str,
    streams: bool,
    request: Request<Vec<u8>>,
) -> Result<(Vec<u8>, bool), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path: PathAndQuery = path.parse().expect("an RPC's path is one");
    let replayed = |metadata: &tonic::metadata::MetadataMap| metadata.contains_key("idempotency-replayed");
    if streams {
        let mut stream = client.server_streaming(request, path.clone(), Raw).await?.into_inner();
        let first = stream.message().await?.unwrap_or_default();
        return refused_in(&path, &first).map_or(Ok((first, false)), Err);
    }
    let answer = client.unary(request, path, Raw).await?;
    let replayed = replayed(answer.metadata());
    Ok((answer.into_inner(), replayed))
}

/// The refusal of one message of a client's stream, which is no failure of the stream.
fn refused_in(path: &PathAndQuery, answer: &[u8]) -> Option<Status> {
    if !path.as_str().ends_with("/ImportProducts") {
        return None;
    }
    let answer = ImportProductsResponse::decode(answer).expect("it answers with its own message");
    match answer.result.expect("every answer has a result") {
        Answered::Imported(_) => None,
        Answered::Refused(status) => {
            let details = status.encode_to_vec().into();
            Some(Status::with_details(Code::from(status.code), status.message, details))
        }
    }
}

fn of_grpc(answered: Result<(Vec<u8>, bool), Status>) -> Answer {
    let status = match answered {
        Ok((message, replayed)) => {
            let text = String::from_utf8_lossy(&message).into_owned();
            let (reason, fields) = (String::new(), Vec::new());
            return Answer { outcome: Outcome::Grpc(Code::Ok), reason, fields, replayed, text };
        }
        Err(status) => status,
    };
    let details = status.get_error_details();
    let bad = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    Answer {
        outcome: Outcome::Grpc(status.code()),
        reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
        fields: sorted(bad.into_iter().map(|violation| violation.field).collect()),
        replayed: status.metadata().contains_key("idempotency-replayed"),
        text: format!("{} {}", status.message(), String::from_utf8_lossy(status.details())),
    }
}

fn of_http(answer: e2e_tests::Answer) -> Answer {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    // What a refusal must look like as a document is checked for every one of them.
    let problem = if answer.status >= 400 { answer.refused(answer.status) } else { Value::Null };
    let violations = problem["violations"].as_array().cloned().unwrap_or_default();
    let field = |violation: &Value| violation["field"].as_str().map(str::to_owned);
    Answer {
        outcome: Outcome::Http(answer.status),
        reason: problem["reason"].as_str().unwrap_or_default().to_owned(),
        fields: sorted(violations.iter().filter_map(field).collect()),
        replayed: answer.header("idempotency-replayed") == "true",
        text,
    }
}

fn sorted(mut fields: Vec<String>) -> Vec<String> {
    fields.sort();
    fields.dedup();
    fields
}

/// A request over REST whose message is this JSON: variables into the path, the rest into the body or the query.
pub fn rest(route: &Route, message: &Value, headers: Vec<(&'static str, String)>) -> Send {
    let (target, rest) = placed(route, message);
    if route.body {
        let headers = with_json(headers);
        return Send::Rest {
            method: route.method.clone(),
            target,
            headers,
            body: Some(rest.to_string().into()),
        };
    }
    let mut pairs = Vec::new();
    flatten("", &rest, &mut pairs);
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let target = if query.is_empty() { target } else { format!("{target}?{}", query.join("&")) };
    Send::Rest { method: route.method.clone(), target, headers, body: None }
}

/// The path with its variables filled in, and the message without them.
pub fn placed(route: &Route, message: &Value) -> (String, Value) {
    let (mut target, mut rest) = (route.template.clone(), message.clone());
    for variable in route.variables() {
        let name = camel_case(variable);
        let value = rest.as_object_mut().and_then(|members| members.remove(&name)).unwrap_or_default();
        let value = match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        target = target.replace(&format!("{{{variable}}}"), &encoded(&value));
    }
    (target, rest)
}

/// With the content type of JSON in front.
pub fn with_json(mut headers: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    headers.insert(0, ("content-type", "application/json".to_owned()));
    headers
}

fn flatten(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{dot}{member}"), value, pairs);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| flatten(name, entry, pairs)),
        Value::String(text) => pairs.push((name.to_owned(), text.clone())),
        Value::Null => {}
        other => pairs.push((name.to_owned(), other.to_string())),
    }
}

/// A text as it may stand anywhere in a URL.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// `order_id` as JSON has it.
pub fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (head, tail) = word.split_at(1);
        name + &head.to_uppercase() + tail
    })
}

/// A text as one finds it in base64, for those who look for it in details.
pub fn as_base64(text: &str) -> String {
    STANDARD_NO_PAD.encode(text)
}

/// Passes messages as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}
