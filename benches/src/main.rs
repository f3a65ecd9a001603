//! Benchmarks that print our figure beside the limit measured in the same run. Absolute figures differ from machine to
//! machine by a factor of two and more; the ratios are what counts.
//!
//! `cargo xtask bench` provides PostgreSQL and runs this. It needs STORELINE_TEST_DATABASE_URL (a superuser),
//! STORELINE_TEST_POSTGRES_BIN (the folder of pgbench), and for the orders and reads STORELINE_SHOP_BIN.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing figures is what it is for")]

mod archive;
mod bare;
mod cluster;
mod databases;
mod event;
mod event_log;
mod figures;
mod growth;
mod grpc;
mod handled;
mod http;
mod import;
mod limits;
mod load;
mod options;
mod orders;
mod ours;
mod peers;
mod reads;
mod rebuild;
#[cfg(feature = "kafka")]
mod relay;
mod report;
mod rows;
mod run;
mod search;
mod shop;
mod sketch;
mod store;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use archive::Archive;
use databases::Databases;
pub use event_log::CLIENTS;
use figures::Runs;
use options::Options;
use run::{Run, Setup, Workload};

/// Where the report goes: into the folder that this is called in, which `cargo xtask bench` makes the workspace's.
const REPORT: &str = "BENCHMARKS.md";
/// Where it keeps what it was made of.
const FIGURES: &str = "benches/figures.json";

/// All there are, in the order in which they run.
const WORKLOADS: [Workload; 14] = [
    Workload {
        name: "w1",
        about: "append one event to a new stream, 32 and 256 clients",
        run: |run| event_log::w1(run).boxed_local(),
    },
    Workload {
        name: "w2",
        about: "load 20 events, decide, append one, 32 clients, states in memory and not",
        run: |run| event_log::w2(run).boxed_local(),
    },
    Workload { name: "w3", about: "32 clients on one stream", run: |run| event_log::w3(run).boxed_local() },
    Workload { name: "one", about: "one client's command", run: |run| event_log::one(run).boxed_local() },
    Workload {
        name: "w4",
        about: "replay 200,000 events, delay to the handler at 200/s, full speed with a subscriber",
        run: |run| event_log::w4(run).boxed_local(),
    },
    Workload {
        name: "orders",
        about: "confirmed orders over REST, and the time from placed to confirmed",
        run: |run| orders::orders(run).boxed_local(),
    },
    Workload {
        name: "reads",
        about: "one product and a page of products over REST and gRPC, beside bare servers",
        run: |run| reads::reads(run).boxed_local(),
    },
    Workload {
        name: "rebuild",
        about: "products created over REST, alone and while their read model is made anew",
        run: |run| rebuild::rebuild(run).boxed_local(),
    },
    Workload {
        name: "import",
        about: "files of 100,000 rows imported, imported again, tried and exported, and the memory of it",
        run: |run| import::import(run).boxed_local(),
    },
    Workload {
        name: "search",
        about: "search, lists with facets and products by id in 10^5 products (10^6 with --long)",
        run: |run| search::search(run).boxed_local(),
    },
    Workload {
        name: "growth",
        about: "w1, w2 and an order's time with 10^4, 10^5 and 10^6 events in the log (10^7 with --long)",
        run: |run| growth::growth(run).boxed_local(),
    },
    Workload {
        name: "relay",
        about: "commit to Kafka's acknowledgement, and a log copied into Kafka, when it is named only",
        #[cfg(feature = "kafka")]
        run: |run| relay::relay(run).boxed_local(),
        #[cfg(not(feature = "kafka"))]
        run: |_| async { anyhow::bail!("it needs Kafka: `cargo xtask bench --only relay`") }.boxed_local(),
    },
    Workload {
        name: "cluster",
        about: "confirmed orders of separate programs with Kafka, beside the all-in-one's, when it is named only",
        run: |run| cluster::cluster(run).boxed_local(),
    },
    Workload {
        name: "peers",
        about: "w1 to w4 with other libraries, with --peers only",
        run: |run| peers::peers(run).boxed_local(),
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == bare::COMMAND) {
        return exit_code(bare::serve(&arguments[1..]).await.map(|()| true));
    }
    let options = match Options::parse(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error:#}\n\n{}", options::help());
            return ExitCode::FAILURE;
        }
    };
    exit_code(run(options).await)
}

fn exit_code(ended: anyhow::Result<bool>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a workload failed.
async fn run(options: Options) -> anyhow::Result<bool> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} is not set: run `cargo xtask bench`"))
    };
    let setup = Setup {
        databases: Databases::open(&variable("STORELINE_TEST_DATABASE_URL")?).await?,
        postgres_bin: variable("STORELINE_TEST_POSTGRES_BIN")?.into(),
        shop: std::env::var_os("STORELINE_SHOP_BIN").map(Into::into),
        peers: std::env::var_os("STORELINE_PEERS_BIN").map(Into::into),
        peer_databases: Mutex::default(),
        grown_shops: Mutex::default(),
        catalogues: Mutex::default(),
        options,
    };
    let ended = tokio::select! {
        ended = measure(&setup) => ended,
        stopped = told_to_stop() => stopped.and_then(|()| anyhow::bail!("told to stop")),
    };
    setup.databases.remove_all().await?;
    ended
}

/// Returns upon Ctrl-C or SIGTERM, so that databases and shops do not stay behind.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

async fn measure(setup: &Setup) -> anyhow::Result<bool> {
    let options = &setup.options;
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(|workload| options.includes(workload)).collect();
    let (mut runs, mut failures) = (Runs::default(), Vec::new());
    for number in 0..options.runs {
        println!("run {} of {}", number + 1, options.runs);
        let (figures, failed) = Run::new(setup, number).all(&workloads).await;
        runs.0.push(figures);
        failures.extend(failed);
    }
    for rows in [
        rows::log_targets(),
        rows::shop_targets(),
        rows::search_targets(),
        rows::catalogue_targets(),
        rows::growth_targets(),
        rows::relay_targets(),
        rows::cluster_targets(),
    ] {
        let filled = rows::filled(&rows, &runs);
        if !filled.is_empty() {
            println!("\n{}", rows::as_text(&filled));
        }
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    let passed = failures.is_empty();
    if options.report {
        let postgres = setup.databases.describe().await?;
        let mut archive = Archive::load(Path::new(FIGURES))?;
        archive.add(report::measurement(options, runs, postgres, failures)?);
        archive.save(Path::new(FIGURES))?;
        std::fs::write(REPORT, report::render(&archive)?).context(REPORT)?;
        println!("wrote {REPORT}");
    }
    Ok(passed)
}
