//! BENCHMARKS.md: the machine, how to repeat it, the tables of targets, growth, other libraries, and every figure with its
//! spread. It is written from what was measured and says nothing else.

use std::fmt::Write;

use crate::figures::Runs;
use crate::options::{MEASURED, Options};
use crate::peers::LIBRARIES;
use crate::rows::{self, Filled, verdict};

/// What was found to be wrong in a library, and not only slow: counted in every run.
const WRONG: [(&str, &str); 4] = [
    ("hot, stale decisions", "decisions on an old state that were let through"),
    ("delay, lost", "events never delivered at 200/s"),
    ("full speed, lost", "events never delivered at full speed"),
    ("repeated", "events delivered twice"),
];

/// Everything around the figures.
pub struct Surroundings {
    pub postgres: String,
    pub settings: Vec<String>,
    pub failures: Vec<String>,
}

/// The whole file.
pub fn render(options: &Options, runs: &Runs, around: &Surroundings) -> anyhow::Result<String> {
    let mut text = String::from(HEAD);
    machine(&mut text, options, around)?;
    text.push_str("\n## The event log\n\n");
    text.push_str(LOG);
    table(&mut text, &rows::filled(rows::log_targets(), runs), true)?;
    text.push_str("\n## The shop\n\n");
    text.push_str(SHOP);
    table(&mut text, &rows::filled(rows::shop_targets(), runs), false)?;
    text.push_str("\n## Search\n\n");
    text.push_str(SEARCH);
    table(&mut text, &rows::filled(rows::search_targets(), runs), false)?;
    text.push_str("\n## Growth\n\n");
    text.push_str(GROWTH);
    table(&mut text, &rows::filled(rows::growth_targets(), runs), false)?;
    libraries(&mut text, runs)?;
    text.push_str("\n## Every figure\n\n| figure | median (lowest - highest) |\n|---|---:|\n");
    for name in runs.names() {
        writeln!(text, "| {name} | {} |", runs.show(name).unwrap_or_default())?;
    }
    if !around.failures.is_empty() {
        text.push_str("\n## Failed\n\n");
        for failure in &around.failures {
            writeln!(text, "- {failure}")?;
        }
    }
    Ok(text)
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench --report`. Absolute figures differ between machines by a factor of two and more, and on
one machine from hour to hour by a third; ratios within a run are what counts. So every figure stands beside a limit that
was measured in the same run, ratios are taken within each run, and what is shown is the median over the runs with the
lowest and highest in brackets. Client and server share the machine.

";

const LOG: &str = "\
The limits are pgbench on a plain table with an index by stream and version, the same 270 bytes of JSON, prepared
statements. The floor is a sketch of the log's own shape in 300 lines (benches/src/sketch.rs): commands queue in front of
one processor, and one call of a function takes a lock, looks up command ids, checks versions, stores answers and events.
It has no conflicts, no recovery, no snapshots, and replays two columns of an event where ours reads all ten. `ours/floor`
is a ratio of speeds: 0.8 is a fifth below. Replay, delay and full speed are of a reactor, ours and the sketch's; a read model
is the figure `w4/replay into a table`.

";

const SHOP: &str = "\
The all-in-one as a process of its own, with a PostgreSQL of its own and durable settings, over loopback; the load generator
is a bare hyper client on the same cores. An order counts when its client has seen OrderConfirmed in the order's event
stream; every order opens that stream. The bare servers are a process of their own too.

";

const SEARCH: &str = "\
Generated products with three variants each, written past the log; the shop's own PostgreSQL, over gRPC, 24 products on a
page, facets with every one. Targets are in milliseconds. The limit is a SELECT of one name by primary key over eight connections.

";

const GROWTH: &str = "\
Logs filled past the append, 20 events to a stream and an answer for each; for orders one real order, multiplied in all logs,
answers and read models. The number is the events before the measurement, of all logs of the shop together for orders.

";

fn machine(text: &mut String, options: &Options, around: &Surroundings) -> anyhow::Result<()> {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let memory: f64 =
        first("/proc/meminfo", "MemTotal").split(' ').next().unwrap_or_default().parse().unwrap_or(0.0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(
        text,
        "| machine | {cores} cores, {}, {:.0} GiB |",
        first("/proc/cpuinfo", "model name"),
        memory / 1_048_576.0
    )?;
    writeln!(text, "| kernel | {} |", kernel.trim())?;
    writeln!(text, "| PostgreSQL | {}: {} |", around.postgres, around.settings.join(", "))?;
    writeln!(
        text,
        "| runs | {}, workloads in turn, {:?} measured for each figure |",
        options.runs, options.measured
    )?;
    let flags = [("--long", options.long), ("--peers", options.peers)];
    let mut flags: String = flags.iter().filter(|(_, on)| *on).map(|(flag, _)| format!(" {flag}")).collect();
    if options.measured != MEASURED {
        write!(flags, " --seconds {}", options.measured.as_secs_f64())?;
    }
    if !options.only.is_empty() {
        write!(flags, " --only {}", options.only.join(","))?;
    }
    writeln!(text, "| to repeat | `cargo xtask bench --report{flags}`, with nothing else running |")?;
    Ok(())
}

fn table(text: &mut String, rows: &[Filled], floor: bool) -> anyhow::Result<()> {
    if rows.is_empty() {
        text.push_str("Not measured in these runs.\n");
        return Ok(());
    }
    let (head, line) = if floor { (" floor | ours/floor |", "---:|---:|") } else { ("", "") };
    writeln!(text, "| work | ours | limit | the limit is | ratio | target | reached |{head}")?;
    writeln!(text, "|---|---:|---:|---|---:|---:|---|{line}")?;
    for row in rows {
        let Filled { work, ours, against, against_is, ratio, target, .. } = row;
        write!(
            text,
            "| {work} | {ours} | {against} | {against_is} | {ratio} | {target} | {} |",
            verdict(row.reached)
        )?;
        if floor {
            let short = if row.floor_held == Some(false) { " (short)" } else { "" };
            write!(text, " {} | {}{short} |", row.floor, row.of_floor)?;
        }
        text.push('\n');
    }
    Ok(())
}

fn libraries(text: &mut String, runs: &Runs) -> anyhow::Result<()> {
    text.push_str("\n## Other libraries\n\n");
    let show = |library: &str, name: &str| {
        let figure = if library.is_empty() { name.to_owned() } else { format!("peer/{library}/{name}") };
        runs.show(&figure).unwrap_or_else(|| "-".to_owned())
    };
    if runs.names().iter().all(|name| !name.starts_with("peer/")) {
        text.push_str("Not measured in these runs: `--peers` adds them.\n");
        return Ok(());
    }
    text.push_str(
        "W1 to W4 through libraries from crates.io (benches/peers), none of which has idempotent commands, in the same \
         runs.\n\n",
    );
    writeln!(
        text,
        "| work | ours | {} |\n|---|---:|{}",
        LIBRARIES.join(" | "),
        "---:|".repeat(LIBRARIES.len())
    )?;
    for (work, ours, theirs) in [
        ("append 1 event, 32 clients", "w1/32", "append"),
        ("load 20, decide, append, 32 clients", "w2/cold", "command"),
        ("32 clients on one stream", "w3", "hot"),
        ("failed attempts in 100 on one stream", "", "hot, failed attempts in 100"),
        ("replay 200,000 events", "w4/replay", "replay"),
        ("append to handler at 200/s, p50", "w4/delay p50", "delay p50"),
        ("append to handler at 200/s, p99", "w4/delay p99", "delay p99"),
        ("full-speed appends with a subscriber", "w4/full speed", "full speed"),
    ] {
        let cells: Vec<String> = LIBRARIES.iter().map(|library| show(library, theirs)).collect();
        writeln!(text, "| {work} | {} | {} |", show("", ours), cells.join(" | "))?;
    }
    text.push_str("\nWrong, and not only slow, as counted in these runs (median, lowest - highest); `-` has no such work:\n\n");
    writeln!(
        text,
        "| what | ours | {} |\n|---|---:|{}",
        LIBRARIES.join(" | "),
        "---:|".repeat(LIBRARIES.len())
    )?;
    for (name, what) in WRONG {
        let cells: Vec<String> = LIBRARIES.iter().map(|library| show(library, name)).collect();
        let ours = if name == "full speed, lost" { show("", "w4/lost or repeated") } else { "0".to_owned() };
        writeln!(text, "| {what} | {ours} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figure, Unit};

    #[test]
    fn the_report_has_a_row_for_what_was_measured_and_says_what_failed() {
        let figure = |value| Figure { unit: Unit::PerSecond, value };
        let figures = [("w1/32", 30_000.0), ("limit/insert, 32 clients", 10_000.0)];
        let runs =
            Runs(vec![figures.iter().map(|(name, value)| ((*name).to_owned(), figure(*value))).collect()]);
        let options = Options::parse(["--report".to_owned()]).unwrap().unwrap();
        let failures = vec!["orders (run 1): no shop".to_owned()];
        let around = Surroundings { postgres: "15".to_owned(), settings: Vec::new(), failures };
        let text = render(&options, &runs, &around).unwrap();
        assert!(text.contains("| append 1 event, 32 clients | 30,000/s | 10,000/s |"), "{text}");
        assert!(text.contains("| 3.00 | >= 2 | yes |"), "{text}");
        assert!(text.contains("- orders (run 1): no shop"), "{text}");
    }
}
