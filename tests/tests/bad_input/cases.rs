//! What a case is, and the cases of one field: values that break its rule on both ways into the shop, and what only
//! one of the two ways lets anybody send.

use prost::Message;
use prost_reflect::Kind;
use serde_json::{Value, json};
use tonic::Code;

use crate::rules::{Bad, Rule, Told};
use crate::schema::{Field, Role, Rpc};
use crate::stage::Stage;
use crate::wire::{Answer, Outcome, Send, encoded, placed, rest, with_json};

/// One request that must be refused.
#[derive(Debug, Clone)]
pub struct Case {
    /// The field or RPC, for people.
    pub about: String,
    /// For the tally.
    pub kind: &'static str,
    pub send: Send,
    pub expect: Expect,
    /// Must not be in the answer: what was sent.
    pub unspoken: Option<String>,
}

/// What the answer must be.
#[derive(Debug, Clone)]
pub struct Expect {
    pub http: &'static [u16],
    pub grpc: &'static [Code],
    pub reason: Option<&'static str>,
    /// The only field of the violations; none must be named when this is none and a reason is.
    pub field: Option<String>,
    /// Other fields may be named beside it.
    pub among_others: bool,
}

/// The answer to a request that is malformed.
pub const INVALID: &str = "INVALID_REQUEST";

impl Expect {
    pub fn new(http: &'static [u16], grpc: &'static [Code], reason: &'static str) -> Self {
        Self { http, grpc, reason: Some(reason), field: None, among_others: false }
    }

    /// Malformed at this place.
    pub fn invalid(place: impl Into<String>) -> Self {
        let malformed = Self::new(&[400], &[Code::InvalidArgument], INVALID);
        Self { field: Some(place.into()), ..malformed }
    }

    /// A status of HTTP for which there is nothing to tell programs.
    pub fn http(status: &'static [u16]) -> Self {
        Self { http: status, grpc: &[], reason: None, field: None, among_others: true }
    }

    fn told(told: Told, place: String) -> Self {
        match told {
            Told::Invalid => Self::invalid(place),
            Told::NotFound(reason) => Self::new(&[404], &[Code::NotFound], reason),
            Told::Rule(reason) => Self::new(&[422], &[Code::FailedPrecondition], reason),
            Told::Fine => Self::new(&[200], &[Code::Ok], ""),
            Told::Mismatch => Self::new(&[412], &[Code::Aborted], "ETAG_MISMATCH"),
        }
    }

    /// What is wrong with an answer, if something is.
    pub fn complaint(&self, answer: &Answer) -> Option<&'static str> {
        let fits = match answer.outcome {
            Outcome::Http(status) => self.http.contains(&status),
            Outcome::Grpc(code) => self.grpc.contains(&code),
        };
        let named = match &self.field {
            Some(field) if self.among_others => answer.fields.contains(field),
            Some(field) => answer.fields == [field.clone()],
            None => self.among_others || answer.fields.is_empty(),
        };
        match self.reason {
            _ if !fits => Some("status"),
            Some(reason) if answer.reason != reason => Some("reason"),
            _ if !named => Some("field"),
            _ => None,
        }
    }
}

/// The header of a credential.
pub fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// The headers that an RPC's caller sends.
pub fn credential(rpc: &Rpc, stage: &Stage) -> Vec<(&'static str, String)> {
    match rpc.role {
        Role::Public => Vec::new(),
        Role::Shopper | Role::Operator => vec![bearer(&stage.operator)],
    }
}

/// A message over gRPC.
pub fn grpc(rpc: &Rpc, message: Vec<u8>, headers: Vec<(&'static str, String)>) -> Send {
    Send::Grpc { port: rpc.port, path: rpc.path.clone(), streams: rpc.streams, message, headers }
}

/// The JSON with a member set, or taken out for null; what is on the way to it is made.
pub fn with(message: &Value, field: &Field, value: Value) -> Value {
    let mut changed = message.clone();
    if let Some(oneof) = field.descriptor.containing_oneof() {
        let members = changed.as_object_mut().expect("a message is an object");
        oneof.fields().for_each(|member| drop(members.remove(member.json_name())));
    }
    let mut at = &mut changed;
    let mut segments = field.pointer.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment == "0" {
            if at.is_null() {
                *at = json!([{}]);
            }
            at = &mut at[0];
            continue;
        }
        if at.is_null() {
            *at = json!({});
        }
        let members = at.as_object_mut().expect("the pointer goes through objects");
        if segments.peek().is_none() && value.is_null() {
            members.remove(segment);
            return changed;
        }
        at = members.entry(segment.to_owned()).or_insert(Value::Null);
    }
    *at = value;
    changed
}

/// All cases of a field.
pub fn of_field(rpc: &Rpc, field: &Field, rule: &Rule, stage: &Stage) -> Vec<Case> {
    let base = &stage.bases[&rpc.name].message;
    let good = base.pointer(&field.pointer).cloned().unwrap_or(Value::Null);
    let bad = rule.bad(&good);
    let mut cases: Vec<Case> = bad.iter().flat_map(|bad| breaking(rpc, field, bad, stage)).collect();
    cases.extend(not_utf_8(rpc, field, stage));
    if rpc.in_body(field) {
        cases.extend(in_body(rpc, field, rule, stage));
    }
    if rpc.in_query(field) {
        cases.extend(in_query(rpc, field, stage));
    }
    if rpc.in_path(field) {
        cases.extend(in_path(rpc, field, stage));
    }
    cases
}

/// A value that breaks the field's rule, over gRPC and REST.
fn breaking(rpc: &Rpc, field: &Field, bad: &Bad, stage: &Stage) -> Vec<Case> {
    let message = with(&stage.bases[&rpc.name].message, field, bad.value.clone());
    let place = format!("{}{}", field.place, bad.suffix);
    let expect = Expect { among_others: bad.among_others, ..Expect::told(bad.told, place) };
    let unspoken = unspoken(bad);
    let case = |send, expect| Case {
        about: format!("{} ({})", field.path, shown(&bad.value)),
        kind: bad.kind,
        send,
        expect,
        unspoken: unspoken.clone(),
    };
    let headers = credential(rpc, stage);
    let mut cases = Vec::new();
    if let Some(message) = rpc.message(&message) {
        cases.push(case(grpc(rpc, message.encode_to_vec(), headers.clone()), expect.clone()));
    }
    if let Some(route) = &rpc.route {
        // Without its variable a path leads elsewhere, if anywhere.
        let gone = rpc.in_path(field) && (bad.value.is_null() || bad.value == "");
        let expect = if gone { Expect::http(&[400, 404, 405]) } else { expect };
        // A query says of a list or message only what is in it, and of nothing nothing.
        let sayable = !rpc.in_query(field) || !(bad.value.is_array() || bad.value.is_object());
        if sayable {
            cases.push(case(rest(route, &message, headers), expect));
        }
    }
    cases
}

/// The part of a malformed value that no answer may repeat.
fn unspoken(bad: &Bad) -> Option<String> {
    let text = match &bad.value {
        Value::String(text) => text,
        Value::Array(entries) => entries.get(1)?.as_str()?,
        _ => return None,
    };
    let long_enough = bad.told == Told::Invalid && text.chars().count() >= 10;
    long_enough.then(|| text.chars().take(60).collect())
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// Stands for bytes that are no text until a message is encoded.
const MARKER: &str = "notutfeightmarker";

fn not_utf_8(rpc: &Rpc, field: &Field, stage: &Stage) -> Option<Case> {
    let base = &stage.bases[&rpc.name].message;
    let value = match field.descriptor.kind() {
        Kind::String if field.descriptor.is_list() => json!([MARKER]),
        Kind::String => json!(MARKER),
        Kind::Message(mask) if mask.full_name() == "google.protobuf.FieldMask" => json!(MARKER),
        _ if field.descriptor.is_map() => json!({MARKER: "value"}),
        _ => return None,
    };
    let message = rpc.message(&with(base, field, value)).expect("a text fits there");
    let mut bytes = message.encode_to_vec();
    let at = bytes.windows(MARKER.len()).position(|window| window == MARKER.as_bytes());
    let at = at.expect("the marker is in the message");
    bytes[at..at + MARKER.len()].fill(0xff);
    Some(Case {
        about: format!("{} (bytes ff)", field.path),
        kind: "invalid UTF-8",
        send: grpc(rpc, bytes, credential(rpc, stage)),
        expect: Expect::new(&[], &[Code::InvalidArgument], INVALID),
        unspoken: None,
    })
}

/// In front of a member's name, it makes another member that is renamed in the text of the body.
const TWIN: &str = "@@twin@@";

/// Wrong types and repetitions, which only JSON can say.
fn in_body(rpc: &Rpc, field: &Field, rule: &Rule, stage: &Stage) -> Vec<Case> {
    let base = &stage.bases[&rpc.name].message;
    let route = rpc.route.as_ref().expect("what has a body has a route");
    let headers = with_json(credential(rpc, stage));
    let post = |message: &Value| {
        let (target, body) = placed(route, message);
        let body = body.to_string().replace(TWIN, "").into_bytes();
        Send::Rest { method: route.method.clone(), target, headers: headers.clone(), body: Some(body) }
    };
    let mut cases = Vec::new();
    for (value, suffix) in wrong_json(field) {
        cases.push(Case {
            about: format!("{} ({})", field.path, shown(&value)),
            kind: "wrong JSON type",
            send: post(&with(base, field, value.clone())),
            expect: Expect::invalid(format!("{}{suffix}", field.place)),
            unspoken: Some(CARD.to_string()),
        });
    }
    let present = base.pointer(&field.pointer).cloned().unwrap_or_else(|| anything(field));
    let once = with(base, field, present.clone());
    let place = match rule {
        Rule::Member(oneof, _) => (*oneof).to_owned(),
        _ => field.place.clone(),
    };
    for twin in [field.json_name().to_owned(), field.descriptor.name().to_owned()] {
        let mut twice = once.clone();
        let (parent, _) = field.pointer.rsplit_once('/').expect("a pointer has a slash");
        let members = twice.pointer_mut(parent).and_then(Value::as_object_mut).expect("it was made above");
        members.insert(format!("{TWIN}{twin}"), present.clone());
        cases.push(Case {
            about: format!("{} (twice, as {twin})", field.path),
            kind: "duplicate key",
            send: post(&twice),
            expect: Expect::invalid(place.clone()),
            unspoken: None,
        });
    }
    if let Kind::Message(inner) = field.descriptor.kind()
        && !inner.full_name().starts_with("google.")
        && !field.descriptor.is_map()
    {
        let unknown =
            if field.descriptor.is_list() { json!([{"nonsense": 1}]) } else { json!({"nonsense": 1}) };
        let entry = if field.descriptor.is_list() { "[0]" } else { "" };
        cases.push(Case {
            about: format!("{}.nonsense", field.path),
            kind: "unknown JSON field",
            send: post(&with(base, field, unknown)),
            expect: Expect::invalid(format!("{}{entry}.nonsense", field.place)),
            unspoken: None,
        });
    }
    cases
}

/// A card number as JSON has numbers.
const CARD: u64 = 4_242_424_242_424_242;

/// JSON of other types than the field's, each with the place inside of it that is wrong.
fn wrong_json(field: &Field) -> Vec<(Value, &'static str)> {
    let spaced = json!("4242424242424242 ");
    let of = |values: Vec<Value>| values.into_iter().map(|value| (value, "")).collect::<Vec<_>>();
    if field.descriptor.is_map() {
        let mut wrong = of(vec![json!(CARD), spaced, json!([]), json!(true)]);
        wrong.push((json!({"name": CARD}), "[name]"));
        return wrong;
    }
    if field.descriptor.is_list() {
        let mut wrong = of(vec![json!(CARD), spaced, json!({}), json!(true)]);
        wrong.push((json!([CARD]), "[0]"));
        wrong.push((json!([null]), "[0]"));
        return wrong;
    }
    of(match field.descriptor.kind() {
        Kind::String => vec![json!(CARD), json!(true), json!({}), json!([CARD])],
        Kind::Bool => vec![json!("true"), json!(1), json!(CARD), json!({}), json!([true])],
        Kind::Enum(_) => vec![json!("NO_SUCH_VALUE"), json!(""), spaced, json!(1.5), json!(CARD), json!({})],
        Kind::Int32 | Kind::Int64 => {
            let mut wrong = vec![json!("x"), json!(""), json!("1.5"), json!(1.5), spaced, json!(true)];
            wrong.extend([json!({}), json!([1]), json!("9223372036854775808"), json!(u64::MAX), json!(1e30)]);
            wrong.extend([json!("-9223372036854775809"), json!("0x10"), json!("1e3")]);
            wrong
        }
        Kind::Message(_) => vec![json!(CARD), json!(true), json!([CARD])],
        other => panic!("there are no cases for fields of kind {other:?}"),
    })
}

/// Some value of the field's type.
fn anything(field: &Field) -> Value {
    match field.descriptor.kind() {
        _ if field.descriptor.is_map() => json!({}),
        _ if field.descriptor.is_list() => json!([]),
        Kind::String => json!("anything"),
        Kind::Bool => json!(true),
        Kind::Enum(_) | Kind::Int32 | Kind::Int64 => json!(1),
        Kind::Message(time) if time.full_name() == "google.protobuf.Timestamp" => {
            json!("2030-01-31T12:00:00Z")
        }
        Kind::Message(mask) if mask.full_name().starts_with("google.") => json!("name"),
        _ => json!({}),
    }
}

/// What only a query can say.
fn in_query(rpc: &Rpc, field: &Field, stage: &Stage) -> Vec<Case> {
    let base = &stage.bases[&rpc.name].message;
    let route = rpc.route.as_ref().expect("what has a query has a route");
    let without = with(base, field, Value::Null);
    let asked = |message: &Value, more: &str| match rest(route, message, credential(rpc, stage)) {
        Send::Rest { method, target, headers, body } => {
            let sign = if target.contains('?') { '&' } else { '?' };
            Send::Rest { method, target: format!("{target}{sign}{more}"), headers, body }
        }
        grpc @ Send::Grpc { .. } => grpc,
    };
    let name = field.json_name();
    let wrong: &[&str] = match field.descriptor.kind() {
        Kind::String => &[],
        Kind::Bool => &["yes", "1", "", "TRUE", "4242424242424242"],
        Kind::Enum(_) => &["NO_SUCH_VALUE", "", "1.5", "4242424242424242"],
        _ => &["x", "", "1.5", "9223372036854775808", "99999999999999999999", "0x10", "4242 4242 4242 4242"],
    };
    let case = |kind, send| Case {
        about: format!("{} in a query", field.path),
        kind,
        send,
        expect: Expect::invalid(field.place.clone()),
        unspoken: Some(CARD.to_string()),
    };
    let mut cases: Vec<Case> = wrong
        .iter()
        .map(|text| case("wrong text", asked(&without, &format!("{name}={}", encoded(text)))))
        .collect();
    cases.push(case("invalid UTF-8", asked(&without, &format!("{name}=%ff"))));
    if field.descriptor.is_list() {
        // Its entries are the same key again.
        return cases;
    }
    let snake = field.descriptor.name();
    let value = match field.descriptor.kind() {
        Kind::Bool => "true",
        Kind::Enum(_) | Kind::Int32 | Kind::Int64 => "1",
        _ => "",
    };
    let twice = [format!("{name}={value}&{name}={value}"), format!("{name}={value}&{snake}={value}")];
    cases.extend(twice.map(|twice| case("duplicate key", asked(&without, &twice))));
    cases
}

/// What only a path can say.
fn in_path(rpc: &Rpc, field: &Field, stage: &Stage) -> Vec<Case> {
    let base = &stage.bases[&rpc.name].message;
    let route = rpc.route.as_ref().expect("what is in a path has a route");
    let case = |kind, send| Case {
        about: format!("{} in a path", field.path),
        kind,
        send,
        expect: Expect::invalid(field.place.clone()),
        unspoken: None,
    };
    let Send::Rest { method, target, headers, body } =
        rest(route, &with(base, field, json!(MARKER)), credential(rpc, stage))
    else {
        return Vec::new();
    };
    let target = target.replace(MARKER, "%ff");
    let mut cases = vec![case("invalid UTF-8", Send::Rest { method, target, headers, body })];
    let (target, others) = placed(route, base);
    let headers = credential(rpc, stage);
    if route.body {
        let mut others = others;
        others[field.json_name()] = json!("another-than-in-the-path");
        let headers = with_json(headers);
        let body = Some(others.to_string().into_bytes());
        let send = Send::Rest { method: route.method.clone(), target, headers, body };
        cases.push(case("path and body differ", send));
    } else {
        let target = format!("{target}?{}=another", field.json_name());
        let send = Send::Rest { method: route.method.clone(), target, headers, body: None };
        cases.push(case("path and query differ", send));
    }
    cases
}
