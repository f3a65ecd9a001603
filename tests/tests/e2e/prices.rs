//! Prices in time as a client meets them: a price to come is seen, takes effect by itself and is what orders cost; a
//! product that was discontinued comes back; and `shop show` prints what there was at a time.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use e2e_tests::trade::{PRICE, Placed, VIEW_DEADLINE, order_of, tokens, unique};
use e2e_tests::{Api, Finished, Shop, text};
use serde_json::{Value, json};
use testkit::eventually;

/// A command that asks the running shop.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
/// A time so far ahead that a request arrives before it; doubled for a machine that is slower.
const AHEAD: Duration = Duration::from_millis(500);

/// Schedules a price that is about to take effect.
async fn schedule_soon(api: &Api, product_id: &str, sku: &str, minor_units: i64) -> Value {
    let path = format!("/v1/products/{product_id}/variants/{sku}:schedulePrice");
    let mut ahead = AHEAD;
    loop {
        let at = (Utc::now() + ahead).to_rfc3339_opts(SecondsFormat::Micros, true);
        let price = json!({"currencyCode": "EUR", "minorUnits": minor_units.to_string()});
        let body = json!({"price": price, "effectiveTime": at, "reason": "winter sale"});
        let answer = api.post(&path, &body).operator().send().await;
        if answer.status == 200 {
            return answer.json();
        }
        assert_eq!(answer.refused(422)["reason"], "EFFECTIVE_TIME_NOT_AHEAD");
        ahead *= 2;
        assert!(ahead < COMMAND_DEADLINE, "a request takes longer than {ahead:?}");
    }
}

async fn product(api: &Api, product_id: &str) -> Value {
    api.get(&format!("/v1/products/{product_id}")).ok().await["product"].clone()
}

async fn show(shop: &Shop, arguments: &[&str]) -> Finished {
    shop.run(&[&["show", "product"], arguments].concat(), COMMAND_DEADLINE).await
}

#[tokio::test]
async fn an_order_costs_the_scheduled_price_once_it_is_in_effect() {
    let api = Shop::shared().await.api();
    let goods = api.goods(PRICE, 5).await;
    let scheduled = schedule_soon(&api, &goods.product_id, &goods.sku, 900).await;
    assert!(!text(&scheduled, "/scheduleId").is_empty());
    eventually("the price is in effect", VIEW_DEADLINE, || async {
        (text(&product(&api, &goods.product_id).await, "/variants/0/price/minorUnits") == "900").then_some(())
    })
    .await;
    let history = api.get(&format!("/v1/products/{}/prices", goods.product_id)).ok().await;
    assert_eq!(
        (&history["changes"][0]["reason"], &history["changes"][0]["price"]["minorUnits"]),
        (&json!("winter sale"), &json!("900"))
    );
    // The order service hears of it a moment later; until then it refuses the total that was seen.
    let placed = eventually("an order at the new price", VIEW_DEADLINE, || async {
        let mut order = order_of(&goods, 1, tokens::SUCCESS);
        order["expectedTotal"] = json!({"currencyCode": "EUR", "minorUnits": "900"});
        let answer = api.post("/v1/orders", &order).key(&unique("order")).send().await;
        if answer.status == 200 {
            return Some(Placed::from_answer(&answer));
        }
        assert_eq!(answer.refused(422)["reason"], "PRICE_CHANGED");
        None
    })
    .await;
    assert_eq!(api.ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED");
}

#[tokio::test]
async fn a_reinstated_product_can_be_ordered_again() {
    let api = Shop::shared().await.api();
    let goods = api.goods(PRICE, 5).await;
    let change = async |verb: &str, reason: &str| {
        let path = format!("/v1/products/{}:{verb}", goods.product_id);
        text(&api.post(&path, &json!({"reason": reason})).operator().ok().await, "/position")
    };
    let order = |position: &str| {
        let mut order = order_of(&goods, 1, tokens::SUCCESS);
        order["minPosition"] = json!(position);
        order
    };
    let ended = change("discontinue", "sold out").await;
    let refused = api.post("/v1/orders", &order(&ended)).key(&unique("order")).refused(422).await;
    assert_eq!(refused["reason"], "PRODUCT_DISCONTINUED");
    let back = change("reinstate", "found more").await;
    let placed = api.place(&order(&back)).await;
    assert_eq!(api.ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED");
}

#[tokio::test]
async fn the_command_line_shows_a_product_as_it_was_and_says_why_when_it_cannot() {
    let shop = Shop::shared().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 0).await;
    let (id, sku) = (goods.product_id.as_str(), goods.sku.as_str());
    let created = product(&api, id).await;
    let path = format!("/v1/products/{id}/variants/{sku}:changePrice");
    let body = json!({"price": {"currencyCode": "EUR", "minorUnits": "990"}, "reason": "season"});
    let changed = api.post(&path, &body).operator().ok().await["product"].clone();

    let now = show(shop, &[id]).await.ok();
    assert!(now.contains(sku) && now.contains("9.90 EUR"), "{now}");
    let then = show(shop, &[id, "--at", &text(&created, "/updatedAt")]).await.ok();
    assert!(then.contains("12.50 EUR") && !then.contains("9.90 EUR"), "{then}");
    for (at, expected) in [(&created, "1250"), (&changed, "990")] {
        let json = show(shop, &[id, "--json", "--at", &text(at, "/updatedAt")]).await.ok();
        let json: Value = serde_json::from_str(&json).expect("it prints JSON");
        assert_eq!(
            json["product"]["variants"][0]["price"],
            json!({"currencyCode": "EUR", "minorUnits": expected})
        );
        assert_eq!(
            (&json["product"]["etag"], &json["product"]["updatedAt"]),
            (&at["etag"], &at["updatedAt"])
        );
    }

    let future = (Utc::now() + TimeDelta::days(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    for (arguments, said) in [
        (vec!["018f0000-0000-7000-8000-000000000000"], "PRODUCT_NOT_FOUND"),
        (vec![id, "--at", "2020-01-31T12:00:00Z"], "PRODUCT_NOT_THERE_YET"),
        (vec![id, "--at", future.as_str()], "must not be in the future"),
        (vec![id, "--at", "yesterday"], "2030-01-31T12:00:00Z"),
        (vec!["knife"], "must be a product id"),
    ] {
        let refused = show(shop, &arguments).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(refused.stderr.contains(said) && refused.stdout.is_empty(), "{said}: {refused:?}");
    }
}
