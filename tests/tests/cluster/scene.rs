//! Clusters for tests: one that all share who only shop in it, and one at a time for those who break something.

use e2e_tests::cluster::{Cluster, Options};
use e2e_tests::shoppers::{Seen, Shoppers, all_end};
use e2e_tests::trade::{Goods, PRICE, order_of, tokens};
use e2e_tests::{Api, number};
use testkit::redis::Redis;
use testkit::{is_long, kafka, say};
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

/// Whether a test of its own cluster runs: it keeps two cores busy for minutes.
pub fn is_wanted(test: &str) -> bool {
    if !is_long() {
        say(format!("{test}: runs with `cargo xtask test --long`"));
    }
    is_long()
}

/// A cluster of a test's own with people in it who shop.
pub struct Scene {
    pub cluster: Cluster,
    pub shoppers: Shoppers,
    goods: Goods,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// With these options, once others are through with theirs.
    pub async fn start_with(options: Options) -> Self {
        let turn = TURN.lock().await;
        let cluster = Cluster::start(&options).await.unwrap_or_else(|error| panic!("{error:#}"));
        cluster.show_logs_on_panic();
        let api = cluster.api();
        let goods = api.goods(PRICE, STOCK).await;
        let shoppers = Shoppers::start(&api, &goods, SHOPPERS);
        shoppers.more(SOME).await;
        Self { cluster, shoppers, goods, _turn: turn }
    }

    pub fn api(&self) -> Api {
        self.cluster.api()
    }

    /// Lets everybody finish, and checks that all that was acknowledged came to its end once, and that the books are
    /// right. Returns what the shoppers met with.
    pub async fn settle(self, what: &str) -> Seen {
        let api = self.api();
        let seen = self.shoppers.finish().await;
        all_end(&api, &seen.placed).await;
        for placed in &seen.placed {
            let order = api.order(placed).await;
            assert_eq!(order["status"], "ORDER_STATUS_CONFIRMED", "{order}");
            assert_eq!(number(&order, "/total/minorUnits"), PRICE);
        }
        let sold = i64::try_from(seen.placed.len()).expect("it fits");
        assert_eq!(api.list("/v1/orders", "", "orders").await.len(), seen.placed.len(), "no other order");
        api.stock_becomes(&self.goods.sku, STOCK - sold, 0, sold).await;
        self.cluster.audit().await;
        say(format!("{what}: {sold} orders, {} repeats, audit clean", seen.failures.len()));
        self.cluster.shut_down().await.unwrap_or_else(|error| panic!("{error:#}"));
        seen
    }
}
