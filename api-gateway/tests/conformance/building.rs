//! What makes a gateway refuse to start.

use api_gateway::{Gateway, GatewayError, Lifecycle, Options};

use crate::support::{DESCRIPTORS, Reply, TestBackend, build, compile};

/// Builds a gateway for one service with these RPCs, all from `Asked` to `Asked`.
fn refused(rpcs: &str) -> String {
    let source = format!(
        r#"syntax = "proto3";
        package conformance.v1;
        import "google/api/annotations.proto";
        import "shop/options/v1/options.proto";
        service Echo {{ {rpcs} }}
        service Things {{}}
        message Asked {{ string id = 1; repeated string tags = 2; Inner inner = 3; }}
        message Inner {{ string name = 1; }}"#
    );
    let descriptors = compile("other.proto", Some(&source));
    let backend = TestBackend::new(|_| Reply::Echo);
    match build(Options::default(), &descriptors, &backend, Lifecycle::default()) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn rpc(name: &str, rule: &str) -> String {
    format!(
        "rpc {name}(Asked) returns (Asked) {{
            option (google.api.http) = {{ {rule} }};
            option (shop.options.v1.role) = ROLE_PUBLIC;
        }}"
    )
}

#[test]
fn a_rule_that_fits_its_messages_is_accepted() {
    assert_eq!(refused(&rpc("Get", r#"get: "/v1/{id}/{inner.name}""#)), "accepted");
    assert_eq!(refused(&rpc("Query", r#"custom { kind: "QUERY" path: "/v1/{id}" } body: "*""#)), "accepted");
}

#[test]
fn two_routes_with_the_same_method_and_path_are_refused() {
    let rpcs = rpc("One", r#"get: "/v1/{id}""#) + &rpc("Two", r#"get: "/v1/{inner.name}""#);
    let error = refused(&rpcs);
    assert!(error.contains("conformance.v1.Echo.One and conformance.v1.Echo.Two"), "{error}");
}

#[test]
fn a_path_variable_must_name_a_single_field_with_a_text_form() {
    for variable in ["nope", "inner", "tags", "id.nope", "inner.nope"] {
        let error = refused(&rpc("Get", &format!(r#"get: "/v1/{{{variable}}}""#)));
        assert!(error.contains("names no single field of Asked"), "{variable}: {error}");
    }
}

#[test]
fn a_body_and_an_answer_must_name_a_field() {
    assert!(refused(&rpc("Post", r#"post: "/v1/x" body: "nope""#)).contains("body names no field"));
    assert!(refused(&rpc("Post", r#"post: "/v1/x" response_body: "nope""#)).contains("no response field"));
}

#[test]
fn a_malformed_template_is_refused() {
    for path in ["v1", "/v1/{id", "/v1//x"] {
        assert_ne!(refused(&rpc("Get", &format!("get: \"{path}\""))), "accepted", "{path}");
    }
    assert_ne!(refused(&rpc("None", "")), "accepted");
}

#[test]
fn an_rpc_without_a_role_is_refused() {
    let error = refused(r#"rpc Get(Asked) returns (Asked) { option (google.api.http) = { get: "/v1/x" }; }"#);
    assert!(error.contains("names no role"), "{error}");
}

#[test]
fn a_client_stream_has_no_route() {
    let stream = rpc("Up", r#"post: "/v1/x" body: "*""#).replace("(Asked) returns", "(stream Asked) returns");
    assert!(refused(&stream).contains("client stream"));
}

#[test]
fn every_annotated_service_needs_a_backend_and_every_backend_a_service() {
    let none = Gateway::build(Options::default(), &DESCRIPTORS, vec![], Lifecycle::default());
    assert!(matches!(none, Err(GatewayError::NoBackend { .. })), "{none:?}");
    let backend = api_gateway::Backend::new(tower::service_fn(|_: http::Request<tonic::body::Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(tonic::body::Body::empty()))
    }));
    let stranger = vec![("no.Such".to_owned(), backend.clone())];
    let unknown = Gateway::build(Options::default(), &DESCRIPTORS, stranger, Lifecycle::default());
    assert!(matches!(unknown, Err(GatewayError::UnknownService(_))), "{unknown:?}");
    let twice = vec![
        ("conformance.v1.Echo".to_owned(), backend.clone()),
        ("conformance.v1.Echo".to_owned(), backend),
    ];
    let twice = Gateway::build(Options::default(), &DESCRIPTORS, twice, Lifecycle::default());
    assert!(matches!(twice, Err(GatewayError::TwoBackends(_))), "{twice:?}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let with =
        |options| build(options, &DESCRIPTORS, &TestBackend::new(|_| Reply::Echo), Lifecycle::default());
    assert!(matches!(
        with(Options { body_limit: 0, ..Options::default() }),
        Err(GatewayError::ZeroLimit("body_limit"))
    ));
    let everybody = Options { cors_origins: vec!["*".to_owned()], ..Options::default() };
    assert!(matches!(with(everybody), Err(GatewayError::Origin(_))));
}
