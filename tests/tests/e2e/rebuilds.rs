//! Read models made anew in the middle of the day, as people see it: through REST, the command line and the audit.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e_tests::trade::{PRICE, order_of, tokens, unique};
use e2e_tests::{ANSWER_DEADLINE, Api, Shop, eventually, text};
use serde_json::Value;
use tokio::task::JoinSet;

use e2e_tests::shoppers::everything_ends;

/// A command, on a busy machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);
/// A whole rebuild, which makes way for others.
const REBUILT: Duration = Duration::from_secs(180);
const MODEL: &str = "product.read-model";
/// So many products that a rebuild takes a while.
const PRODUCTS: usize = 1_200;
/// Products that readers look for in every list.
const WATCHED: usize = 30;

/// Imports products, and returns the handle that theirs begin with.
async fn stock_up(shop: &Shop, products: usize) -> String {
    let handle = unique("rebuilt");
    let mut file = String::from("Handle,Title,Vendor,Option1 Name,Option1 Value,SKU,Price,Currency\n");
    for n in 0..products {
        writeln!(file, "{handle}-{n},Goods {n},{handle},,,{handle}-{n}-A,1.00,EUR")
            .expect("a text takes all");
    }
    let path = shop.scratch().path().join(format!("{handle}.csv"));
    fs::write(&path, file).expect("the scratch folder can be written");
    shop.run(&["import", path.to_str().expect("the path is text")], COMMAND_DEADLINE).await.ok();
    handle
}

/// What `shop rebuild --list` says of the model.
async fn listed(shop: &Shop) -> Value {
    let lines = shop.run(&["rebuild", "--list", "--json"], COMMAND_DEADLINE).await.ok();
    let models = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    models.into_iter().find(|rebuild| rebuild["model"] == MODEL).expect("the model is listed")
}

/// Reads the products of a brand and one of them, again and again. Returns how often.
async fn read_until(done: Arc<AtomicBool>, api: Api, brand: String) -> usize {
    let mut reads = 0;
    let mut ids = BTreeSet::new();
    while !done.load(Ordering::Relaxed) {
        let products = api.list("/v1/products", &format!("brand={brand}"), "products").await;
        let seen: BTreeSet<String> = products.iter().map(|product| text(product, "/productId")).collect();
        assert!(seen.len() >= WATCHED && ids.is_subset(&seen), "products are missing: {} seen", seen.len());
        for id in seen.iter().take(5) {
            let product = api.get(&format!("/v1/products/{id}")).ok().await;
            assert_eq!(text(&product, "/product/brand"), brand);
        }
        ids = seen;
        reads += 1;
    }
    reads
}

/// Places orders, and changes prices and reads them back. Returns the orders.
async fn trade_until(done: Arc<AtomicBool>, api: Api) -> usize {
    let goods = api.goods(PRICE, 100_000).await;
    let mut placed = 0;
    while !done.load(Ordering::Relaxed) {
        let order = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
        api.ended(&order).await;
        placed += 1;
        // Whoever creates a product reads it at once, whichever version serves.
        let created = api.goods(PRICE, 1).await;
        let path = format!("/v1/products/{}?minPosition={}", created.product_id, created.position);
        api.get(&path).ok().await;
    }
    placed
}

#[tokio::test]
async fn models_are_rebuilt_while_people_shop_and_nobody_sees_an_error_or_a_gap() {
    let shop = Shop::start().await;
    let brand = stock_up(&shop, WATCHED).await;
    eventually("what was imported is listed", ANSWER_DEADLINE, async || {
        let products = shop.api().list("/v1/products", &format!("brand={brand}"), "products").await;
        (products.len() == WATCHED).then_some(())
    })
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let mut work = JoinSet::new();
    for _ in 0..3 {
        work.spawn(read_until(Arc::clone(&done), shop.api(), brand.clone()));
    }
    for _ in 0..2 {
        work.spawn(trade_until(Arc::clone(&done), shop.api()));
    }
    for model in [
        MODEL,
        "inventory.read-model",
        "order.catalogue",
        "order.orders",
        "payment.read-model",
        "saga.read-model",
    ] {
        let said = shop.run(&["rebuild", model], COMMAND_DEADLINE).await.ok();
        for expected in [model, "serves since", "the former version is kept until", "--switch-back"] {
            assert!(said.contains(expected), "{said}");
        }
    }
    let said = shop.run(&["rebuild", MODEL, "--switch-back"], COMMAND_DEADLINE).await.ok();
    assert!(said.contains("serves since"), "{said}");
    shop.audit().await;
    done.store(true, Ordering::Relaxed);
    for worked in work.join_all().await {
        assert!(worked > 0);
    }
    everything_ends(&shop.api()).await;
    shop.audit().await;

    let reactor = shop.run(&["rebuild", "payment.provider-calls"], COMMAND_DEADLINE).await;
    assert!(reactor.code != Some(0) && reactor.output().contains("NOT_A_READ_MODEL"), "{reactor:?}");
    let unknown = shop.run(&["rebuild", "nonsense"], COMMAND_DEADLINE).await;
    assert!(unknown.code != Some(0) && unknown.output().contains("--list"), "{unknown:?}");
}

#[tokio::test]
async fn a_rebuild_in_a_shop_that_is_killed_goes_on_by_itself_and_one_that_is_abandoned_leaves_nothing() {
    let mut shop = Shop::start().await;
    let brand = stock_up(&shop, PRODUCTS).await;
    let before = eventually("one is in the middle", REBUILT, async || {
        let now = listed(&shop).await;
        if now["state"] == "SERVING" {
            // Not begun, or over already.
            shop.run(&["rebuild", MODEL, "--no-wait"], COMMAND_DEADLINE).await.ok();
        }
        (now["state"] == "FILLING" && now["position"].as_i64() > Some(0)).then_some(now)
    })
    .await;
    shop.kill();
    shop.restart().await;
    eventually("it is switched to", REBUILT, async || {
        let now = listed(&shop).await;
        assert_ne!(now["state"], "FAILED", "{now}");
        (now["state"] == "SERVING" && now["switchedAt"] != before["switchedAt"]).then_some(())
    })
    .await;
    eventually("all products are listed", ANSWER_DEADLINE, async || {
        let products = shop.api().list("/v1/products", &format!("brand={brand}"), "products").await;
        (products.len() == PRODUCTS).then_some(())
    })
    .await;
    shop.audit().await;

    eventually("one is abandoned before its end", REBUILT, async || {
        let before = listed(&shop).await;
        shop.run(&["rebuild", MODEL, "--no-wait"], COMMAND_DEADLINE).await.ok();
        let abandoned = shop.run(&["rebuild", MODEL, "--abandon"], COMMAND_DEADLINE).await;
        let after = listed(&shop).await;
        assert_eq!(after["state"], "SERVING", "{after}");
        (abandoned.code == Some(0)).then(|| assert_eq!(after["switchedAt"], before["switchedAt"]))
    })
    .await;
    shop.audit().await;
}
