//! Clusters for tests: one that all share who only shop in it, and one at a time for those who break something.

use e2e_tests::cluster::{Cluster, Options};
use e2e_tests::shoppers::{Seen, Shoppers, all_end};
use e2e_tests::trade::{Goods, ORDER_DEADLINE, PRICE, Placed, order_of, tokens, unique};
use e2e_tests::{Api, at, number, text};
use serde_json::json;
use testkit::redis::Redis;
use testkit::{eventually, is_long, kafka, say};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Where the throwaway PostgreSQL of the run is.
const DATABASE: &str = "STORELINE_TEST_DATABASE_URL";
/// Of everything in the shared cluster, so that every test shows that replicas divide the work.
const SHARED_REPLICAS: usize = 2;
/// So many pieces that they never run out.
const STOCK: i64 = 1_000_000;
/// Shoppers at the same time, who keep two cores busy and no more.
const SHOPPERS: usize = 4;
/// Orders that show that the shop works, or works again.
pub const SOME: usize = 12;

/// Clusters of a test's own need the machine for themselves.
static TURN: Mutex<()> = Mutex::const_new(());
static SHARED: OnceCell<(Cluster, Redis)> = OnceCell::const_new();

/// A PostgreSQL that is not to be stopped, as a superuser.
///
/// # Panics
/// When there is none.
pub fn postgres() -> String {
    std::env::var(DATABASE)
        .unwrap_or_else(|_| panic!("{DATABASE} is not set: run the tests with `cargo xtask test`"))
}

/// A cluster on these servers in which one client may be as busy as a crowd.
pub fn options(postgres: String, kafka: String) -> Options {
    let variables = vec![("STORELINE_RATE_LIMITS".to_owned(), "false".to_owned())];
    Options { variables, ..Options::new(postgres, kafka) }
}

/// The cluster of all tests that do not break it.
pub async fn shared() -> &'static Cluster {
    let (cluster, _) = SHARED
        .get_or_init(async || {
            let redis = Redis::start().await;
            let options = Options { redis: Some(redis.url()), ..options(postgres(), kafka::bootstrap()) };
            let cluster = Cluster::start(&options.replicas(SHARED_REPLICAS)).await;
            let cluster = cluster.unwrap_or_else(|error| panic!("{error:#}"));
            // The first order has to wait for topics and consumer groups to be made, and no test after it.
            let api = cluster.api();
            let goods = api.goods(PRICE, 1).await;
            let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
            api.order_with_status(&placed, "ORDER_STATUS_CONFIRMED").await;
            (cluster, redis)
        })
        .await;
    cluster.show_logs_on_panic();
    cluster
}

/// Whether a test runs that keeps two cores busy for minutes.
pub fn is_wanted(test: &str) -> bool {
    if !is_long() {
        say(format!("{test}: runs with `cargo xtask test --long`"));
    }
    is_long()
}

/// The turn of a test that has a cluster of its own. Take it before starting servers.
pub struct Turn {
    _guard: MutexGuard<'static, ()>,
}

/// Waits until others are through with their clusters.
pub async fn turn() -> Turn {
    Turn { _guard: TURN.lock().await }
}

/// A cluster of a test's own with people in it who shop.
pub struct Scene {
    pub cluster: Cluster,
    pub shoppers: Shoppers,
    /// Orders that the test itself has placed, of other goods than theirs.
    pub others: Vec<Placed>,
    goods: Goods,
    _turn: Turn,
}

impl Scene {
    /// With these options, and so that the first orders are at their end.
    pub async fn start(turn: Turn, options: Options) -> Self {
        let cluster = Cluster::start(&options).await.unwrap_or_else(|error| panic!("{error:#}"));
        cluster.show_logs_on_panic();
        let api = cluster.balanced_api();
        let goods = api.goods(PRICE, STOCK).await;
        let shoppers = Shoppers::start(&api, &goods, SHOPPERS);
        let scene = Self { cluster, shoppers, others: Vec::new(), goods, _turn: turn };
        scene.goes_on().await;
        scene
    }

    pub fn api(&self) -> Api {
        self.cluster.balanced_api()
    }

    /// People shop, and what they order comes to its end, whatever else goes wrong meanwhile.
    pub async fn goes_on(&self) {
        self.shoppers.more(SOME).await;
        let (api, placed) = (self.api(), self.shoppers.latest());
        let path = format!("/v1/orders/{}", placed.order_id);
        eventually(&format!("{} is confirmed", placed.order_id), ORDER_DEADLINE, async || {
            let asked = api.get(&path).bearer(&placed.token).at_position(&placed.position).try_send().await;
            let answer = asked.ok().filter(|answer| answer.status == 200)?;
            (at(&answer.json(), "/order/status") == "ORDER_STATUS_CONFIRMED").then_some(())
        })
        .await;
    }

    /// Ends the load, and checks that all that was acknowledged came to its end once, and that stock is right. Returns
    /// what the shoppers met with.
    pub async fn come_to_rest(&mut self) -> Seen {
        let api = self.api();
        let nobody = Shoppers::start(&api, &self.goods, 0);
        let seen = std::mem::replace(&mut self.shoppers, nobody).finish().await;
        all_end(&api, &seen.placed).await;
        all_end(&api, &self.others).await;
        for placed in &seen.placed {
            let order = api.order(placed).await;
            assert_eq!(order["status"], "ORDER_STATUS_CONFIRMED", "{order}");
            assert_eq!(number(&order, "/total/minorUnits"), PRICE);
        }
        let sold = i64::try_from(seen.placed.len()).expect("it fits");
        let all = api.list("/v1/orders", "", "orders").await.len();
        assert_eq!(all, seen.placed.len() + self.others.len(), "no other order");
        api.stock_becomes(&self.goods.sku, STOCK - sold, 0, sold).await;
        let casualty = self.cluster.casualty().expect("the processes are ours");
        assert_eq!(casualty, None, "what nobody killed runs");
        seen
    }

    /// The audit, once all is at rest, and the end of all processes. `what` is said with the counts.
    pub async fn close(self, what: &str, seen: &Seen) {
        let report = self.cluster.audit().await;
        let (orders, repeats) = (seen.placed.len() + self.others.len(), seen.failures.len());
        say(format!(
            "{what}: {orders} orders, {repeats} repeats, audit of {} events clean",
            report["events"]
        ));
        self.cluster.shut_down().await.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Both.
    pub async fn settle(mut self, what: &str) -> Seen {
        let seen = self.come_to_rest().await;
        self.close(what, &seen).await;
        seen
    }
}

/// Sets a price, and returns the position of that in the catalogue's log.
pub async fn set_price(api: &Api, goods: &Goods, cents: i64) -> String {
    let path = format!("/v1/products/{}/variants/{}:changePrice", goods.product_id, goods.sku);
    let price = json!({"currencyCode": "EUR", "minorUnits": cents.to_string()});
    let (body, key) = (json!({"price": price, "reason": "test"}), unique("price"));
    let answer = eventually("a price is set", ORDER_DEADLINE, async || {
        let answer = api.post(&path, &body).operator().key(&key).send().await;
        Some(answer).filter(|answer| answer.status != 503)
    })
    .await;
    text(&answer.ok(), "/position")
}
