//! The cases of a whole request: its bytes, its headers, its credential, and the tokens that only a running shop hands
//! out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use prost_reflect::Kind;
use serde_json::{Value, json};
use tonic::Code;

use crate::cases::{Case, Expect, INVALID, bearer, credential, grpc, with};
use crate::rules::Rule;
use crate::schema::{Field, Role, Rpc};
use crate::stage::Stage;
use crate::wire::{Send, camel_case, placed, rest, with_json};

/// A credential that is nobody's.
pub const GARBAGE: &str = "0123456789abcdef-nobody-has-this-credential";
/// Largest body over REST and largest message over gRPC, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

/// Makes cases of one RPC.
struct Maker<'a> {
    rpc: &'a Rpc,
    stage: &'a Stage,
    cases: Vec<Case>,
}

/// All cases of an RPC that are of no field alone.
pub fn of_rpc(rpc: &Rpc, fields: &[(Field, Rule)], stage: &Stage) -> Vec<Case> {
    let mut maker = Maker { rpc, stage, cases: Vec::new() };
    maker.messages();
    maker.credentials();
    if rpc.route.is_some() {
        maker.bodies();
        maker.headers(fields);
    }
    for (field, rule) in fields {
        match rule {
            Rule::PageToken(filter) => maker.page_tokens(field, *filter),
            Rule::MinPosition => maker.positions(field),
            Rule::Member(..) => maker.oneof(field),
            _ => {}
        }
    }
    maker.cases
}

impl Maker<'_> {
    fn base(&self) -> &Value {
        &self.stage.bases[&self.rpc.name].message
    }

    fn add(&mut self, kind: &'static str, about: &str, send: Send, expect: Expect) {
        let about = format!("{} ({})", self.rpc.name, about.chars().take(80).collect::<String>());
        self.cases.push(Case { about, kind, send, expect, unspoken: None });
    }

    /// The same message on both ways.
    fn both(&mut self, kind: &'static str, about: &str, message: &Value, expect: &Expect) {
        let headers = credential(self.rpc, self.stage);
        if let Some(message) = self.rpc.message(message) {
            self.add(kind, about, grpc(self.rpc, message.encode_to_vec(), headers.clone()), expect.clone());
        }
        if let Some(route) = &self.rpc.route {
            self.add(kind, about, rest(route, message, headers), expect.clone());
        }
    }

    /// Bytes that are no message.
    fn messages(&mut self) {
        let good = self.rpc.message(self.base()).expect("a base is a message").encode_to_vec();
        let refused = || Expect::new(&[], &[Code::InvalidArgument], INVALID);
        let headers = credential(self.rpc, self.stage);
        // A group of an unknown field in a group, and so on.
        let deep = [[0xfb, 0x07].repeat(5_000), [0xfc, 0x07].repeat(5_000)].concat();
        let mut broken =
            vec![("garbage", vec![0xff; 10]), ("deep groups", deep), ("an open group", vec![0xfb, 0x07])];
        if !good.is_empty() {
            broken.push(("cut off", good[..good.len() - 1].to_vec()));
        }
        if let Some(first) = self.rpc.input.fields().next() {
            // As a number of 64 bits, which no field of these protos is on the wire.
            let tag = u8::try_from(first.number() << 3 | 1).expect("a small number");
            broken.push(("another wire type", [vec![tag], vec![0; 8]].concat()));
        }
        for (about, bytes) in broken {
            let send = grpc(self.rpc, bytes, headers.clone());
            self.add("malformed message", about, send, refused());
        }
        let expect = Expect::new(&[], &[Code::OutOfRange], "MESSAGE_TOO_LARGE");
        self.add("oversized", "message", grpc(self.rpc, vec![0; MESSAGE_LIMIT + 1], headers), expect);
    }

    /// Bodies that are no JSON object, in what other people call JSON.
    fn bodies(&mut self) {
        let route = self.rpc.route.clone().expect("asked for RPCs with a route only");
        let headers = credential(self.rpc, self.stage);
        let (target, others) = placed(&route, self.base());
        let send = |body: Vec<u8>, headers: Vec<(&'static str, String)>| Send::Rest {
            method: route.method.clone(),
            target: target.clone(),
            headers,
            body: Some(body),
        };
        let wrong_method = Send::Rest {
            method: "DELETE".to_owned(),
            target: target.clone(),
            headers: headers.clone(),
            body: None,
        };
        self.add("wrong method", "DELETE", wrong_method, Expect::http(&[405]));
        let json = || with_json(headers.clone());
        if !route.body {
            let expect = Expect::new(&[400], &[], INVALID);
            self.add("unasked body", "a body", send(b"{}".to_vec(), json()), expect);
            let many = "nonsense=1&".repeat(257);
            let Send::Rest { target, headers, method, .. } = rest(&route, self.base(), headers) else {
                return;
            };
            let sign = if target.contains('?') { '&' } else { '?' };
            let query = |more: &str| Send::Rest {
                method: method.clone(),
                target: format!("{target}{sign}{more}"),
                headers: headers.clone(),
                body: None,
            };
            self.add("too many", "query parameters", query(&many), Expect::invalid(""));
            self.add("unknown field", "parameter", query("nonsense=1"), Expect::invalid("nonsense"));
            self.add("invalid UTF-8", "a parameter's name", query("%ff=1"), Expect::invalid(""));
            return;
        }
        let first = self.rpc.input.fields().next().expect("a request with a body has fields");
        let first = first.json_name();
        let nested =
            |open: &str, close: &str, depth| (open.repeat(depth) + &close.repeat(depth)).into_bytes();
        let mut bodies: Vec<(&'static str, Vec<u8>)> = [
            "{",
            "[]",
            "7",
            "\"text\"",
            "null",
            "true",
            "nope",
            "{} {}",
            "{}}",
            "{NAME \"a\"}",
            "{NAME: \"a\",}",
            "{'a': 1}",
            "\u{feff}{}",
            "{NAME: NaN}",
            "// a comment\n{}",
            "{NAME: \"\\ud800\"}",
            "{NAME: \"raw\nbreak\"}",
        ]
        .map(|body| ("malformed JSON", body.replace("NAME", &format!("\"{first}\"")).into_bytes()))
        .into();
        bodies.push(("invalid UTF-8", b"{\"requestId\": \"\xff\"}".to_vec()));
        bodies.push(("invalid UTF-8", b"\xff\xfe{\x00}\x00".to_vec()));
        bodies.push(("deep nesting", nested("[", "]", 200_000)));
        bodies.push(("deep nesting", nested("{\"a\":", "}", 20_000)));
        bodies.push(("deep nesting", "[".repeat(100_000).into_bytes()));
        for (kind, body) in bodies {
            let about = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
            self.add(kind, &about, send(body, json()), Expect::invalid(""));
        }
        let mut unknown = others.clone();
        unknown["nonsense"] = json!(1);
        let unknown = send(unknown.to_string().into_bytes(), json());
        self.add("unknown JSON field", "nonsense", unknown, Expect::invalid("nonsense"));
        let mut padded = others.to_string().into_bytes();
        padded.resize(BODY_LIMIT + 1, b' ');
        self.add("oversized", "body", send(padded, json()), Expect::http(&[413]));
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "json",
            "",
        ] {
            let mut headers = headers.clone();
            if !kind.is_empty() {
                headers.push(("content-type", kind.to_owned()));
            }
            let send = send(others.to_string().into_bytes(), headers);
            self.add("wrong content type", kind, send, Expect::http(&[415]));
        }
        let mut encoded = json();
        encoded.push(("content-encoding", "gzip".to_owned()));
        let send = send(others.to_string().into_bytes(), encoded);
        self.add("wrong content type", "gzip", send, Expect::http(&[415]));
    }

    fn credentials(&mut self) {
        let nobody = |reason| Expect::new(&[401], &[Code::Unauthenticated], reason);
        let denied = |reason| Expect::new(&[403], &[Code::PermissionDenied], reason);
        let (garbage, foreign) = match self.rpc.role {
            Role::Public => return,
            Role::Operator => (nobody("CREDENTIAL_INVALID"), nobody("CREDENTIAL_INVALID")),
            Role::Shopper => (denied("ORDER_ACCESS_DENIED"), denied("ORDER_ACCESS_DENIED")),
        };
        let none = || nobody("CREDENTIAL_REQUIRED");
        let raw = |value: &str| vec![("authorization", value.to_owned())];
        for (about, headers, expect) in [
            ("no credential", Vec::new(), none()),
            ("a credential that is nobody's", vec![bearer(GARBAGE)], garbage),
            ("another order's token", vec![bearer(&self.stage.foreign_token)], foreign),
            ("the service's token", vec![bearer(&self.stage.service)], denied("ROLE_REQUIRED")),
            ("another scheme", raw("Basic b3BlcmF0b3I6b3BlcmF0b3I="), none()),
            ("no token", raw("Bearer "), none()),
            ("two tokens", raw(&format!("Bearer {GARBAGE} {GARBAGE}")), none()),
            ("a huge token", raw(&format!("Bearer {}", "x".repeat(5_000))), none()),
        ] {
            let message = self.rpc.message(self.base()).expect("a base is a message").encode_to_vec();
            self.add("credential", about, grpc(self.rpc, message, headers.clone()), expect.clone());
            if let Some(route) = &self.rpc.route {
                let send = rest(route, self.base(), headers);
                self.add("credential", about, send, expect);
            }
        }
    }

    /// Headers that are fields by another name.
    fn headers(&mut self, fields: &[(Field, Rule)]) {
        let route = self.rpc.route.clone().expect("asked for RPCs with a route only");
        let has = |name: &str| {
            fields.iter().any(|(field, _)| field.is_outermost() && field.descriptor.name() == name)
        };
        let mismatch = || Expect::new(&[412], &[], "ETAG_MISMATCH");
        let mut headers: Vec<(&'static str, String, Expect)> = Vec::new();
        if has("request_id") {
            let long = "k".repeat(256);
            for key in [long.as_str(), "\"open", "\"\"", "\"a\"b\"", "\"a\\n\""] {
                headers.push(("idempotency-key", key.to_owned(), Expect::invalid("idempotency-key")));
            }
            let mut other = self.base().clone();
            other["requestId"] = json!("another-key");
            let mut both = credential(self.rpc, self.stage);
            both.push(("idempotency-key", "a-key".to_owned()));
            let send = rest(&route, &other, both);
            self.add("header and body differ", "idempotency-key", send, Expect::invalid("request_id"));
        }
        if has("etag") {
            headers.push(("if-match", "\"v99\"".to_owned(), mismatch()));
            headers.push(("if-match", "W/\"v1\"".to_owned(), mismatch()));
            headers.push(("if-match", "\"nonsense-etag\"".to_owned(), Expect::invalid("etag")));
            headers.push(("if-match", "\"v1\", \"v2\"".to_owned(), Expect::invalid("if-match")));
            headers.push(("if-match", "\"\"".to_owned(), Expect::invalid("if-match")));
        } else if route.body {
            headers.push(("if-match", "\"v1\"".to_owned(), Expect::invalid("if-match")));
        }
        if has("min_position") {
            headers.push(("x-min-position", "nonsense-position".to_owned(), Expect::invalid("min_position")));
        }
        if has("after") {
            headers.push(("last-event-id", "nonsense-cursor".to_owned(), Expect::invalid("after")));
        }
        if self.rpc.streams {
            headers.push(("accept", "application/json".to_owned(), Expect::http(&[406])));
        }
        for (name, value, expect) in headers {
            let mut all = credential(self.rpc, self.stage);
            all.push((name, value.clone()));
            self.add("header", &format!("{name}: {value}"), rest(&route, self.base(), all), expect);
        }
    }

    /// Tokens of other lists, and tokens with other keys in them.
    fn page_tokens(&mut self, field: &Field, filter: Option<(&'static str, &'static str)>) {
        let refused = Expect::invalid(field.place.clone());
        for (list, token) in self.stage.page_tokens.clone() {
            if list != self.rpc.name {
                let message = with(self.base(), field, json!(token));
                self.both("token of another list", &list, &message, &refused);
            }
        }
        let Some(own) = self.stage.page_tokens.get(&self.rpc.name).cloned() else {
            assert!(
                filter.is_none(),
                "{} has no token that another filter could be tried with",
                self.rpc.name
            );
            return;
        };
        let (member, other) = filter.expect("a list with pages names what its tokens depend on");
        let mut message = with(self.base(), field, json!(own));
        message[member] = if other == "true" { json!(true) } else { json!(other) };
        self.both("token of another filter", member, &message, &refused);

        // Some keys are fine and lead to an empty page; none may be more than refused.
        let handled =
            Expect { http: &[200, 400], grpc: &[Code::Ok, Code::InvalidArgument], ..Expect::http(&[]) };
        let json = URL_SAFE_NO_PAD.decode(&own).expect("tokens are base64");
        let keys: Vec<String> = serde_json::from_slice(&json).expect("tokens are lists of texts");
        for place in 1..keys.len() {
            for key in hostile_keys() {
                let mut forged = keys.clone();
                forged[place] = key.clone();
                let token = URL_SAFE_NO_PAD.encode(json!(forged).to_string());
                let message = with(self.base(), field, json!(token));
                self.both("forged page token", &key, &message, &handled);
            }
        }
    }

    /// Positions of other logs, of a log before it was restored, and of what has not happened yet.
    fn positions(&mut self, field: &Field) {
        // The logs that the models behind the call follow.
        let own: &[&str] = match self.rpc.name.rsplit('.').next() {
            Some("PlaceOrder") => &["product"],
            Some("GetProduct" | "ListProducts" | "SearchProducts") => &["product", "inventory"],
            _ => &[self.rpc.port],
        };
        for (log, position) in self.stage.positions.clone() {
            let plain = URL_SAFE_NO_PAD.decode(&position).expect("positions are base64");
            let plain = String::from_utf8(plain).expect("positions are text");
            let [incarnation, _, name] = plain.splitn(3, '.').collect::<Vec<_>>()[..] else {
                panic!("{plain} is no position")
            };
            let forged = |incarnation: &str, number: &str| {
                json!(URL_SAFE_NO_PAD.encode(format!("{incarnation}.{number}.{name}")))
            };
            let refused = Expect::invalid(field.place.clone());
            let mut values = vec![(json!(position), &refused), (forged(incarnation, "-1"), &refused)];
            let later = Expect::new(&[503], &[Code::Unavailable], "POSITION_NOT_REACHED");
            if own.contains(&log) {
                values = vec![(forged(incarnation, "-1"), &refused), (forged("99", "1"), &refused)];
                values.push((forged(incarnation, &i64::MAX.to_string()), &later));
                values.push((json!(format!("{position},nonsense-position")), &refused));
            }
            for (value, expect) in values {
                let message = with(self.base(), field, value);
                self.both("forged position", log, &message, expect);
            }
        }
    }

    /// None, and all at once.
    fn oneof(&mut self, field: &Field) {
        let oneof = field.descriptor.containing_oneof().expect("a member is of a oneof");
        let place = Expect::invalid(oneof.name());
        self.both("missing", oneof.name(), &with(self.base(), field, Value::Null), &place);
        let members = oneof.fields().map(|member| (camel_case(member.name()), json!("both")));
        let all = Value::Object(members.collect());
        if let Some(route) = &self.rpc.route {
            let send = rest(route, &all, credential(self.rpc, self.stage));
            self.add("all of a oneof", oneof.name(), send, place);
        }
        assert_eq!(field.descriptor.kind(), Kind::String, "there are no cases for other members");
    }
}

/// Keys that no list has made.
fn hostile_keys() -> Vec<String> {
    let mut keys = ["", "\u{0}", "-1", "0", "x", "1e9", "nobody's id", "🦀", "%", "'; DROP TABLE events; --"]
        .map(str::to_owned)
        .to_vec();
    keys.extend(
        [i64::MIN, i64::MAX, -62_135_596_800_000_001, 253_402_300_800_000_000].map(|n| n.to_string()),
    );
    keys.push("99999999999999999999".to_owned());
    keys.push("k".repeat(1_000));
    keys.push(crate::rules::NOBODY.to_owned());
    keys
}
