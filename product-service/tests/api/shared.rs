//! Replicas share in Redis what they read, and Redis is never the reason that somebody sees an old price.

use std::time::{Duration, Instant};

use contracts::shop::product::v1 as wire;
use product_service::Options;
use product_service::application::CONFIRMED_FOR;
use redis_link::{Redis, Reply, Script};
use testkit::redis::Redis as Server;
use testkit::{SOON, TestDatabase, eventually};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{App, Inventory, named, start};

/// What a slow machine full of tests may add to a bound.
const SLACK: Duration = Duration::from_secs(15);

/// The entry of a product, whatever its key begins with.
static ENTRY: Script = Script::new(
    "local found = redis.call('KEYS', '*' .. ARGV[1]) \
     if #found == 0 then return false end \
     return redis.call('GET', found[1])",
);
/// Puts an entry where the product's was, or would be.
static RESTORE: Script = Script::new(
    "redis.call('SET', ARGV[3] .. ARGV[1], ARGV[2]) \
     return 0",
);

/// A shop of replicas around a Redis of the test's own.
struct Shop {
    database: TestDatabase,
    inventory: Inventory,
    server: Server,
    link: Redis,
    links: CancellationToken,
}

impl Shop {
    /// With one replica, which runs the projections and knows no Redis, and a product.
    async fn new() -> (Self, App, String) {
        let (database, inventory, app) = start().await;
        let server = Server::start().await;
        let links = CancellationToken::new();
        let options = redis_link::Options { call_limit: SOON, ..redis_link::Options::new(server.url()) };
        let link = Redis::start(options, links.clone(), &TaskTracker::new()).unwrap();
        let created = app.create(named("Knife")).await.unwrap();
        let id = created.product.unwrap().product_id;
        tokio::time::timeout(SOON, link.until_available(true)).await.expect("Redis answers");
        (Self { database, inventory, server, link, links }, app, id)
    }

    async fn replica(&self, call_limit: Duration) -> App {
        let redis = redis_link::Options { call_limit, ..redis_link::Options::new(self.server.url()) };
        let options = Options {
            redis: Some(redis),
            cache_look_interval: Duration::from_millis(20),
            ..Options::new(self.database.url())
        };
        App::start_with(options, &self.inventory).await
    }

    async fn entry(&self, id: &str) -> Option<Vec<u8>> {
        let reply = self.link.run("test", &ENTRY, &[], &[id.as_bytes()]).await.ok()?;
        // One without a product is only the mark that a change leaves.
        match reply {
            Reply::Bytes(entry) => (!entry.ends_with(b"\n")).then_some(entry),
            _ => None,
        }
    }

    /// Reads until the replica has brought the product to Redis.
    async fn brought_by(&self, app: &App, id: &str) -> Vec<u8> {
        eventually("the product is in Redis", SOON, || async {
            app.get(id, "").await.unwrap();
            self.entry(id).await
        })
        .await
    }

    /// Has Redis come back with an old entry.
    async fn restore(&self, id: &str, entry: &[u8]) {
        let arguments = [id.as_bytes(), entry, b"storeline:product:1:1:1:"];
        self.link.run("test", &RESTORE, &[], &arguments).await.expect("Redis answers");
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.links.cancel();
    }
}

fn price(product: &wire::Product) -> i64 {
    product.variants[0].price.as_ref().unwrap().minor_units
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_has_read_another_reads_from_redis() {
    let (shop, first, id) = Shop::new().await;
    let second = shop.replica(SOON).await;
    shop.brought_by(&second, &id).await;
    // What is only in the table shows who reads it.
    let pool = sqlx::PgPool::connect(shop.database.url()).await.unwrap();
    sqlx::query("UPDATE products SET brand = 'of the table'").execute(&pool).await.unwrap();
    pool.close().await;
    let third = shop.replica(SOON).await;
    eventually("the product comes from Redis", SOON, || async {
        let product = third.get(&id, "").await.unwrap();
        assert!(["", "of the table"].contains(&product.brand.as_str()));
        product.brand.is_empty().then_some(())
    })
    .await;
    let now = first.now().await;
    assert_eq!(third.get(&id, &now).await.unwrap().brand, "of the table", "a position asks the table");
    for app in [first, second, third] {
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_entry_that_comes_back_is_read_by_nobody_who_has_looked() {
    let (shop, first, id) = Shop::new().await;
    let second = shop.replica(SOON).await;
    let old = shop.brought_by(&second, &id).await;
    for round in 1..=5 {
        let written = first.change_price(&id, "Knife", round).await;
        shop.restore(&id, &old).await;
        // Two that know of the change: one has a position, one begins after it, and finds it when it looks back.
        assert_eq!(price(&second.get(&id, &written.position).await.unwrap()), round);
        let beginner = shop.replica(SOON).await;
        for _ in 0..50 {
            assert_eq!(price(&beginner.get(&id, "").await.unwrap()), round);
        }
        // And one that hears of it at its next look.
        let begun = Instant::now();
        eventually("the change is seen", SOON, || async {
            (price(&second.get(&id, "").await.unwrap()) == round).then_some(())
        })
        .await;
        assert!(begun.elapsed() < CONFIRMED_FOR + SLACK, "{:?}", begun.elapsed());
        for _ in 0..20 {
            shop.restore(&id, &old).await;
            assert_eq!(price(&second.get(&id, "").await.unwrap()), round, "and then for good");
        }
        beginner.stop().await;
    }
    let position = shop.inventory.publish("Knife", true);
    assert!(first.get(&id, &position).await.unwrap().variants[0].in_stock);
    shop.restore(&id, &old).await;
    eventually("the stock is seen", SOON, || async {
        second.get(&id, "").await.unwrap().variants[0].in_stock.then_some(())
    })
    .await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_replica_commits_takes_the_product_out_of_redis() {
    let (shop, first, id) = Shop::new().await;
    first.stop().await;
    // Now one with a Redis runs the projections.
    let projecting = shop.replica(SOON).await;
    let reading = shop.replica(SOON).await;
    for round in 1..=3 {
        let entry = shop.brought_by(&reading, &id).await;
        let written = projecting.change_price(&id, "Knife", round).await;
        assert_eq!(price(written.product.as_ref().unwrap()), round);
        eventually("the entry is another one", SOON, || async {
            (shop.entry(&id).await.as_ref() != Some(&entry)).then_some(())
        })
        .await;
        assert_eq!(price(&reading.get(&id, &written.position).await.unwrap()), round);
        // The read that carried a position is in its memory now; a new one has to ask.
        let beginner = shop.replica(SOON).await;
        shop.brought_by(&beginner, &id).await;
        beginner.stop().await;
    }
    projecting.stop().await;
    reading.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_frozen_killed_or_flushed_changes_no_answer() {
    let (mut shop, first, id) = Shop::new().await;
    let second = shop.replica(Duration::from_millis(100)).await;
    shop.brought_by(&second, &id).await;
    let mut round = 0;
    for trouble in ["frozen", "thawed", "flushed", "killed", "back"] {
        match trouble {
            "frozen" => shop.server.freeze(),
            "thawed" => shop.server.thaw(),
            "flushed" => shop.server.flush(),
            "killed" => shop.server.kill(),
            _ => shop.server.start_again().await,
        }
        for _ in 0..3 {
            round += 1;
            let written = first.change_price(&id, "Knife", round).await;
            assert_eq!(price(&second.get(&id, &written.position).await.unwrap()), round, "{trouble}");
            let begun = Instant::now();
            eventually("the change is seen", SOON, || async {
                (price(&second.get(&id, "").await.unwrap()) == round).then_some(())
            })
            .await;
            assert!(begun.elapsed() < CONFIRMED_FOR + SLACK, "{trouble}: {:?}", begun.elapsed());
        }
    }
    let third = shop.replica(SOON).await;
    shop.brought_by(&third, &id).await;
    for app in [first, second, third] {
        app.stop().await;
    }
}
