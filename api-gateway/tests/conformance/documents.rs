//! The OpenAPI document and the page that shows it.

use std::collections::BTreeSet;

use prost_reflect::DescriptorPool;
use serde_json::{Value, json};

use crate::support::{DESCRIPTORS, echo};

async fn document() -> Value {
    let answer = echo().get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

/// Calls `visit` with every object of the document.
fn walk(value: &Value, visit: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|inner| walk(inner, visit));
        }
        Value::Array(list) => list.iter().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |path: &String, item: &Value| {
        let methods = item.as_object().unwrap().clone();
        methods.into_iter().map(|(method, operation)| (path.clone(), method, operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(|(path, item)| of(path, item)).collect()
}

/// What must hold of any document of ours: every reference resolves, every path parameter is declared and
/// every declared one stands in its path, operation ids are unique, every answer and schema is there.
fn check_structure(document: &Value) {
    assert_eq!(document["openapi"], "3.1.0");
    walk(document, &mut |object| {
        if let Some(Value::String(reference)) = object.get("$ref") {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some_and(|target| !target.is_null()), "{reference}");
        }
    });
    let mut ids = BTreeSet::new();
    let mut shapes = BTreeSet::new();
    for (path, method, operation) in operations(document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path: BTreeSet<&str> =
            parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
        let braced: BTreeSet<&str> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert_eq!(in_path, braced, "{method} {path}");
        let keys: BTreeSet<(&str, &str)> =
            parameters.iter().map(|p| (p["in"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
        assert_eq!(keys.len(), parameters.len(), "{method} {path}");
        assert!(parameters.iter().all(|p| p["schema"].is_object()), "{method} {path}");
        assert!(operation["responses"]["200"]["description"].is_string(), "{method} {path}");
        assert!(operation["responses"]["default"].is_object(), "{method} {path}");
        assert!(operation["security"].is_array(), "{method} {path}");
        let shape: String = path.split(['{', '}']).step_by(2).collect::<Vec<_>>().join("{}");
        shapes.insert(shape);
    }
    assert_eq!(shapes.len(), document["paths"].as_object().unwrap().len(), "two paths differ in names only");
}

#[tokio::test]
async fn the_document_holds_together_and_has_every_route() {
    let document = document().await;
    check_structure(&document);
    let mut routes: Vec<String> =
        operations(&document).into_iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    routes.sort();
    assert_eq!(
        routes,
        [
            "delete /v1/things/{id}",
            "get /v1/echo",
            "get /v1/kinds/{flag}/{color}/{uint64}/{time}",
            "get /v1/nested/{inner.name}/{inner.deeper.number}",
            "get /v1/shops/{text}/files",
            "get /v1/things/{id}",
            "get /v1/things/{id}:watch",
            "patch /v1/things/{id}",
            "post /v1/echo",
            "post /v1/echo/{text}:shout",
            "post /v1/things",
            "put /v1/echo/{text}",
            "put /v1/inner",
            "put /v1/texts",
        ]
    );
}

#[tokio::test]
async fn comments_of_the_proto_files_are_descriptions() {
    let document = document().await;
    let post = &document["paths"]["/v1/echo"]["post"];
    assert_eq!(post["summary"], "Answers with the body");
    assert_eq!(post["description"], "Answers with the body. It takes every kind of field.");
    let everything = &document["components"]["schemas"]["conformance.v1.Everything"];
    assert_eq!(everything["properties"]["int32"]["description"], "A whole number.");
    let color = &document["components"]["schemas"]["conformance.v1.Color"];
    assert_eq!(color["description"], "A colour.\n\n`COLOR_RED`: Like blood.");
    assert_eq!(
        document["tags"][0],
        json!({"name": "Echo", "description": "Answers with what it was asked."})
    );
}

#[tokio::test]
async fn schemas_are_those_of_canonical_json() {
    let document = document().await;
    let fields = &document["components"]["schemas"]["conformance.v1.Everything"]["properties"];
    for (field, member, value) in [
        ("int64", "type", json!("string")),
        ("int32", "type", json!("integer")),
        ("bytes", "contentEncoding", json!("base64")),
        ("color", "$ref", json!("#/components/schemas/conformance.v1.Color")),
        ("texts", "items", json!({"type": "string"})),
        (
            "counts",
            "additionalProperties",
            json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}),
        ),
        ("time", "format", json!("date-time")),
        ("wrappedFlag", "type", json!("boolean")),
        ("itself", "$ref", json!("#/components/schemas/conformance.v1.Everything")),
        ("another", "type", json!("string")),
    ] {
        assert_eq!(fields[field][member], value, "{field}");
    }
    let reply = &document["components"]["schemas"]["conformance.v1.WatchThingReply"];
    assert_eq!(reply["description"], "At most one of `created`, `wasRemoved` is set.");
    assert!(document["components"]["schemas"].get("google.protobuf.Timestamp").is_none());
}

#[tokio::test]
async fn roles_are_security_requirements() {
    let document = document().await;
    let security = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
    assert_eq!(security("/v1/echo", "get"), json!([]));
    assert_eq!(security("/v1/things/{id}", "get"), json!([{"orderToken": []}, {"operatorToken": []}]));
    assert_eq!(security("/v1/things", "post"), json!([{"operatorToken": []}]));
    assert_eq!(security("/v1/things/{id}", "delete"), json!([{"serviceToken": []}, {"operatorToken": []}]));
}

#[tokio::test]
async fn headers_and_events_are_documented() {
    let document = document().await;
    let headers = |path: &str, method: &str| -> Vec<String> {
        let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
        let headers = parameters.iter().filter(|parameter| parameter["in"] == "header");
        headers.map(|header| header["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(headers("/v1/things/{id}", "get"), ["If-None-Match", "X-Min-Position"]);
    assert_eq!(headers("/v1/things/{id}", "patch"), ["Idempotency-Key", "If-Match"]);
    assert_eq!(headers("/v1/things/{id}:watch", "get"), ["Last-Event-ID"]);
    let events = &document["paths"]["/v1/things/{id}:watch"]["get"]["responses"]["200"]["content"]["text/event-stream"];
    assert_eq!(
        events["schema"]["contentSchema"]["$ref"],
        "#/components/schemas/conformance.v1.WatchThingReply"
    );
}

#[tokio::test]
async fn the_page_is_served_whole_and_may_load_nothing_from_elsewhere() {
    let harness = echo();
    let page = harness.get("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy").to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        html.contains("<html lang=\"en\">") && !html.contains("http:") && !html.contains("https:"),
        "{html}"
    );
    for (asset, kind) in [("/docs/page.js", "text/javascript"), ("/docs/page.css", "text/css")] {
        assert!(html.contains(asset));
        let answer = harness.get(asset).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").starts_with(kind));
        assert!(!answer.body.is_empty());
    }
}

#[test]
fn the_gateway_takes_the_real_services_and_documents_all_their_routes() {
    use http_body_util::BodyExt;
    let pool = DescriptorPool::decode(contracts::FILE_DESCRIPTOR_SET).unwrap();
    let nobody = api_gateway::Backend::new(tower::service_fn(|_: http::Request<tonic::body::Body>| async {
        Err::<http::Response<tonic::body::Body>, _>(std::io::Error::other("nobody"))
    }));
    let backends: Vec<_> =
        pool.services().map(|service| (service.full_name().to_owned(), nobody.clone())).collect();
    let router = api_gateway::Gateway::build(
        api_gateway::Options::default(),
        contracts::FILE_DESCRIPTOR_SET,
        backends,
        api_gateway::Lifecycle::default(),
    )
    .unwrap();
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let annotated = methods.filter(|method| method.options().has_extension(&http)).count();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let document: Value = runtime.block_on(async {
        let asked = crate::support::request("GET", "/openapi.json", &[], "");
        let answer = tower::ServiceExt::oneshot(router, asked).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    });
    check_structure(&document);
    assert!(operations(&document).len() >= annotated && annotated > 0, "{annotated}");
    assert!(!DESCRIPTORS.is_empty());
}
