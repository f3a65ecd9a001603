//! Who may do what: the shop's operators everything, a shopper what concerns their own order, everybody what is public.

use e2e_tests::at;
use e2e_tests::trade::{PRICE, order_of, tokens, unique};
use reqwest::Method;
use serde_json::{Value, json};

const WRONG: &str = "0123456789abcdef0123456789abcdef";

/// Every operation of the shop as (method, path with something in its variables, who may).
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let mut operations = Vec::new();
    for (path, methods) in at(document, "/paths").as_object().expect("paths are an object") {
        let filled: Vec<String> = path
            .split('/')
            .map(|segment| match (segment.find('{'), segment.find('}')) {
                (Some(begin), Some(end)) => {
                    format!(
                        "{}018f0000-0000-7000-8000-000000000000{}",
                        &segment[..begin],
                        &segment[end + 1..]
                    )
                }
                _ => segment.to_owned(),
            })
            .collect();
        for (method, operation) in methods.as_object().expect("methods are an object") {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            if let Some(security) = operation.get("security") {
                operations.push((method, filled.join("/"), security.clone()));
            }
        }
    }
    operations
}

#[tokio::test]
async fn every_route_that_is_not_public_is_closed_to_those_without_a_valid_token() {
    let shop = crate::stage().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 1).await;
    let shopper = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    let document = api.get("/openapi.json").ok().await;
    let operations = operations(&document);
    let (mut of_operators, mut of_shoppers) = (0, 0);
    for (method, path, security) in operations {
        let call = || match method {
            Method::GET => api.call(method.clone(), &path),
            _ => api.call(method.clone(), &path).text("application/json", "{}"),
        };
        if security == json!([{"operatorToken": []}]) {
            of_operators += 1;
            for answer in [call().send().await, call().bearer(WRONG).send().await] {
                answer.refused(401);
                assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer}");
            }
            call().bearer(&shopper.token).send().await.refused(401);
            call().bearer(&shop.secret("service.token")).send().await.refused(403);
        } else if security != json!([]) {
            of_shoppers += 1;
            call().send().await.refused(401);
            call().bearer(WRONG).send().await.refused(403);
            call().bearer(&shopper.token).send().await.refused(403);
        }
    }
    assert!(of_operators >= 20 && of_shoppers >= 4, "{of_operators} and {of_shoppers} routes were tried");
}

#[tokio::test]
async fn an_order_is_opened_by_its_own_token_and_the_operator_s_and_by_no_other_order_s() {
    let shop = crate::stage().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 2).await;
    let mine = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    let theirs = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    api.ended(&mine).await;
    api.ended(&theirs).await;
    for path in ["", "/history", "/events"] {
        let path = format!("/v1/orders/{}{path}", mine.order_id);
        let refused = api.get(&path).bearer(&theirs.token).refused(403).await;
        let unknown =
            format!("/v1/orders/018f0000-0000-7000-8000-000000000000{}", &path[11 + mine.order_id.len()..]);
        let probed = api.get(&unknown).bearer(&theirs.token).refused(403).await;
        assert_eq!(refused["reason"], probed["reason"], "ids cannot be probed");
    }
    let path = format!("/v1/orders/{}:cancel", mine.order_id);
    let cancel = json!({"reason": "MISCHIEF"});
    api.post(&path, &cancel).bearer(&theirs.token).key(&unique("cancel")).refused(403).await;
    assert_eq!(api.order(&mine).await["status"], "ORDER_STATUS_CONFIRMED");
    let read = api.get(&format!("/v1/orders/{}", mine.order_id)).operator().ok().await;
    assert_eq!(read["order"]["orderId"], mine.order_id);
}

#[tokio::test]
async fn a_repeat_by_somebody_else_does_not_get_the_first_one_s_answer() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, 3).await;
    let key = unique("receive");
    let path = format!("/v1/stock/{}:receive", goods.sku);
    let body = json!({"quantity": "1"});
    api.post(&path, &body).operator().key(&key).ok().await;
    api.post(&path, &body).bearer(WRONG).key(&key).refused(401).await;
}
