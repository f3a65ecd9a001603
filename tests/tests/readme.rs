//! The walks of the README, run as they are printed there. A program of its own, since the other tests open so many
//! connections that one of them may sit on a port that the README names.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e_tests::tools::path;
use e2e_tests::{ANSWER_DEADLINE, Ports, Shop, eventually, finish, number};
use serde_json::Value;

const WALK_DEADLINE: Duration = Duration::from_secs(120);
/// Where the shop listens by default, and so what the README says.
const PRINTED: [(&str, u16); 7] = [
    ("http", 8080),
    ("product", 50051),
    ("inventory", 50052),
    ("order", 50053),
    ("payment", 50054),
    ("saga", 50055),
    ("admin", 9464),
];

/// The blocks of the README with this tag, in order, as one script.
fn script(tag: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("there is a README");
    let opening = format!("```sh {tag}");
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut open = false;
    for line in readme.lines() {
        match line {
            "```" => open = false,
            _ if line == opening => {
                open = true;
                blocks.push(Vec::new());
            }
            _ if open => blocks.last_mut().expect("a block is open").push(line),
            _ => {}
        }
    }
    assert!(!open, "a block of {tag} does not end");
    assert!(!blocks.is_empty(), "the README has no block tagged `{opening}`");
    blocks.concat().join("\n")
}

/// The default ports if nobody has them, else free ones.
fn ports() -> Ports {
    let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    if PRINTED.iter().all(|(_, port)| free(*port)) { Ports::Default } else { Ports::Free }
}

/// The script with the ports that the shop really listens at, if the printed ones were taken.
fn rewritten(script: &str, shop: &Shop) -> String {
    PRINTED.iter().fold(script.to_owned(), |script, (name, printed)| {
        let address = match *name {
            "http" => shop.http(),
            "admin" => shop.admin(),
            service => &shop.grpc()[service],
        };
        let port = address.rsplit(':').next().expect("an address has a port");
        script.replace(&printed.to_string(), port)
    })
}

async fn walk(shop: &Shop, tag: &str) -> String {
    let script = rewritten(&script(tag), shop);
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(shop.scratch().path()).env("PATH", path());
    let finished = finish(bash, WALK_DEADLINE).await;
    assert_eq!(finished.code, Some(0), "{tag}:\n{}\n{}", finished.stdout, finished.stderr);
    finished.stdout
}

#[tokio::test]
async fn the_walks_of_the_readme_run_as_they_are_printed() {
    let shop = Shop::start_with(ports(), &[]).await;
    let api = shop.api();
    let printed = walk(&shop, "walk-prices").await;
    for seen in [
        "\"scheduledPrices\"",
        "winter sale",
        "iron became dearer",
        "\"5900\"",
        "PRODUCT_STATUS_DISCONTINUED",
    ] {
        assert!(printed.contains(seen), "walk-prices shows no {seen}:\n{printed}");
    }
    for (done, tag) in ["walk-curl", "walk-grpcurl"].into_iter().enumerate() {
        let printed = walk(&shop, tag).await;
        for event in ["OrderPlaced", "OrderConfirmed", "OrderCancellationRequested", "OrderCancelled"] {
            assert!(printed.contains(event), "{tag} shows no {event}:\n{printed}");
        }
        // Lists may lag a little behind what was told of one order.
        eventually("each walk has placed one order and cancelled it", ANSWER_DEADLINE, async || {
            let orders = api.list("/v1/orders", "status=ORDER_STATUS_CANCELLED", "orders").await;
            (orders.len() == done + 1).then_some(())
        })
        .await;
        eventually("what was captured is refunded", ANSWER_DEADLINE, async || {
            let payments = api.list("/v1/payments", "", "payments").await;
            let refunded = |payment: &Value| {
                let captured = number(payment, "/captured/minorUnits");
                captured > 0 && captured == number(payment, "/refunded/minorUnits")
            };
            (payments.len() == done + 1 && payments.iter().all(refunded)).then_some(())
        })
        .await;
    }
    shop.audit().await;
}
