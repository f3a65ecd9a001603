//! Entries, and every race that a late, lost or restored one could win, against a real Redis. Each replica is in the test's
//! hands: what it knows of changes is what it needs of an entry.

use testkit::redis::Redis as Server;
use testkit::{SOON, eventually};
use uuid::Uuid;

use super::*;

/// A Redis, and replicas that share it.
struct Stage {
    server: Server,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Stage {
    async fn new() -> Self {
        Self { server: Server::start().await, stop: CancellationToken::new(), tracker: TaskTracker::new() }
    }

    async fn replica(&self) -> SharedProducts {
        self.replica_of((1, 1)).await
    }

    /// One that nothing but an answer of Redis satisfies, however busy the machine is.
    async fn replica_of(&self, incarnations: (i32, i32)) -> SharedProducts {
        let options = redis_link::Options { call_limit: SOON, ..redis_link::Options::new(self.server.url()) };
        let redis = Redis::start(options, self.stop.clone(), &self.tracker).unwrap();
        tokio::time::timeout(SOON, redis.until_available(true)).await.expect("Redis answers");
        SharedProducts::start(redis, incarnations, self.stop.clone(), &self.tracker)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl SharedProducts {
    /// One look, without the limit on the time of all looks.
    async fn asked(&self, product_id: ProductId, needed: AsOf) -> Option<ProductView> {
        match self.look(product_id, needed).await.0 {
            Found::Product(product) => Some(*product),
            Found::Nothing { .. } => None,
        }
    }

    /// Waits until Redis was told everything that this replica had to tell.
    async fn told(&self) {
        let sentinel = ProductView::example(Uuid::now_v7().into());
        eventually("Redis was told everything", SOON, || async {
            self.store(AsOf::default(), &sentinel);
            self.asked(sentinel.product_id, AsOf::default()).await.map(drop)
        })
        .await;
    }
}

/// The example in its n-th version.
fn version(n: u64) -> ProductView {
    ProductView { version: n, ..example() }
}

fn id() -> ProductId {
    example().product_id
}

fn at(version: i64, products: i64, stock: i64) -> AsOf {
    AsOf { version, products, stock }
}

fn example() -> ProductView {
    ProductView::example(Uuid::from_u128(7).into())
}

#[test]
fn an_entry_is_read_only_where_it_is_right() {
    let product = example();
    let (id, entry) = (product.product_id, written(at(2, 50, 5), &product).unwrap());
    for needed in [at(2, 50, 5), at(2, 49, 5), at(2, 0, 0)] {
        assert_eq!(read(&entry, id, &needed).as_ref(), Some(&product), "{needed:?}");
    }
    for needed in [at(2, 51, 5), at(2, 50, 6), at(1, 50, 5), at(3, 50, 5)] {
        assert_eq!(read(&entry, id, &needed), None, "{needed:?}");
    }
    assert_eq!(read(&entry, Uuid::from_u128(8).into(), &at(2, 50, 5)), None, "another product");
}

#[test]
fn what_is_no_entry_is_nothing() {
    let id = example().product_id;
    let long = format!("{}:1:1\n{{}}", "1".repeat(1000));
    for wrong in ["", "\n", "0:0:0", "0:0:0\n", "0:0\n{}", "0:0:0:0\n{}", "a:b:c\n{}", "-:0:0\n{}", &long] {
        assert_eq!(read(wrong.as_bytes(), id, &AsOf::default()), None, "{wrong}");
    }
    assert_eq!(read(b"0:0:0\n\xff\xff", id, &AsOf::default()), None);
}

#[test]
fn a_product_that_is_too_large_is_not_shared() {
    let product = ProductView { description: "x".repeat(MAX_ENTRY_BYTES), ..example() };
    assert_eq!(written(AsOf::default(), &product), None);
}

/// When this fails, replicas of the last release cannot read what this one writes, or the other way round: then FORM
/// gets a new name.
#[test]
fn the_form_of_an_entry_has_a_name_of_its_own() {
    let entry = String::from_utf8(written(at(1, 2, 3), &example()).unwrap()).unwrap();
    let (head, product) = entry.split_once('\n').unwrap();
    let expected = r#"{"product_id":"00000000-0000-0000-0000-000000000007","handle":"knife","name":"Knife","description":"","brand":"","category_path":[],"supplier":"","attributes":{},"tags":[],"images":[],"status":"active","options":[],"currency":"EUR","variants":[],"scheduled_prices":[],"created_at":"1970-01-01T00:00:00Z","updated_at":"1970-01-01T00:00:00Z","version":1}"#;
    assert_eq!((FORM, head, product), ("1", "1:2:3", expected));
}

#[tokio::test]
async fn what_one_replica_has_read_another_finds() {
    let stage = Stage::new().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    assert_eq!(other.asked(id(), at(0, 10, 5)).await, None);
    one.store(at(0, 10, 5), &version(1));
    one.told().await;
    assert_eq!(other.asked(id(), at(0, 10, 5)).await, Some(version(1)));
    assert_eq!(other.asked(id(), at(0, 11, 5)).await, None, "for who knows of a later change it is a miss");
    assert_eq!(other.asked(id(), at(0, 10, 6)).await, None, "of stock, too");
    assert_eq!(other.asked(id(), at(1, 10, 5)).await, None, "tables made anew show something else");
}

#[tokio::test]
async fn what_was_read_before_a_change_and_comes_after_it_is_kept_out() {
    let stage = Stage::new().await;
    let (slow, projecting) = (stage.replica().await, stage.replica().await);
    // The slow one is asked to bring the product, and has read the tables at 10; then the product changes at 12.
    assert!(matches!(slow.look(id(), at(0, 10, 5)).await.0, Found::Nothing { fill: true }));
    projecting.changed(id(), Change::Product(12));
    projecting.told().await;
    slow.store(at(0, 10, 5), &version(1));
    slow.told().await;
    for needed in [at(0, 0, 0), at(0, 10, 5), at(0, 12, 5)] {
        assert_eq!(projecting.asked(id(), needed).await, None, "{needed:?}");
    }
    projecting.store(at(0, 12, 5), &version(2));
    projecting.told().await;
    assert_eq!(slow.asked(id(), at(0, 0, 0)).await, Some(version(2)));
}

#[tokio::test]
async fn what_comes_late_into_an_emptied_redis_is_a_miss_for_who_knows_of_the_change() {
    let stage = Stage::new().await;
    let (slow, other) = (stage.replica().await, stage.replica().await);
    other.store(at(0, 12, 5), &version(2));
    other.changed(id(), Change::Product(14));
    other.told().await;
    // With the claim and what the change had left, everything that would keep the late one out is gone.
    stage.server.flush();
    slow.store(at(0, 10, 5), &version(1));
    slow.told().await;
    assert_eq!(other.asked(id(), at(0, 14, 5)).await, None);
    assert_eq!(slow.asked(id(), at(0, 9, 5)).await, Some(version(1)), "who knows of none may have it");
    other.store(at(0, 14, 5), &version(3));
    other.told().await;
    assert_eq!(slow.asked(id(), at(0, 9, 5)).await, Some(version(3)));
}

#[tokio::test]
async fn a_redis_that_comes_back_with_old_data_is_believed_no_more_than_before() {
    let mut stage = Stage::new().await;
    stage.server.kill();
    stage.server.start_again().await;
    let replica = stage.replica().await;
    replica.store(at(0, 14, 5), &version(3));
    replica.told().await;
    assert_eq!(replica.asked(id(), at(0, 14, 5)).await, Some(version(3)));
    stage.server.kill();
    stage.server.start_again().await;
    // What a backup from before the change has.
    let restoring = stage.replica().await;
    restoring.store(at(0, 10, 5), &version(1));
    restoring.told().await;
    eventually("the replica finds Redis again", SOON, || async {
        replica.asked(id(), at(0, 10, 5)).await.map(|found| assert_eq!(found, version(1)))
    })
    .await;
    assert_eq!(replica.asked(id(), at(0, 14, 5)).await, None);
}

#[tokio::test]
async fn a_replica_that_is_behind_replaces_nothing_newer() {
    let stage = Stage::new().await;
    let (behind, ahead) = (stage.replica().await, stage.replica().await);
    ahead.store(at(0, 20, 8), &version(2));
    ahead.told().await;
    for older in [at(0, 19, 8), at(0, 20, 7), at(0, 25, 7), at(0, 19, 9)] {
        behind.store(older, &version(1));
        behind.told().await;
        assert_eq!(ahead.asked(id(), at(0, 20, 8)).await, Some(version(2)), "{older:?}");
    }
    ahead.store(at(1, 20, 8), &version(3));
    ahead.told().await;
    behind.store(at(0, 20, 8), &version(1));
    behind.told().await;
    assert_eq!(ahead.asked(id(), at(1, 20, 8)).await, Some(version(3)), "of tables that were made anew");
}

#[tokio::test]
async fn a_message_that_was_parked_and_is_handled_at_last_takes_the_product_out() {
    let stage = Stage::new().await;
    let replica = stage.replica().await;
    replica.store(at(0, 50, 5), &version(1));
    // Its position is older than the entry.
    replica.changed(id(), Change::Product(30));
    replica.told().await;
    assert_eq!(replica.asked(id(), at(0, 30, 5)).await, None);
}

#[tokio::test]
async fn positions_of_another_incarnation_mean_nothing() {
    let stage = Stage::new().await;
    let before = stage.replica_of((1, 1)).await;
    before.store(at(0, 100, 50), &version(1));
    before.told().await;
    for restored in [(2, 1), (1, 2)] {
        assert_eq!(stage.replica_of(restored).await.asked(id(), at(0, 0, 0)).await, None, "{restored:?}");
    }
}

#[tokio::test]
async fn one_of_many_is_asked_to_bring_what_is_missing_and_the_others_get_it() {
    let stage = Stage::new().await;
    let replicas = [stage.replica().await, stage.replica().await, stage.replica().await];
    let first = replicas[0].look(id(), at(0, 10, 5)).await.0;
    assert!(matches!(first, Found::Nothing { fill: true }));
    replicas[0].store(at(0, 10, 5), &version(1));
    replicas[0].told().await;
    let finds = (0..300).map(|n| replicas[n % 3].asked(id(), at(0, 10, 5)));
    let found = futures::future::join_all(finds).await;
    assert!(found.into_iter().all(|found| found == Some(version(1))));
}

#[tokio::test]
async fn who_was_to_bring_it_and_died_holds_nobody_up() {
    let stage = Stage::new().await;
    let (dying, other) = (stage.replica().await, stage.replica().await);
    assert!(matches!(dying.look(id(), at(0, 10, 5)).await.0, Found::Nothing { fill: true }));
    // It never brings it. Others read the tables after a few looks, and one of them is asked to bring it in the end.
    eventually("another one is asked", SOON, || async {
        matches!(other.find(id(), at(0, 10, 5)).await, Found::Nothing { fill: true }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn import_leaves_nothing_in_redis_of_products_that_nobody_reads() {
    let stage = Stage::new().await;
    let replica = stage.replica().await;
    for n in 0..1000_u128 {
        replica.changed(Uuid::from_u128(n + 100).into(), Change::Product(5));
    }
    replica.told().await;
    // A head would keep older entries out.
    replica.store(at(0, 1, 0), &ProductView::example(Uuid::from_u128(500).into()));
    replica.told().await;
    assert!(replica.asked(Uuid::from_u128(500).into(), at(0, 1, 0)).await.is_some());
}
