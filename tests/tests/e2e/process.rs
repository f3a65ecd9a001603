//! The process itself: what it says when it cannot start, that it leaves nothing behind, and what it takes up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use e2e_tests::tools::tamper;
use e2e_tests::trade::{PRICE, order_of, tokens};
use e2e_tests::{ANSWER_DEADLINE, Finished, Shop, eventually, finish};

/// A start that fails may make a database cluster first.
const FAILED_START_DEADLINE: Duration = Duration::from_secs(120);
/// The process at rest, PostgreSQL not counted, in KiB.
const IDLE_MEMORY: u64 = 120 * 1024;

fn assert_refused(finished: &Finished, said: &[&str]) {
    assert_ne!(finished.code, Some(0), "{finished:?}");
    assert_ne!(finished.code, None, "{finished:?}");
    for said in said {
        assert!(finished.stderr.contains(said), "{said:?} is not said: {finished:?}");
    }
}

#[tokio::test]
async fn a_second_start_on_the_same_data_says_who_holds_the_folder() {
    let shop = Shop::start().await;
    let mut second = shop.command();
    // A port of its own, so that only the folder is in the way.
    second.arg("serve").env("STORELINE_HTTP", "127.0.0.1:0");
    let refused = finish(second, FAILED_START_DEADLINE).await;
    let holder = fs::read_to_string(shop.data().join("lock")).expect("the lock names its holder");
    let number: String = holder.chars().filter(char::is_ascii_digit).collect();
    assert!(!number.is_empty(), "{holder}");
    assert_refused(&refused, &[&shop.data().display().to_string(), &number]);
    let goods = shop.api().goods(PRICE, 1).await;
    let placed = shop.api().place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    assert_eq!(shop.api().ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED", "the first goes on");
}

#[tokio::test]
async fn a_second_start_on_a_taken_port_says_which_and_leaves_nothing_behind() {
    let shop = Shop::start().await;
    let taken = [
        ("STORELINE_HTTP", shop.http()),
        ("STORELINE_GRPC_ORDER", shop.grpc()["order"].as_str()),
        ("STORELINE_ADMIN", shop.admin()),
    ];
    let other = shop.scratch().data("other");
    for (variable, address) in taken {
        let mut second = shop.command();
        second.arg("serve").env("STORELINE_DATA", &other).env(variable, address);
        assert_refused(&finish(second, FAILED_START_DEADLINE).await, &[address, variable]);
        assert!(!Shop::has_database_running(&other), "a PostgreSQL was left running");
        assert!(!other.join("addresses.json").exists(), "it says that it serves");
    }
}

#[tokio::test]
async fn a_configuration_that_is_wrong_in_two_places_is_refused_with_both() {
    let shop = Shop::shared().await;
    let mut second = shop.command();
    second.arg("serve").env("STORELINE_HTTP", "somewhere").env("STORELINE_ADMIN", "127.0.0.1:no");
    assert_refused(&finish(second, FAILED_START_DEADLINE).await, &["STORELINE_HTTP", "STORELINE_ADMIN"]);
}

#[tokio::test]
async fn after_a_kill_the_postgresql_that_was_left_is_adopted_and_after_a_stop_there_is_none() {
    let mut shop = Shop::start().await;
    let token = shop.secret("operator.token");
    let goods = shop.api().goods(PRICE, 2).await;
    let server = shop.database_pid();
    shop.kill();
    shop.restart().await;
    assert_eq!(shop.database_pid(), server, "it is the same server");
    shop.api().stock_becomes(&goods.sku, 2, 0, 0).await;

    assert_eq!(shop.stop().await.code(), Some(0));
    assert!(!Shop::has_database_running(&shop.data()));
    shop.restart().await;
    shop.api().stock_becomes(&goods.sku, 2, 0, 0).await;
    assert_eq!(shop.secret("operator.token"), token, "the operator's token stays");
    for name in ["operator.token", "service.token", "postgres-admin.password"] {
        let mode = fs::metadata(shop.data().join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is for its owner only");
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone_and_the_start_says_what_to_do() {
    let mut shop = Shop::start().await;
    shop.kill();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999999, 'of tomorrow', true, '', 0)";
    tamper(&shop, "order", newer).await;
    let mut start = shop.command();
    start.arg("serve");
    assert_refused(&finish(start, FAILED_START_DEADLINE).await, &["`order`", "newer version", "999999"]);
    assert!(!Shop::has_database_running(&shop.data()), "a PostgreSQL was left running");
}

#[tokio::test]
async fn a_shop_that_loses_its_postgresql_says_so_and_forgets_nothing_that_it_acknowledged() {
    let mut shop = Shop::start().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 1).await;
    let placed = api.place(&order_of(&goods, 1, tokens::SLOW)).await;
    let killed = Command::new("kill").args(["-KILL", &shop.database_pid()]).status().expect("kill runs");
    assert!(killed.success());
    let refused = eventually("orders cannot be listed any more", ANSWER_DEADLINE, async || {
        let answer = api.get("/v1/orders").operator().send().await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.refused(503);
    assert!(!refused.header("retry-after").is_empty(), "{refused}");
    eventually("the shop is not ready, and its log says what to do", ANSWER_DEADLINE, async || {
        let advised = shop.log().contains("stop the shop and start it again, it starts its PostgreSQL too");
        (advised && api.get("/readyz").send().await.status == 503).then_some(())
    })
    .await;
    shop.stop().await;
    shop.restart().await;
    assert_eq!(shop.api().ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED");
    shop.api().charge_becomes(&placed.order_id, PRICE).await;
    shop.audit().await;
}

#[tokio::test]
async fn a_shop_at_rest_takes_less_than_120_mib() {
    let shop = Shop::start().await;
    if let Some(memory) = shop.resident_memory() {
        assert!(memory < IDLE_MEMORY, "{memory} KiB");
    }
}
