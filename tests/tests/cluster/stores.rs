//! PostgreSQL and Redis stop and die while people shop.

use e2e_tests::cluster::Options;
use e2e_tests::trade::{Goods, ORDER_DEADLINE, PRICE, VIEW_DEADLINE};
use e2e_tests::{Api, number};
use testkit::redis::Redis;
use testkit::{Stop, eventually, kafka};

use crate::scene::{SOME, Scene, options, postgres, set_price, turn};

/// Every process has pools of connections of its own.
const POSTGRES_SETTINGS: [&str; 1] = ["max_connections=400"];
/// Clients have quotas, so that Redis is asked for each request, which they cannot use up.
const QUOTAS: [(&str, &str); 5] = [
    ("STORELINE_RATE_LIMITS", "true"),
    ("STORELINE_RATE_READS", "1000000/1m"),
    ("STORELINE_RATE_CHANGES", "1000000/1m"),
    ("STORELINE_RATE_SEARCH", "1000000/1m"),
    ("STORELINE_RATE_ORDERS", "1000000/1m"),
];
/// Reads of a price that has been seen.
const LOOKS: usize = 10;

#[tokio::test]
async fn postgresql_is_restarted_and_crashes_and_everything_goes_on() {
    let turn = turn().await;
    let mut postgres = testkit::Cluster::start_with(&POSTGRES_SETTINGS).await;
    let scene = Scene::start(turn, options(postgres.url(), kafka::bootstrap())).await;
    for how in [Stop::Fast, Stop::Immediate] {
        postgres.restart(how).await;
        scene.goes_on().await;
    }
    scene.settle("PostgreSQL restarted, fast and immediate").await;
}

#[tokio::test]
async fn redis_is_flushed_freezes_and_dies_and_no_answer_changes() {
    let turn = turn().await;
    let mut redis = Redis::start().await;
    let mut shared = Options { redis: Some(redis.url()), ..options(postgres(), kafka::bootstrap()) };
    shared.variables.extend(QUOTAS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let scene = Scene::start(turn, shared).await;
    let api = scene.api();
    let goods = api.goods(PRICE, 0).await;
    let mut prices = PRICE + 1..;
    let mut is_right =
        async || a_new_price_is_read(&api, &goods, prices.next().expect("there is no end")).await;
    is_right().await;
    redis.flush();
    is_right().await;
    redis.freeze();
    is_right().await;
    scene.shoppers.more(SOME).await;
    redis.thaw();
    is_right().await;
    redis.kill();
    is_right().await;
    scene.shoppers.more(SOME).await;
    redis.start_again().await;
    is_right().await;
    scene.goes_on().await;
    let seen = scene.settle("Redis flushed, frozen and killed").await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}

/// Who carries the position of the change reads it at once, and who does not reads it soon and then nothing older.
async fn a_new_price_is_read(api: &Api, goods: &Goods, cents: i64) {
    let path = format!("/v1/products/{}", goods.product_id);
    let price = async |position: Option<&str>| {
        let reading = || match position {
            Some(position) => api.get(&path).at_position(position),
            None => api.get(&path),
        };
        // A read model that is behind says so in time.
        let answered = eventually("a price is read", ORDER_DEADLINE, async || {
            Some(reading().send().await).filter(|answer| position.is_none() || answer.status != 503)
        });
        number(&answered.await.ok(), "/product/variants/0/price/minorUnits")
    };
    let position = set_price(api, goods, cents).await;
    assert_eq!(price(Some(&position)).await, cents);
    eventually("the price is read without a position", VIEW_DEADLINE, async || {
        (price(None).await == cents).then_some(())
    })
    .await;
    for _ in 0..LOOKS {
        assert_eq!(price(None).await, cents, "no former price comes back");
    }
}
