//! REST as a client meets it that does something wrong, and the pages beside the API.

use std::collections::HashSet;

use e2e_tests::trade::{PRICE, order_of, product, tokens, unique};
use e2e_tests::{Answer, text};
use reqwest::Method;
use serde_json::{Value, json};

const JSON: &str = "application/json";
/// Bytes in a body, at most.
const BODY_LIMIT: usize = 1024 * 1024;

#[tokio::test]
async fn whatever_is_not_there_is_a_problem_document() {
    let api = crate::stage().await.api();
    for path in ["/", "/v1", "/v1/nothing", "/v2/orders", "/v1/orders/x/y/z", "/v1/products/%ff", "/metrics"]
    {
        let answer = api.get(path).operator().send().await;
        assert!([400, 404].contains(&answer.status), "{answer}");
        answer.refused(answer.status);
    }
    let nobody = "018f0000-0000-7000-8000-000000000000";
    for path in ["products", "orders", "payments", "reservations", "sagas"] {
        let problem = api.get(&format!("/v1/{path}/{nobody}")).operator().refused(404).await;
        assert!(problem["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{problem}");
    }
    let wrong = api.call(Method::DELETE, "/v1/orders").operator().send().await;
    wrong.refused(405);
    let allowed: HashSet<&str> = wrong.header("allow").split(", ").collect();
    assert_eq!(allowed, HashSet::from(["GET", "HEAD", "POST"]));
}

#[tokio::test]
async fn a_body_that_is_no_order_is_a_problem_that_names_what_is_wrong() {
    let api = crate::stage().await.api();
    for broken in ["{", "[]", "7", "{\"lines\": [}", "{\"lines\": 7}", "{\"nonsense\": 1}", "\u{feff}{}", ""]
    {
        api.call(Method::POST, "/v1/orders").text(JSON, broken).send().await.refused(400);
    }
    let sent = |kind: &'static str| api.call(Method::POST, "/v1/orders").text(kind, "lines=1").send();
    sent("application/x-www-form-urlencoded").await.refused(415);

    let goods = api.goods(PRICE, 1).await;
    for (pointer, wrong, field) in [
        ("/lines/0/quantity", json!("0"), "lines[0].quantity"),
        ("/lines/0/quantity", json!("-1"), "lines[0].quantity"),
        ("/lines/0/quantity", json!("9223372036854775807"), "lines[0].quantity"),
        ("/lines/0/sku", json!(""), "lines[0].sku"),
        ("/contact/email", json!("nobody"), "contact.email"),
        ("/contact/shippingAddress/countryCode", json!("Germany"), "contact.shipping_address.country_code"),
        ("/paymentToken", json!("4242 4242 4242 4242"), "payment_token"),
        ("/paymentToken", json!("4242424242424242"), "payment_token"),
        ("/contact/deliveryNote", json!("my card is 4242-4242-4242-4242"), "contact.delivery_note"),
    ] {
        let mut order = order_of(&goods, 1, tokens::SUCCESS);
        *order.pointer_mut(pointer).expect("the order has it") = wrong.clone();
        let problem = api.post("/v1/orders", &order).key(&unique("order")).refused(400).await;
        let fields: Vec<String> = problem["violations"]
            .as_array()
            .map(|all| all.iter().map(|violation| text(violation, "/field")).collect())
            .unwrap_or_default();
        assert!(fields.iter().any(|named| named == field), "{field} is not named: {problem}");
        let told = problem.to_string();
        assert!(!told.contains("4242"), "a card number is repeated: {told}");
    }
    api.stock_becomes(&goods.sku, 1, 0, 0).await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_the_shop_goes_on() {
    let api = crate::stage().await.api();
    // Little beyond it, so that the shop, which stops reading at the limit, has nothing left to cut off.
    let huge = json!({"name": "x".repeat(BODY_LIMIT)});
    let refused = api.post("/v1/products", &huge).operator().send().await;
    refused.refused(413);
    assert_eq!(refused.header("connection"), "close", "nobody is to use this connection again");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    api.call(Method::POST, "/v1/orders").text(JSON, deep).send().await.refused(400);
    api.get("/v1/products").ok().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request_and_an_etag_to_one_version() {
    let api = crate::stage().await.api();
    let sku = unique("MUG");
    let create = |price: i64| api.post("/v1/products", &product(&sku, price)).operator().key(&sku);
    let first = create(PRICE).send().await;
    let again = create(PRICE).send().await;
    assert_eq!(first.ok(), again.ok(), "a repeat has the first answer");
    let reused = create(PRICE + 1).refused(422).await;
    assert_eq!(reused["reason"], "REQUEST_ID_REUSED", "{reused}");

    let path = format!("/v1/products/{}", text(&first.ok(), "/product/productId"));
    let etag = text(&first.ok(), "/product/etag");
    assert_eq!(first.header("etag"), etag, "the header and the body name the same version");
    let rename = |name: &str, etag: &str| {
        let body = json!({"updateMask": "name", "name": name});
        api.patch(&path, &body).operator().key(&unique("rename")).header("if-match", etag)
    };
    let renamed = rename("Tin mug", &etag).ok().await;
    assert_eq!(renamed["product"]["name"], "Tin mug");
    let stale = rename("Steel mug", &etag).refused(412).await;
    assert_eq!(stale["reason"], "ETAG_MISMATCH", "{stale}");
    // With its position: another replica may show what was before for a moment.
    let read = || api.get(&path).at_position(&text(&renamed, "/position"));
    let named = read().send().await;
    assert_eq!(named.ok()["product"]["name"], "Tin mug");
    let unchanged = read().header("if-none-match", named.header("etag")).send().await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
}

#[tokio::test]
async fn goods_that_arrive_change_the_etag_of_a_read_and_not_the_version_that_a_write_names() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, 0).await;
    let path = format!("/v1/products/{}", goods.product_id);
    let sold_out = api.get(&path).at_position(&goods.position).send().await;
    let is_in_stock = |answer: &Answer| answer.ok()["product"]["variants"][0]["inStock"] == true;
    assert!(!is_in_stock(&sold_out), "{sold_out}");
    let asked =
        |known: &str| api.get(&path).at_position(&goods.position).header("if-none-match", known).send();
    let unchanged = asked(sold_out.header("etag")).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, sold_out.header("etag")));

    api.receive(&goods.sku, 1).await;
    let in_stock = e2e_tests::eventually("the read differs", e2e_tests::ANSWER_DEADLINE, async || {
        Some(asked(sold_out.header("etag")).await).filter(|answer| answer.status != 304)
    })
    .await;
    assert!(is_in_stock(&in_stock), "{in_stock}");
    assert_eq!(in_stock.ok()["product"]["etag"], sold_out.ok()["product"]["etag"], "no event of the product");
    assert_ne!(in_stock.header("etag"), sold_out.header("etag"));
    // Each replica learns of the goods by itself.
    let unchanged = e2e_tests::eventually("it is unchanged", e2e_tests::ANSWER_DEADLINE, async || {
        Some(asked(in_stock.header("etag")).await).filter(|answer| answer.status == 304)
    })
    .await;
    assert_eq!(unchanged.header("etag"), in_stock.header("etag"));

    let rename = |etag: &str| {
        let body = json!({"updateMask": "name", "name": "Tin mug"});
        api.patch(&path, &body).operator().key(&unique("rename")).header("if-match", etag)
    };
    let renamed = rename(sold_out.header("etag")).send().await;
    assert_eq!(renamed.header("etag"), text(&renamed.ok(), "/product/etag"), "a change has the bare tag");
    assert_eq!(rename(in_stock.header("etag")).refused(412).await["reason"], "ETAG_MISMATCH");
}

#[tokio::test]
async fn lists_have_pages_whose_tokens_belong_to_their_filter() {
    let api = crate::stage().await.api();
    let brand = unique("Brand");
    for _ in 0..5 {
        let mut body = product(&unique("MUG"), PRICE);
        body["brand"] = json!(brand);
        api.post("/v1/products", &body).operator().key(&unique("product")).ok().await;
    }
    let page = |size: u32, token: &str| {
        api.get(&format!("/v1/products?brand={brand}&pageSize={size}&pageToken={token}")).ok()
    };
    e2e_tests::eventually("five products are listed", e2e_tests::ANSWER_DEADLINE, async || {
        (page(50, "").await["products"].as_array().map(Vec::len) == Some(5)).then_some(())
    })
    .await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let answer = page(2, &token).await;
        let products = answer["products"].as_array().cloned().unwrap_or_default();
        assert!((1..=2).contains(&products.len()), "{answer}");
        seen.extend(products.iter().map(|product| text(product, "/productId")));
        token = text(&answer, "/nextPageToken");
        if token.is_empty() {
            break;
        }
        let stolen = format!("/v1/products?brand=Another&pageSize=2&pageToken={token}");
        api.get(&stolen).refused(400).await;
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5, "each product is on one page");
    api.get("/v1/products?pageToken=nonsense").refused(400).await;
    api.get("/v1/products?pageSize=-1").refused(400).await;
}

#[tokio::test]
async fn the_pages_beside_the_api_are_there_and_metrics_only_on_their_own_listener() {
    let shop = crate::stage().await;
    let api = shop.api();
    for probe in ["/healthz", "/readyz"] {
        // Not at once: a database that is slow for a moment is one that is not ready.
        testkit::eventually(probe, testkit::SOON, async || {
            (api.get(probe).send().await.status == 200).then_some(())
        })
        .await;
    }
    let docs = api.get("/docs").send().await;
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-type").starts_with("text/html"), "{docs}");
    assert!(!String::from_utf8_lossy(&docs.body).contains("https://"), "nothing is fetched from elsewhere");
    let document = api.get("/openapi.json").ok().await;
    assert!(text(&document, "/openapi").starts_with("3.1"), "{document}");
    for path in ["/v1/products", "/v1/orders", "/v1/stock", "/v1/payments", "/v1/sagas"] {
        assert!(document["paths"].get(path).is_some_and(Value::is_object), "{path} is not described");
    }

    let client = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let metrics = client.get(format!("http://{}/metrics", shop.admin())).send().await.expect("it answers");
    let metrics = metrics.text().await.expect("it is text");
    assert!(metrics.contains("http_server_handled_total{"), "{metrics}");
    let token = shop.secret("operator.token");
    assert!(!metrics.contains(&token));
}
