//! Bodies, queries and paths into messages, and messages into JSON.

use serde_json::{Value, json};

use crate::support::{Answer, Reply, echo, request};

/// Posts a body and expects these fields in the answer.
async fn post(body: Value) -> Value {
    let answer = echo().post("/v1/echo", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

/// Asserts that the answer has these members with these values.
fn has(answer: &Value, expected: Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&answer[name], value, "{name}");
    }
}

async fn get(path: &str) -> Answer {
    echo().get(path).await
}

async fn violation_of(body: &str) -> String {
    let fields = echo().post("/v1/echo", body).await.violations();
    assert_eq!(fields.len(), 1, "{body}: {fields:?}");
    fields[0].clone()
}

#[tokio::test]
async fn every_scalar_type_goes_both_ways() {
    let body = json!({
        "double": 0.1, "float": 1.5, "int32": -7, "int64": "-9223372036854775808", "uint32": 4294967295_u32,
        "uint64": "18446744073709551615", "sint32": -1, "sint64": "-1", "fixed32": 1, "fixed64": "1",
        "sfixed32": -1, "sfixed64": "-1", "flag": true, "text": "grüße \u{1F600}", "bytes": "AP8=",
    });
    has(&post(body.clone()).await, body);
}

#[tokio::test]
async fn numbers_may_come_as_strings_and_64_bit_numbers_leave_as_strings() {
    let sent = json!({"int32": "7", "int64": 9007199254740993_i64, "double": "Infinity", "float": "NaN", "uint32": 2.0});
    has(
        &post(sent).await,
        json!({"int32": 7, "int64": "9007199254740993", "double": "Infinity", "float": "NaN", "uint32": 2}),
    );
}

#[tokio::test]
async fn bytes_may_come_in_either_base64_alphabet() {
    has(&post(json!({"bytes": "-_8"})).await, json!({"bytes": "+/8="}));
}

#[tokio::test]
async fn enums_come_by_name_or_number_and_leave_by_name() {
    has(
        &post(json!({"color": "COLOR_RED", "colors": [2, "COLOR_RED"]})).await,
        json!({
            "color": "COLOR_RED", "colors": ["COLOR_GREEN", "COLOR_RED"],
        }),
    );
    assert_eq!(violation_of(r#"{"color": "MAUVE"}"#).await, "color");
}

#[tokio::test]
async fn one_member_of_a_oneof_may_be_given() {
    has(&post(json!({"numberedChoice": "5"})).await, json!({"numberedChoice": "5", "namedChoice": null}));
    assert_eq!(violation_of(r#"{"namedChoice": "a", "numberedChoice": "5"}"#).await, "choice");
}

#[tokio::test]
async fn messages_lists_and_maps_nest() {
    let body = json!({
        "inner": {"name": "a", "deeper": {"number": "3"}, "smallNumbers": [1, 2]},
        "inners": [{"name": "b", "smallNumbers": []}], "counts": {"x": "1"},
        "innersByNumber": {"-3": {"name": "c", "smallNumbers": []}}, "numbers": ["1", "2"],
    });
    has(&post(body.clone()).await, body);
}

#[tokio::test]
async fn well_known_types_have_their_own_json() {
    let body = json!({
        "time": "2030-01-31T12:00:00.500Z", "times": ["1970-01-01T00:00:00Z"], "duration": "-1.500s",
        "mask": "inner.smallNumbers,text", "wrappedInt64": "0", "wrappedText": "", "wrappedFlag": false,
        "wrappedBytes": "", "object": {"a": [1.0, null, {"b": true}]},
    });
    has(&post(body.clone()).await, body);
}

#[tokio::test]
async fn a_time_in_another_zone_is_the_same_time() {
    has(&post(json!({"time": "2030-01-31T14:00:00+02:00"})).await, json!({"time": "2030-01-31T12:00:00Z"}));
}

#[tokio::test]
async fn fields_without_presence_are_written_with_their_defaults_and_others_when_set() {
    let empty = post(json!({})).await;
    has(
        &empty,
        json!({"int64": "0", "text": "", "flag": false, "color": "COLOR_UNSPECIFIED", "texts": [], "counts": {}}),
    );
    for absent in ["inner", "maybe", "namedChoice", "time", "wrappedText"] {
        assert!(empty.get(absent).is_none(), "{absent}");
    }
    has(&post(json!({"maybe": 0})).await, json!({"maybe": 0}));
}

#[tokio::test]
async fn fields_may_be_named_as_in_the_proto_file_and_leave_with_their_json_names() {
    has(
        &post(json!({"wrapped_text": "a", "renamed": "b"})).await,
        json!({"wrappedText": "a", "another": "b"}),
    );
    has(&post(json!({"another": "b"})).await, json!({"another": "b"}));
}

#[tokio::test]
async fn null_is_the_same_as_absent() {
    has(&post(json!({"text": null, "inner": null, "texts": null})).await, json!({"text": "", "texts": []}));
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_its_path() {
    assert_eq!(violation_of(r#"{"nope": 1}"#).await, "nope");
    assert_eq!(violation_of(r#"{"inners": [{}, {"nope": {"a": 1}}]}"#).await, "inners[1].nope");
    assert_eq!(
        violation_of(r#"{"itself": {"inner": {"deeper": {"nope": 1}}}}"#).await,
        "itself.inner.deeper.nope"
    );
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused_by_its_path() {
    for (body, field) in [
        (r#"{"inner": {"name": 7}}"#, "inner.name"),
        (r#"{"numbers": ["1", "x"]}"#, "numbers[1]"),
        (r#"{"int32": 2147483648}"#, "int32"),
        (r#"{"uint64": -1}"#, "uint64"),
        (r#"{"int32": 1.5}"#, "int32"),
        (r#"{"flag": "true"}"#, "flag"),
        (r#"{"bytes": "?"}"#, "bytes"),
        (r#"{"time": "yesterday"}"#, "time"),
        (r#"{"duration": "1m"}"#, "duration"),
        (r#"{"mask": "snake_case"}"#, "mask"),
        (r#"{"int32": 1e999}"#, "int32"),
        (r#"{"inner": {"smallNumbers": [1, "x"]}}"#, "inner.small_numbers[1]"),
        (r#"{"counts": {"x": "y"}}"#, "counts[x]"),
        (r#"{"counts": []}"#, "counts"),
        (r#"{"texts": "a"}"#, "texts"),
        (r#"{"inner": []}"#, "inner"),
    ] {
        assert_eq!(violation_of(body).await, field, "{body}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_a_field_must_be_and_does_not_repeat_what_was_sent() {
    for (body, rule) in [
        (r#"{"inner": {"name": 4242424242424242}}"#, "must be a string"),
        (r#"{"int64": "4242 4242 4242 4242"}"#, "must be a 64-bit integer"),
        (r#"{"int32": 4242424242424242}"#, "must be a 32-bit integer"),
        (r#"{"color": "4242424242424242"}"#, "must be the name or the number of a value of Color"),
        (r#"{"time": "4242424242424242"}"#, "must be a time as in RFC 3339, such as 2030-01-31T12:00:00Z"),
        (r#"{"texts": 4242424242424242}"#, "must be a list"),
        (r#"{"counts": 4242424242424242}"#, "must be an object"),
        (r#"{"inner": "4242424242424242"}"#, "must be an object"),
        (r#""4242424242424242""#, "the body must be one JSON object"),
    ] {
        let problem = echo().post("/v1/echo", body).await.problem(400);
        assert_eq!(problem["violations"][0]["description"], rule, "{body}");
        assert_eq!(
            (&problem["reason"], &problem["domain"]),
            (&json!("INVALID_REQUEST"), &json!("storeline"))
        );
        assert!(!problem.to_string().contains("4242"), "{problem}");
    }
}

#[tokio::test]
async fn a_field_that_is_given_twice_is_refused_whatever_it_is_called() {
    for (body, field) in [
        (r#"{"text": "a", "text": "a"}"#, "text"),
        (r#"{"wrappedText": "a", "wrapped_text": "b"}"#, "wrapped_text"),
        (r#"{"text": null, "text": "b"}"#, "text"),
        (r#"{"inners": [{}, {"name": "a", "name": "b"}]}"#, "inners[1].name"),
        (
            r#"{"itself": {"inner": {"smallNumbers": [1], "small_numbers": [2]}}}"#,
            "itself.inner.small_numbers",
        ),
        (r#"{"counts": {"a_b": "1", "a_b": "2"}}"#, "counts[a_b]"),
        (r#"{"innersByNumber": {"-3": {"name": "c", "name": "c"}}}"#, "inners_by_number[-3].name"),
    ] {
        assert_eq!(violation_of(body).await, field, "{body}");
    }
    has(&post(json!({"counts": {"a_b": "1", "aB": "2"}})).await, json!({"counts": {"a_b": "1", "aB": "2"}}));
}

#[tokio::test]
async fn names_of_a_client_are_cut_before_they_are_told() {
    let long = "n".repeat(100_000);
    let answer = echo().post("/v1/echo", &format!(r#"{{"{long}": 1}}"#)).await;
    answer.problem(400);
    assert!(answer.body.len() < 1_000, "{}", answer.body.len());
}

#[tokio::test]
async fn a_body_that_is_not_one_json_value_is_refused() {
    for body in ["{", "{} {}", "nope", "{\"text\": \"\u{1}\"}", "{\"text\": 'a'}", "{\"text\": \"\\ud800\"}"]
    {
        assert_eq!(violation_of(body).await, "", "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_refused() {
    let body = axum::body::Body::from(b"{\"text\": \"\xff\"}".to_vec());
    let mut asked = request("POST", "/v1/echo", &[("content-type", "application/json")], "");
    *asked.body_mut() = body;
    let problem = echo().ask(asked).await.problem(400);
    assert!(problem["violations"][0]["description"].as_str().unwrap().contains("UTF-8"), "{problem}");
}

#[tokio::test]
async fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "{\"itself\":".repeat(depth - 1) + "{", "}".repeat(depth));
    let allowed = echo().post("/v1/echo", &nested(api_gateway::MAX_JSON_DEPTH)).await;
    assert_eq!(allowed.status, 200, "{:?}", allowed.body);
    echo().post("/v1/echo", &nested(api_gateway::MAX_JSON_DEPTH + 1)).await.problem(400);
    echo().post("/v1/echo", &"[".repeat(100_000)).await.problem(400);
    let object = format!("{{\"object\":{}}}", nested(api_gateway::MAX_JSON_DEPTH - 1));
    assert_eq!(
        echo().post("/v1/echo", &object).await.status,
        200,
        "the deepest object is one that services can decode"
    );
}

#[tokio::test]
async fn only_json_is_a_body_and_an_empty_one_is_an_empty_message() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"] {
        echo().ask(request("POST", "/v1/echo", &[("content-type", kind)], "{}")).await.problem(415);
    }
    echo().ask(request("POST", "/v1/echo", &[], "{}")).await.problem(415);
    let encoded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    echo().ask(request("POST", "/v1/echo", &encoded, "{}")).await.problem(415);
    assert_eq!(echo().ask(request("POST", "/v1/echo", &[], "")).await.status, 200);
    echo().ask(request("PUT", "/v1/inner", &[], "")).await.problem(400);
    echo().ask(request("GET", "/v1/echo", &[], "{}")).await.problem(400);
}

#[tokio::test]
async fn queries_carry_every_kind_of_single_field() {
    let answer = get(
        "/v1/echo?double=-0.5&int32=-7&int64=-9223372036854775808&uint64=18446744073709551615&flag=true&\
         text=a%20b+c%26&bytes=AP8%3D&color=COLOR_RED&maybe=0&time=2030-01-31T12:00:00Z&duration=1.5s&\
         wrappedInt64=7&wrappedText=&wrappedFlag=false&wrappedBytes=AP8&namedChoice=x&another=y",
    )
    .await;
    has(
        &answer.json(),
        json!({
            "double": -0.5, "int32": -7, "int64": "-9223372036854775808", "uint64": "18446744073709551615",
            "flag": true, "text": "a b c&", "bytes": "AP8=", "color": "COLOR_RED", "maybe": 0,
            "time": "2030-01-31T12:00:00Z", "duration": "1.500s", "wrappedInt64": "7", "wrappedText": "",
            "wrappedFlag": false, "wrappedBytes": "AP8=", "namedChoice": "x", "another": "y",
        }),
    );
}

#[tokio::test]
async fn queries_carry_nested_fields_by_either_name() {
    let answer =
        get("/v1/echo?inner.name=a&inner.deeper.number=3&inner.small_numbers=1&itself.wrappedText=b").await;
    has(&answer.json(), json!({"inner": {"name": "a", "deeper": {"number": "3"}, "smallNumbers": [1]}}));
    assert_eq!(answer.json()["itself"]["wrappedText"], "b");
}

#[tokio::test]
async fn repeated_query_parameters_are_a_list_in_their_order() {
    let answer = get("/v1/echo?texts=b&texts=a&texts=&numbers=2&numbers=1&colors=2&colors=COLOR_RED&\
        times=1970-01-01T00:00:00Z&inner.smallNumbers=2&inner.smallNumbers=1")
    .await;
    has(
        &answer.json(),
        json!({
            "texts": ["b", "a", ""], "numbers": ["2", "1"], "colors": ["COLOR_GREEN", "COLOR_RED"],
            "times": ["1970-01-01T00:00:00Z"],
        }),
    );
    assert_eq!(answer.json()["inner"]["smallNumbers"], json!([2, 1]));
}

#[tokio::test]
async fn a_mask_in_a_query_may_be_written_in_either_case() {
    for mask in ["inner.smallNumbers,text", "inner.small_numbers,text", "inner.smallNumbers%2Ctext"] {
        has(&get(&format!("/v1/echo?mask={mask}")).await.json(), json!({"mask": "inner.smallNumbers,text"}));
    }
}

#[tokio::test]
async fn a_query_parameter_that_does_not_fit_is_refused_by_its_name() {
    for (query, field) in [
        ("nope=1", "nope"),
        ("wrappedInt64=x", "wrapped_int64"),
        ("inner.nope=1", "inner.nope"),
        ("text.nope=1", "text.nope"),
        ("int32=x", "int32"),
        ("int32=", "int32"),
        ("int32=1&int32=2", "int32"),
        ("flag=yes", "flag"),
        ("color=MAUVE", "color"),
        ("counts.x=1", "counts.x"),
        ("counts=1", "counts"),
        ("inner=1", "inner"),
        ("inners.name=1", "inners.name"),
        ("object=1", "object"),
        ("namedChoice=a&numberedChoice=1", "numbered_choice"),
        ("text=%ff", "text"),
        ("time=now", "time"),
    ] {
        assert_eq!(get(&format!("/v1/echo?{query}")).await.violations(), [field], "{query}");
    }
}

#[tokio::test]
async fn all_violations_of_a_query_are_told_at_once() {
    assert_eq!(get("/v1/echo?nope=1&int32=x&text=ok").await.violations(), ["nope", "int32"]);
}

#[tokio::test]
async fn query_parameters_have_a_limit() {
    let query = "texts=a&".repeat(api_gateway::MAX_QUERY_PARAMETERS);
    assert_eq!(get(&format!("/v1/echo?{query}")).await.status, 200);
    get(&format!("/v1/echo?{query}texts=a")).await.problem(400);
}

#[tokio::test]
async fn paths_carry_nested_fields_and_every_scalar() {
    has(
        &get("/v1/nested/a%2Fb%20c/-3").await.json(),
        json!({"inner": {"name": "a/b c", "deeper": {"number": "-3"}, "smallNumbers": []}}),
    );
    has(
        &get("/v1/kinds/true/2/18446744073709551615/2030-01-31T12:00:00Z").await.json(),
        json!({"flag": true, "color": "COLOR_GREEN", "uint64": "18446744073709551615", "time": "2030-01-31T12:00:00Z"}),
    );
    has(&get("/v1/shops/7/files?int32=1").await.json(), json!({"text": "shops/7", "int32": 1}));
    assert_eq!(get("/v1/nested/a/x").await.violations(), ["inner.deeper.number"]);
    assert_eq!(get("/v1/nested/%ff/1").await.violations(), ["inner.name"]);
    get("/v1/nested//1").await.problem(404);
}

#[tokio::test]
async fn a_custom_verb_is_a_route_of_its_own() {
    let harness = crate::support::Harness::new(|_| Reply::Echo);
    has(&harness.post("/v1/echo/a:shout", "{\"int32\": 1}").await.json(), json!({"text": "a", "int32": 1}));
    assert_eq!(harness.backend.calls()[0].path, "/conformance.v1.Echo/Shout");
}

#[tokio::test]
async fn a_field_in_path_and_body_must_agree() {
    let put = |body: &'static str| async move {
        echo().ask(request("PUT", "/v1/echo/a", &[("content-type", "application/json")], body)).await
    };
    has(&put("{\"int32\": 1}").await.json(), json!({"text": "a", "int32": 1}));
    has(&put("{\"text\": \"a\"}").await.json(), json!({"text": "a"}));
    assert_eq!(put("{\"text\": \"b\"}").await.violations(), ["text"]);
}

#[tokio::test]
async fn a_field_is_taken_from_one_place_only() {
    assert_eq!(echo().post("/v1/echo?int32=1", "{}").await.violations(), ["int32"]);
    assert_eq!(get("/v1/nested/a/1?inner.name=b").await.violations(), ["inner.name"]);
    let put = request("PUT", "/v1/inner?inner.name=b", &[("content-type", "application/json")], "{}");
    assert_eq!(echo().ask(put).await.violations(), ["inner.name"]);
}

#[tokio::test]
async fn a_body_may_be_one_field_and_so_may_an_answer() {
    let json = [("content-type", "application/json")];
    let inner = echo().ask(request("PUT", "/v1/inner?int32=4", &json, r#"{"name": "a"}"#)).await;
    has(&inner.json(), json!({"inner": {"name": "a", "smallNumbers": []}, "int32": 4}));
    let texts = echo().ask(request("PUT", "/v1/texts", &json, r#"["a", "b"]"#)).await;
    assert_eq!(texts.json(), json!(["a", "b"]));
    let wrong = echo().ask(request("PUT", "/v1/inner", &json, r#"{"nope": "a"}"#)).await;
    assert_eq!(wrong.violations(), ["inner.nope"]);
}

#[tokio::test]
async fn a_body_that_is_one_field_cannot_smuggle_another_in() {
    let put =
        request("PUT", "/v1/inner", &[("content-type", "application/json")], r#"{}, "text": "smuggled""#);
    assert_eq!(echo().ask(put).await.violations(), [""]);
}
