//! BENCHMARKS.md: the machine, how to repeat it, the tables of targets, growth, other libraries, and every figure with its
//! spread. It is written from what was measured and says nothing else. Tables may come from several measurements, but no
//! table from two.

use std::fmt::Write;

use crate::archive::{Archive, Measurement};
use crate::figures::Runs;
use crate::options::{MEASURED, Options, REPORT_RUNS};
use crate::peers::LIBRARIES;
use crate::rows::{self, Filled, Row, verdict};

/// What was found to be wrong in a library, and not only slow: counted in every run.
const WRONG: [(&str, &str); 4] = [
    ("hot, stale decisions", "decisions on an old state that were let through"),
    ("delay, lost", "events never delivered at 200/s"),
    ("full speed, lost", "events never delivered at full speed"),
    ("repeated", "events delivered twice"),
];

/// The whole file.
pub fn render(archive: &Archive) -> anyhow::Result<String> {
    let mut text = String::from(HEAD);
    measurements(&mut text, archive)?;
    for (title, about, rows, floor) in [
        ("The event log", LOG, rows::log_targets(), true),
        ("The shop", SHOP, rows::shop_targets(), false),
        ("Search", SEARCH, rows::search_targets(), false),
        ("Imports and rebuilds", CATALOGUE, rows::catalogue_targets(), false),
        ("Growth", GROWTH, rows::growth_targets(), false),
        ("Into Kafka", RELAY, rows::relay_targets(), false),
        ("Services as processes of their own", CLUSTER, rows::cluster_targets(), false),
    ] {
        write!(text, "\n## {title}\n\n{about}")?;
        table(&mut text, archive, &rows, floor)?;
    }
    text.push_str("\n## Other libraries\n\n");
    let has_peers = |runs: &Runs| runs.names().iter().any(|name| name.starts_with("peer/")).then_some(());
    match archive.newest(has_peers) {
        Some((place, ())) => {
            libraries(&mut text, &archive.0[place].runs)?;
            measured_by(&mut text, archive, place)?;
        }
        None => text.push_str("Not measured yet: `--peers` adds them.\n"),
    }
    text.push_str(
        "\n## Every figure\n\n| figure | median (lowest - highest) | measurement |\n|---|---:|---|\n",
    );
    let mut names: Vec<&str> = archive.0.iter().flat_map(|measurement| measurement.runs.names()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let Some((place, shown)) = archive.newest(|runs| runs.show(name)) else { continue };
        writeln!(text, "| {name} | {shown} | {} |", letter(place))?;
    }
    let failures: Vec<&String> = archive.0.iter().flat_map(|measurement| &measurement.failures).collect();
    if !failures.is_empty() {
        text.push_str("\n## Failed\n\n");
        for failure in failures {
            writeln!(text, "- {failure}")?;
        }
    }
    Ok(text)
}

/// What a measurement ran on and how it is repeated.
pub fn measurement(
    options: &Options,
    runs: Runs,
    (postgres, settings): (String, Vec<String>),
    failures: Vec<String>,
) -> anyhow::Result<Measurement> {
    Ok(Measurement {
        command: command(options)?,
        machine: machine(&postgres, &settings, options)?,
        runs,
        failures,
    })
}

fn letter(place: usize) -> char {
    u8::try_from(place).map_or('?', |place| char::from(b'A' + place % 26))
}

fn measurements(text: &mut String, archive: &Archive) -> anyhow::Result<()> {
    for (place, Measurement { command, machine, .. }) in archive.0.iter().enumerate() {
        writeln!(text, "| measurement {} | |\n|---|---|", letter(place))?;
        for (name, value) in machine {
            writeln!(text, "| {name} | {value} |")?;
        }
        writeln!(text, "| to repeat | `{command}`, with nothing else running |\n")?;
    }
    Ok(())
}

fn measured_by(text: &mut String, archive: &Archive, place: usize) -> anyhow::Result<()> {
    if archive.0.len() > 1 {
        writeln!(text, "\nMeasurement {}.", letter(place))?;
    }
    Ok(())
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench --report`. Absolute figures differ between machines by a factor of two and more, and on
one machine from hour to hour by a third; ratios within a run are what counts. So every figure stands beside a limit that
was measured in the same run, ratios are taken within each run, and what is shown is the median over the runs with the
lowest and highest in brackets. Client and server share the machine. Every table is from one measurement; they are kept
in benches/figures.json, and a new one takes the place of what it measured again.

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
Where 100 requests a second are more than the maximal rate, there is no latency to show.

";

const CATALOGUE: &str = "\
Files of 100,000 rows into an empty shop by `shop import`, again, as a dry run, and out again by `shop export`, in rows a
second; the most memory that the command and the shop's process had resident. Writers beside a rebuild that is always at work.

";

const GROWTH: &str = "\
Logs filled past the append, 20 events to a stream and an answer for each; for orders one real order, multiplied in all logs,
answers and read models. The number is the events before the measurement, of all logs of the shop together for orders.

";

const RELAY: &str = "\
A log of 270-byte events copied into a topic of one broker, acks=all, idempotent: 500 events a second as they are committed,
beside a bare producer of rdkafka's, in milliseconds, and 200,000 of them at once, beside Kafka's own ProducerPerformance with
records of the same size.

";

const CLUSTER: &str = "\
One process for each service and for the gateway, a database each in one PostgreSQL, one broker of Kafka, one Redis, beside the
all-in-one in the same run with the same load; everything on the same cores.

";

fn machine(postgres: &str, settings: &[String], options: &Options) -> anyhow::Result<Vec<(String, String)>> {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let memory: f64 =
        first("/proc/meminfo", "MemTotal").split(' ').next().unwrap_or_default().parse().unwrap_or(0.0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = first("/proc/cpuinfo", "model name");
    let (runs, measured) = (options.runs, options.measured);
    Ok(vec![
        ("machine".to_owned(), format!("{cores} cores, {model}, {:.0} GiB", memory / 1_048_576.0)),
        ("kernel".to_owned(), kernel.trim().to_owned()),
        ("PostgreSQL".to_owned(), format!("{postgres}: {}", settings.join(", "))),
        ("runs".to_owned(), format!("{runs}, workloads in turn, {measured:?} measured for each figure")),
    ])
}

fn command(options: &Options) -> anyhow::Result<String> {
    let flags = [("--long", options.long), ("--peers", options.peers)];
    let mut command = "cargo xtask bench --report".to_owned();
    for (flag, _) in flags.iter().filter(|(_, on)| *on) {
        write!(command, " {flag}")?;
    }
    if options.measured != MEASURED {
        write!(command, " --seconds {}", options.measured.as_secs_f64())?;
    }
    if options.runs != REPORT_RUNS {
        write!(command, " --runs {}", options.runs)?;
    }
    if !options.only.is_empty() {
        write!(command, " --only {}", options.only.join(","))?;
    }
    Ok(command)
}

fn table(text: &mut String, archive: &Archive, rows: &[Row], floor: bool) -> anyhow::Result<()> {
    let Some((place, rows)) = archive.table(rows) else {
        text.push_str("Not measured yet.\n");
        return Ok(());
    };
    let (head, line) = if floor { (" floor | ours/floor |", "---:|---:|") } else { ("", "") };
    writeln!(text, "| work | ours | limit | the limit is | ratio | target | reached |{head}")?;
    writeln!(text, "|---|---:|---:|---|---:|---:|---|{line}")?;
    for row in &rows {
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
    measured_by(text, archive, place)
}

fn libraries(text: &mut String, runs: &Runs) -> anyhow::Result<()> {
    let show = |library: &str, name: &str| {
        let figure = if library.is_empty() { name.to_owned() } else { format!("peer/{library}/{name}") };
        runs.show(&figure).unwrap_or_else(|| "-".to_owned())
    };
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
        let run = figures.iter().map(|(name, value)| ((*name).to_owned(), figure(*value))).collect();
        let options = Options::parse(["--report".to_owned()]).unwrap().unwrap();
        let failures = vec!["orders (run 1): no shop".to_owned()];
        let mut archive = Archive::default();
        let postgres = ("15".to_owned(), Vec::new());
        archive.add(measurement(&options, Runs(vec![run]), postgres, failures).unwrap());
        let text = render(&archive).unwrap();
        assert!(text.contains("| append 1 event, 32 clients | 30,000/s | 10,000/s |"), "{text}");
        assert!(text.contains("| 3.00 | >= 2 | yes |"), "{text}");
        assert!(text.contains("- orders (run 1): no shop"), "{text}");
        assert!(text.contains("| to repeat | `cargo xtask bench --report`,"), "{text}");
    }

    #[test]
    fn a_table_stays_as_it_was_when_something_else_is_measured() {
        let mut archive = Archive::default();
        for (only, name) in [("w1", "w1/32"), ("orders", "orders/32 clients")] {
            let figure = Figure { unit: Unit::PerSecond, value: 400.0 };
            let runs = Runs(vec![[(name.to_owned(), figure)].into()]);
            let arguments = ["--report", "--only", only].map(str::to_owned);
            let options = Options::parse(arguments).unwrap().unwrap();
            archive.add(measurement(&options, runs, ("15".to_owned(), Vec::new()), Vec::new()).unwrap());
        }
        let text = render(&archive).unwrap();
        let log = text.split("\n## ").find(|section| section.starts_with("The event log")).unwrap();
        assert!(
            log.contains("| append 1 event, 32 clients | 400/s |") && log.contains("Measurement B."),
            "{log}"
        );
        let shop = text.split("\n## ").find(|section| section.starts_with("The shop")).unwrap();
        assert!(shop.contains("| 400/s |") && shop.contains("Measurement A."), "{shop}");
    }
}
