//! Backups of the whole shop that are taken while people shop, the loss of what came after, and the way back, with the
//! commands of docs/backup.md, which are read from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e_tests::cluster::{Cluster, SERVICES, START_DEADLINE};
use e2e_tests::shoppers::everything_ends;
use e2e_tests::trade::{ORDER_DEADLINE, PRICE, Placed, order_of, tokens};
use e2e_tests::{Api, eventually, finish};
use serde_json::Value;
use testkit::kafka::Brokers;
use testkit::say;
use testkit::{Cluster as Postgres, Stop};

use crate::scene::{SOME, Scene, is_wanted, options, turn};

/// A command of PostgreSQL's or of the operator's, on a busy machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);
/// What the guide has run for dumps.
const SCRIPT: &str = "deploy/backup.sh";
/// So many pieces that they never run out.
const STOCK: i64 = 1_000;

#[tokio::test]
async fn dumps_that_are_taken_while_people_shop_lead_back_to_their_moment() {
    rehearse("dump").await;
}

#[tokio::test]
async fn a_base_backup_that_is_taken_while_people_shop_leads_back_to_its_moment() {
    rehearse("base").await;
}

/// From the backup to the next order after the restore.
async fn rehearse(way: &str) {
    if !is_wanted(&format!("restore from {way}")) {
        return;
    }
    let turn = turn().await;
    let brokers = Brokers::start(1).await;
    let mut postgres = Postgres::start().await;
    let scene = Scene::start(turn, options(postgres.url(), brokers.bootstrap())).await;
    let Scene { mut cluster, shoppers, .. } = scene;
    // Whoever runs the server need not be able to read the sources.
    fs::create_dir(postgres.folder().join("deploy")).expect("the folder is ours");
    fs::copy(root().join(SCRIPT), postgres.folder().join(SCRIPT)).expect("there is the guide's script");
    let api = cluster.api();
    let goods = api.goods(PRICE, STOCK).await;
    let order = order_of(&goods, 1, tokens::SUCCESS);
    let kept = api.place(&order).await;
    api.order_with_status(&kept, "ORDER_STATUS_CONFIRMED").await;

    run(&postgres, &cluster, &format!("backup-{way}")).await;
    shoppers.more(SOME).await;
    let lost = api.place(&order).await;
    let before = shoppers.finish().await.placed.len();

    cluster.stop_all().await.expect("they stop in order");
    if way == "base" {
        postgres.stop(Stop::Fast).await;
    }
    run(&postgres, &cluster, &format!("restore-{way}")).await;
    if way == "base" {
        postgres.start_again().await;
    }
    let incarnations = raise(&cluster).await;
    cluster.set_topic_prefix("restored.");
    cluster.start_all().await.unwrap_or_else(|error| panic!("{error:#}"));
    go_on(&cluster, &incarnations).await;

    everything_ends(&api).await;
    assert_eq!(
        seen(&api, &kept).await.map(|order| order["status"].clone()),
        Some("ORDER_STATUS_CONFIRMED".into())
    );
    assert_eq!(seen(&api, &lost).await, None, "it was placed after the backup");
    // What the former answers said of positions is of the lost time.
    let goods = api.goods(PRICE, STOCK).await;
    let next = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    api.order_with_status(&next, "ORDER_STATUS_CONFIRMED").await;
    everything_ends(&api).await;
    let orders = api.list("/v1/orders", "", "orders").await.len();
    // Those before the backup and two of ours; of the shoppers' orders after it at least one is gone.
    assert!((SOME + 2..before + 2).contains(&orders), "{orders} orders, of {before} before the restore");
    let report = audited(&cluster).await;
    say(format!(
        "restore from {way}: {orders} orders kept of {before}, audit clean of {} events",
        report["events"]
    ));
    cluster.shut_down().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Raises every log's incarnation with its service's own command, and returns the new ones.
async fn raise(cluster: &Cluster) -> BTreeMap<String, i64> {
    let lines = block("restore-raise");
    let mut incarnations = BTreeMap::new();
    for service in SERVICES {
        let program =
            if service == "saga" { "saga-orchestrator".to_owned() } else { format!("{service}-service") };
        let line = lines.lines().find(|line| line.starts_with(&format!("{program} ")));
        let line = line.unwrap_or_else(|| panic!("docs/backup.md does not raise the log of {service}"));
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let said = cluster.run_service(service, &words, COMMAND_DEADLINE).await;
        assert_eq!(said.code, Some(0), "{}", said.output());
        let said = said.output();
        let number = said
            .split("\"incarnation\":")
            .nth(1)
            .map(|rest| rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>());
        let number = number.and_then(|digits| digits.parse().ok());
        incarnations.insert(service.to_owned(), number.unwrap_or_else(|| panic!("no incarnation: {said}")));
    }
    incarnations
}

/// Whoever follows another service's log stops and says why; each is told to go on as the guide says.
async fn go_on(cluster: &Cluster, incarnations: &BTreeMap<String, i64>) {
    let commands = block("restore-feeds");
    let commands: Vec<Vec<&str>> = commands.lines().map(|line| line.split(' ').skip(1).collect()).collect();
    let [list, relays, show, go_on] = commands.as_slice() else { panic!("{commands:?}") };
    let followers: BTreeSet<String> = json_lines(cluster, list)
        .await
        .iter()
        .filter(|line| line["log"] != line["service"])
        .map(|line| text(line, "subscription"))
        .collect();
    assert_eq!(followers.len(), 8, "{followers:?}");
    let mut waiting = followers.clone();
    while !waiting.is_empty() {
        let stopped = eventually(&format!("one of {waiting:?} stops"), START_DEADLINE, async || {
            let lines = json_lines(cluster, list).await;
            lines
                .into_iter()
                .find(|line| line["state"] == "STOPPED" && waiting.contains(&text(line, "subscription")))
        })
        .await;
        let error = text(&stopped, "error");
        assert!(error.contains("restored") || error.contains("made anew"), "{stopped}");
        let (service, subscription, log) =
            (text(&stopped, "service"), text(&stopped, "subscription"), text(&stopped, "log"));
        let fill = |words: &[&str], position: i64| -> Vec<String> {
            let filled = words.iter().map(|word| match *word {
                "SERVICE" => service.clone(),
                "SUBSCRIPTION" => subscription.clone(),
                "N" => incarnations[&log].to_string(),
                "P" => position.to_string(),
                word => word.to_owned(),
            });
            filled.collect()
        };
        let shown = json_lines(cluster, &fill(show, 0)).await;
        let partitions = shown[0]["partitions"].as_array().expect("they are listed").clone();
        let positions = partitions.iter().filter_map(|partition| partition["position"].as_i64());
        let heads = json_lines(cluster, relays).await;
        let heads = heads
            .iter()
            .filter(|relay| relay["log"] == log.as_str())
            .filter_map(|relay| relay["head"].as_i64());
        let position = positions.chain(heads).min().expect("it has partitions");
        let told = cluster.run(&borrowed(&fill(go_on, position)), COMMAND_DEADLINE).await;
        assert_eq!(told.code, Some(0), "{}", told.output());
        waiting.remove(&subscription);
    }
    eventually("everybody follows again", ORDER_DEADLINE, async || {
        let lines = json_lines(cluster, list).await;
        lines.iter().all(|line| line["state"] != "STOPPED").then_some(())
    })
    .await;
}

/// The order as its shopper sees it, if there is one.
async fn seen(api: &Api, placed: &Placed) -> Option<Value> {
    let path = format!("/v1/orders/{}", placed.order_id);
    let answer = api.get(&path).bearer(&placed.token).send().await;
    match answer.status {
        404 => None,
        _ => Some(answer.ok()["order"].clone()),
    }
}

async fn audited(cluster: &Cluster) -> Value {
    let command = block("restore-audit");
    let mut words: Vec<&str> = command.split(' ').skip(1).collect();
    words.push("--json");
    let report = cluster.run(&words, COMMAND_DEADLINE).await.ok();
    serde_json::from_str(&report).expect("a report is JSON")
}

/// What one of the operator's commands prints, a line each.
async fn json_lines(cluster: &Cluster, words: &[impl AsRef<str>]) -> Vec<Value> {
    let mut words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    words.push("--json");
    let printed = cluster.run(&words, COMMAND_DEADLINE).await.ok();
    printed.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Runs a block of the guide as whoever runs the server, in the server's folder.
async fn run(postgres: &Postgres, cluster: &Cluster, tag: &str) {
    let script = block(tag);
    let mut command: Command = postgres.command("sh");
    command.args(["-euc", &script]).env("ADMIN_URL", postgres.url()).env("PGDATA", "cluster");
    for service in SERVICES {
        let name = format!("STORELINE_{}_OWNER_URL", service.to_uppercase());
        command.env(name, cluster.owner_url(service));
    }
    let finished = finish(command, COMMAND_DEADLINE).await;
    assert_eq!(finished.code, Some(0), "{tag}: {script}\n{}", finished.output());
}

/// The block of the guide with this tag.
fn block(tag: &str) -> String {
    let guide = fs::read_to_string(root().join("docs/backup.md")).expect("there is a guide");
    let opening = format!("```sh {tag}");
    let lines = guide.lines().map(str::trim_start).skip_while(|line| *line != opening).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    assert!(!lines.is_empty(), "docs/backup.md has no block `{opening}`");
    lines.join("\n")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace").to_owned()
}

fn text(line: &Value, member: &str) -> String {
    line[member].as_str().unwrap_or_else(|| panic!("{member}: {line}")).to_owned()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
