//! The shop's own messages through the gateway: whatever a client sends, a service gets exactly the message that it
//! says, or the client is told which field is wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use api_gateway::{Backend, Gateway, Lifecycle, Options};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;
use tower::ServiceExt;

use crate::properties::{DEPTH, Sent, any_message};

/// Cases of a property in an ordinary run.
const CASES: u32 = 1_500;
/// Times more in a long one.
const LONG: u32 = 100;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(contracts::FILE_DESCRIPTOR_SET).unwrap());
static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(routes);

fn config() -> ProptestConfig {
    let cases = if std::env::var_os("STORELINE_TEST_LONG").is_some() { CASES * LONG } else { CASES };
    ProptestConfig { cases, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() }
}

/// One RPC with its route.
#[derive(Debug, Clone)]
struct Route {
    method: String,
    template: String,
    body: bool,
    input: MessageDescriptor,
}

fn routes() -> Vec<Route> {
    let http = POOL.get_extension_by_name("google.api.http").unwrap();
    let rpcs = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let unary = rpcs.filter(|rpc| rpc.options().has_extension(&http) && !rpc.is_server_streaming());
    let routes = unary.map(|rpc| {
        let options = rpc.options();
        let rule = options.get_extension(&http);
        let rule = rule.as_message().unwrap();
        let text = |name: &str| rule.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        let method = ["get", "post", "patch"].into_iter().find(|name| rule.has_field_by_name(name)).unwrap();
        Route {
            method: method.to_uppercase(),
            template: text(method),
            body: text("body") == "*",
            input: rpc.input(),
        }
    });
    let routes: Vec<_> = routes.collect();
    assert!(routes.len() >= 30, "{} routes", routes.len());
    routes
}

impl Route {
    fn variables(&self) -> Vec<FieldDescriptor> {
        let names = self.template.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        names.map(|name| self.input.get_field_by_name(name).unwrap()).collect()
    }

    /// The target with its variables filled in.
    fn path(&self, value: impl Fn(&FieldDescriptor) -> String) -> String {
        self.variables().iter().fold(self.template.clone(), |path, field| {
            path.replace(&format!("{{{}}}", field.name()), &encoded(&value(field)))
        })
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What came of a request: what the service got, or what the client was told.
struct Outcome {
    status: u16,
    got: Option<DynamicMessage>,
    told: Value,
}

thread_local! {
    /// What the service of this thread's runtime got last.
    static GOT: RefCell<Option<DynamicMessage>> = const { RefCell::new(None) };
}

/// A gateway before a service that takes everything and does nothing.
static ROUTER: LazyLock<api_gateway::RestService> = LazyLock::new(|| {
    let service = tower::service_fn(|request: Request<tonic::body::Body>| async move {
        let (parts, body) = request.into_parts();
        let frame = body.collect().await.unwrap().to_bytes();
        let (service, method) = parts.uri.path()[1..].split_once('/').unwrap();
        let service = POOL.get_service_by_name(service).unwrap();
        let rpc = service.methods().find(|rpc| rpc.name() == method).unwrap();
        GOT.set(Some(DynamicMessage::decode(rpc.input(), &frame[5..]).unwrap()));
        Ok::<_, std::io::Error>(
            tonic::Status::unavailable("it is enough to have seen it").into_http::<tonic::body::Body>(),
        )
    });
    let backend: Backend = Backend::new(service);
    let backends = POOL.services().map(|service| (service.full_name().to_owned(), backend.clone())).collect();
    Gateway::build(Options::default(), contracts::FILE_DESCRIPTOR_SET, backends, Lifecycle::default())
        .unwrap()
});

fn send(request: Request<Body>) -> Outcome {
    GOT.take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (parts, body) = ROUTER.clone().oneshot(request).await.unwrap().into_parts();
        let told = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
        Outcome { status: parts.status.as_u16(), got: GOT.take(), told }
    })
}

fn request(route: &Route, target: &str, body: Option<String>) -> Request<Body> {
    let request = Request::builder().method(route.method.as_str()).uri(target);
    match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body)).unwrap(),
        None => request.body(Body::empty()).unwrap(),
    }
}

fn any_route(with_body: bool) -> impl Strategy<Value = Route> {
    let routes = ROUTES.iter().filter(|route| route.body == with_body);
    prop::sample::select(routes.cloned().collect::<Vec<_>>())
}

/// A route and a message that it can carry.
fn any_request() -> impl Strategy<Value = (Route, Sent)> {
    prop::sample::select(ROUTES.clone()).prop_flat_map(|route| {
        let messages = any_message(route.input.clone(), DEPTH + 1);
        (Just(route), messages.prop_map(Sent))
    })
}

/// Query parameters of everything that is set.
fn query(message: &DynamicMessage, except: &[FieldDescriptor]) -> String {
    let json = serde_json::to_value(message).unwrap();
    let mut pairs = Vec::new();
    for (name, value) in json.as_object().unwrap() {
        if except.iter().any(|field| field.json_name() == name) {
            continue;
        }
        // The entries of a list are the same key again.
        for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            pairs.push(format!("{name}={}", encoded(&text)));
        }
    }
    pairs.join("&")
}

/// JSON that looks like a message, with values of any kind in its fields.
fn near_json(message: &MessageDescriptor, depth: usize) -> BoxedStrategy<String> {
    let fields: Vec<FieldDescriptor> = message.fields().collect();
    if fields.is_empty() {
        return Just("{}".to_owned()).boxed();
    }
    let member = prop::sample::select(fields).prop_flat_map(move |field| {
        let name = if field.number() % 2 == 0 { field.name() } else { field.json_name() };
        let name = serde_json::to_string(name).unwrap();
        value_near(&field, depth).prop_map(move |value| format!("{name}:{value}"))
    });
    vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))).boxed()
}

fn value_near(field: &FieldDescriptor, depth: usize) -> BoxedStrategy<String> {
    let one = match field.kind() {
        Kind::Message(inner) if depth > 0 && !field.is_map() && !inner.full_name().starts_with("google.") => {
            near_json(&inner, depth - 1)
        }
        _ => scalar().boxed(),
    };
    let fitting = match field.is_list() {
        true => vec(one, 0..3).prop_map(|values| format!("[{}]", values.join(","))).boxed(),
        false => one,
    };
    prop_oneof![6 => fitting, 1 => scalar()].boxed()
}

/// What nobody may be told: a value that is refused. Long enough not to occur by chance.
const SECRET: &str = "4242424242424242";

fn scalar() -> impl Strategy<Value = String> {
    let fixed = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e400",
        "-0.0",
        "\"\"",
        "\"name\"",
        "{}",
        "[]",
        "[null]",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "9223372036854775808",
        "\"-9223372036854775809\"",
        "{\"name\":\"value\"}",
        "nope",
        "\"open",
    ];
    let fixed = fixed.map(str::to_owned).to_vec();
    prop_oneof![
        4 => prop::sample::select(fixed),
        1 => Just(SECRET.to_owned()),
        1 => Just(format!("\"{SECRET} {SECRET}\"")),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => "[ -~]{0,12}",
    ]
}

/// A refusal that names what is wrong, in few words and without the value.
fn is_refusal(outcome: &Outcome) -> bool {
    let violations = outcome.told["violations"].as_array().cloned().unwrap_or_default();
    outcome.status == 400
        && outcome.got.is_none()
        && outcome.told["reason"] == "INVALID_REQUEST"
        && !violations.is_empty()
        && outcome.told.to_string().len() < 20_000
        && !outcome.told.to_string().contains(SECRET)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_service_gets_exactly_the_message_that_a_client_sent((route, sent) in any_request()) {
        let message = sent.0;
        let json = serde_json::to_value(&message).unwrap();
        let text = |field: &FieldDescriptor| json[field.json_name()].as_str().unwrap_or_default().to_owned();
        // An empty segment is another path.
        if route.variables().iter().any(|field| text(field).is_empty()) {
            return Ok(());
        }
        let target = route.path(text);
        let sent = if route.body {
            request(&route, &target, Some(json.to_string()))
        } else {
            request(&route, &format!("{target}?{}", query(&message, &route.variables())), None)
        };
        let outcome = send(sent);
        prop_assert_eq!(outcome.status, 503, "{}", outcome.told);
        // Fields that were set to their defaults are not told from unset ones on the wire.
        let got = outcome.got.unwrap().encode_to_vec();
        let wire = |bytes: &[u8]| DynamicMessage::decode(route.input.clone(), bytes).unwrap();
        prop_assert!(wire(&got) == wire(&message.encode_to_vec()), "{json}");
    }

    #[test]
    fn a_body_is_a_message_or_refused(
        (route, body) in any_route(true).prop_flat_map(|route| {
            let body = near_json(&route.input, 3);
            (Just(route), body)
        }),
    ) {
        let outcome = send(request(&route, &route.path(|_| "anything".to_owned()), Some(body.clone())));
        match &outcome.got {
            Some(message) => {
                prop_assert_eq!(outcome.status, 503, "{}", outcome.told);
                let again = serde_json::to_string(message).unwrap();
                let again = DynamicMessage::deserialize(route.input, &mut serde_json::Deserializer::from_str(&again));
                prop_assert!(again.unwrap() == *message, "{body}");
            }
            None => prop_assert!(is_refusal(&outcome), "{body}\n{} {}", outcome.status, outcome.told),
        }
    }

    #[test]
    fn a_query_is_a_message_or_refused(
        (route, pairs) in any_route(false).prop_flat_map(|route| {
            let mut names: Vec<String> = route.input.fields().map(|field| field.json_name().to_owned()).collect();
            names.extend(["nonsense".to_owned(), "a.b".to_owned(), "%ff".to_owned(), String::new()]);
            let values = prop_oneof![
                "[-+0-9a-zA-Z%.]{0,12}",
                "(true|false|1|0|-1)",
                Just(SECRET.to_owned()),
                any::<String>().prop_map(|text| encoded(&text)),
            ];
            (Just(route), vec((prop::sample::select(names), values), 0..6))
        }),
    ) {
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let target = format!("{}?{}", route.path(|_| "anything".to_owned()), query.join("&"));
        prop_assume!(target.parse::<http::Uri>().is_ok());
        let outcome = send(request(&route, &target, None));
        let Some(message) = &outcome.got else {
            prop_assert!(is_refusal(&outcome), "{target}\n{} {}", outcome.status, outcome.told);
            return Ok(());
        };
        // Nothing was dropped, and nothing was given twice.
        let mut given = BTreeMap::new();
        for (name, value) in pairs {
            let field = route.input.get_field_by_json_name(&name);
            let Some(field) = field else {
                prop_assert!(name.is_empty() && value.is_empty(), "{name} was dropped: {target}");
                continue;
            };
            prop_assert!(given.insert(name, value.clone()).is_none() || field.is_list(), "{target}");
            if field.kind() == Kind::String && !value.is_empty() {
                prop_assert!(message.has_field(&field), "{target}");
            }
        }
    }

    #[test]
    fn a_path_never_makes_the_gateway_fail(path in "(/[a-z0-9%{}:*.]{0,8}){0,8}", method in "(GET|POST|PATCH|PUT)") {
        if let Ok(target) = format!("/v1{path}").parse::<http::Uri>() {
            let outcome = send(Request::builder().method(method.as_str()).uri(target).body(Body::empty()).unwrap());
            prop_assert!(outcome.got.is_some() || (400..500).contains(&outcome.status), "{}", outcome.status);
        }
    }
}
