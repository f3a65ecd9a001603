//! Every workload runs for a moment and yields its figures, so that none of them rots unseen between two reports. What a
//! figure says in so short a time, of a build without optimization, means nothing and is not looked at.

use std::path::PathBuf;
use std::process::Command;

/// What must have been measured, by workload. Growth would have to fill a log first, and other libraries to be built.
const EXPECTED: [(&str, &[&str]); 5] = [
    (
        "w1",
        &["limit/insert, 32 clients", "limit/insert 200 rows, 1 client", "w1/32", "w1/32/floor", "w1/256"],
    ),
    ("w2", &["limit/read 20 and insert, 32 clients", "w2/warm", "w2/warm/floor", "w2/cold", "w2/cold/floor"]),
    ("w3", &["w3", "w3/floor"]),
    ("one", &["limit/insert, 1 client, p50", "one/p50", "one/p50/floor"]),
    (
        "w4",
        &[
            "w4/replay",
            "w4/replay into a table",
            "w4/delay p50",
            "w4/delay p50/floor",
            "w4/full speed",
            "w4/lost or repeated",
        ],
    ),
];
const OF_THE_SHOP: [(&str, &[&str]); 3] = [
    (
        "orders",
        &[
            "orders/32 clients",
            "orders/1 client, p50",
            "orders/half rate, p99",
            "orders/memory after the load",
        ],
    ),
    ("reads", &["reads/rest get", "limit/bare rest get", "reads/grpc get", "limit/bare grpc list"]),
    ("rebuild", &["rebuild/writes alone", "rebuild/writes beside rebuilds"]),
];

#[test]
fn every_workload_of_the_event_log_yields_its_figures() {
    let names: Vec<&str> = EXPECTED.iter().map(|(name, _)| *name).collect();
    check(&names.join(","), &EXPECTED);
}

#[test]
fn every_workload_of_the_shop_yields_its_figures() {
    assert!(
        std::env::var_os("STORELINE_SHOP_BIN").is_some(),
        "STORELINE_SHOP_BIN is not set: run the tests with `cargo xtask test`, or set it to the shop's program"
    );
    let names: Vec<&str> = OF_THE_SHOP.iter().map(|(name, _)| *name).collect();
    check(&names.join(","), &OF_THE_SHOP);
}

/// Starts servers and seven programs, so it is for the long forms.
#[test]
fn the_distributed_shop_yields_its_figures_beside_the_all_in_one_s() {
    if std::env::var_os("STORELINE_TEST_LONG").is_none() {
        return;
    }
    let names = ["cluster/32 clients", "cluster/all-in-one/64 clients", "cluster/half rate, p99"];
    check("cluster", &[("cluster", &names[..])]);
}

#[test]
fn what_is_not_understood_is_refused_with_the_help() {
    let output = program().args(["--only", "nothing"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("workloads:"), "{text}");
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_benches"))
}

fn check(only: &str, expected: &[(&str, &[&str])]) {
    let output = program()
        .args(["--only", only, "--seconds", "0.2", "--accounts", "100"])
        .env("STORELINE_TEST_POSTGRES_BIN", postgres_bin())
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for figure in expected.iter().flat_map(|(_, figures)| *figures) {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(figure)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no figure `{figure}` in\n{text}"));
        let first = value.trim().chars().next();
        assert!(
            first.is_some_and(|character| character.is_ascii_digit()),
            "`{figure}` is {value} in\n{text}"
        );
    }
}

/// The folder of pgbench: as `cargo xtask test` says, or that of Debian's packages.
fn postgres_bin() -> PathBuf {
    if let Some(named) = std::env::var_os("STORELINE_TEST_POSTGRES_BIN") {
        return named.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let found = folders.into_iter().rev().find(|folder| folder.join("pgbench").is_file());
    found.expect("STORELINE_TEST_POSTGRES_BIN is not set: run the tests with `cargo xtask test`")
}
