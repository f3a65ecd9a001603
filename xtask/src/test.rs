//! `cargo xtask test`: the one command that a change must pass, locally and in CI. It provides what the tests need,
//! runs every step even after one failed, and ends with a table of what each took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::servers::Servers;
use crate::tools::Tools;
use crate::{cargo, deploy, helm, target_folder, tidy, workspace_root};

pub const HELP: &str = "\
cargo xtask test [OPTIONS] [FILTER]

Provides PostgreSQL, Redis and Java (found, or installed by apt as root), Apache Kafka (from Maven Central into
~/.cache/storeline), curl and grpcurl (found, or built with Go into ~/.cache/storeline/bin), starts a throwaway database
server and a throwaway Kafka broker, then runs the steps below. FILTER goes to `cargo test`.

  --quick          without clippy and doc
  --long           the long forms of tests: more events, more kills
  --only STEP,..   only these steps
  --docker         the step docker too: builds the image, brings docker-compose.yml up and plays the demo on it

steps: servers fmt tidy clippy doc build deploy test helm download docker
The step deploy reads Dockerfile, compositions, alerts and dashboards with hadolint (PyPI), docker-compose and promtool
(Debian packages); the step helm renders the chart with Helm and kubeconform (built with Go into ~/.cache/storeline/bin) and
holds it against schemas from PyPI and Go modules; then it starts the programs as the rendered Deployments would.
";

/// From a clean clone, on two cores.
const BUDGET: Duration = Duration::from_secs(45 * 60);

/// Tests of one program that run at the same time. Some run a whole shop each, and PostgreSQL has so many connections.
const TESTS_AT_ONCE: usize = 4;

/// Features that are not the default: services as programs of their own, and benchmarks with Kafka.
pub const FEATURES: &str = "product-service/process,inventory-service/process,order-service/process,\
                        payment-service/process,saga-orchestrator/process,api-gateway/process,\
                        benches/kafka,shop/kafka";

const STEPS: [Step; 11] = [
    Step { name: "servers", quick: true, run: ask_servers },
    Step { name: "fmt", quick: true, run: |run| run.cargo(&["fmt", "--all", "--check"]) },
    Step { name: "tidy", quick: true, run: |_| tidy::run(&workspace_root()) },
    Step {
        name: "clippy",
        quick: false,
        run: |run| {
            let everything = ["clippy", "--workspace", "--all-targets", "--features", FEATURES];
            run.cargo(&[&everything[..], &["--", "-D", "warnings"]].concat())
        },
    },
    Step {
        name: "doc",
        quick: false,
        run: |run| run.cargo(&["doc", "--workspace", "--features", FEATURES, "--no-deps"]),
    },
    Step { name: "build", quick: true, run: build_programs },
    Step { name: "deploy", quick: true, run: |run| deploy::run(&workspace_root(), run.servers) },
    Step { name: "test", quick: true, run: test_workspace },
    // After the tests, which build the programs that it asks what they read.
    Step {
        name: "helm",
        quick: false,
        run: |run| {
            let stage = helm::Given { servers: run.servers, grpcurl: &run.tools.grpcurl };
            helm::run(&workspace_root(), Some(&stage))
        },
    },
    Step {
        name: "download",
        quick: false,
        run: |run| run.cargo(&["test", "--package", "shop", "--lib", "--", "--ignored", "download"]),
    },
    Step { name: DOCKER, quick: true, run: |_| deploy::docker::run(&workspace_root()) },
];
/// Takes minutes to compile, and a C compiler with headers, which who only wants to try the shop need not have.
const KAFKA_CLIENT: &str = "rdkafka";
/// The one step that runs only when it is asked for, since it needs a Docker engine.
const DOCKER: &str = "docker";

/// What the user asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    quick: bool,
    long: bool,
    docker: bool,
    only: Vec<String>,
    filter: Option<String>,
}

struct Step {
    name: &'static str,
    /// Runs with `--quick` too.
    quick: bool,
    run: fn(&Run<'_>) -> Result<bool>,
}

/// What every step of one run shares.
struct Run<'a> {
    options: &'a Options,
    servers: &'a Servers,
    tools: &'a Tools,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--long" => options.long = true,
                "--docker" => options.docker = true,
                "--only" => {
                    let steps = arguments.next().context("--only needs the names of steps")?;
                    options.only = steps.split(',').map(str::to_owned).collect();
                }
                unknown if unknown.starts_with('-') => bail!("there is no option `{unknown}`\n\n{HELP}"),
                filter if options.filter.is_none() => options.filter = Some(filter.to_owned()),
                second => bail!("one filter at most, and `{second}` is a second"),
            }
        }
        for name in &options.only {
            if STEPS.iter().all(|step| step.name != name) {
                bail!("there is no step `{name}`\n\n{HELP}");
            }
        }
        Ok(options)
    }

    fn includes(&self, step: &Step) -> bool {
        if step.name == DOCKER && self.docker {
            return true;
        }
        match self.only.is_empty() {
            true if step.name == DOCKER => false,
            true => step.quick || !self.quick,
            false => self.only.iter().any(|name| name == step.name),
        }
    }
}

/// False when a step failed.
pub fn run(options: &Options) -> Result<bool> {
    let begin = Instant::now();
    println!("== providing servers and tools");
    let tools = Tools::provide()?;
    let servers = Servers::provide()?;
    let provided = begin.elapsed();
    let run = Run { options, servers: &servers, tools: &tools };
    let mut results = Vec::new();
    for step in STEPS.iter().filter(|step| options.includes(step)) {
        println!("\n== {}", step.name);
        let begin = Instant::now();
        let passed = (step.run)(&run).unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", step.name);
            false
        });
        results.push((step.name, passed, begin.elapsed()));
    }
    drop(servers);
    println!("\n{:<10} {:>9}", "step", "time");
    println!("{:<10} {:>9}", "provide", minutes(provided));
    for (name, passed, took) in &results {
        println!("{name:<10} {:>9}  {}", minutes(*took), if *passed { "ok" } else { "FAILED" });
    }
    let total = begin.elapsed();
    let verdict = if total > BUDGET { "OVER the budget" } else { "within the budget" };
    println!("{:<10} {:>9}  {verdict} of {}", "total", minutes(total), minutes(BUDGET));
    Ok(results.iter().all(|(_, passed, _)| *passed))
}

impl Run<'_> {
    /// Runs cargo with everything that tests look for in their environment.
    fn cargo(&self, arguments: &[&str]) -> Result<bool> {
        let mut command = cargo();
        command.args(arguments);
        self.export_to(&mut command)?;
        Ok(command.status().context("cannot run cargo")?.success())
    }

    fn export_to(&self, command: &mut Command) -> Result<()> {
        self.servers.export_to(command);
        command
            .env("PATH", self.tools.path()?)
            .env("STORELINE_TEST_GRPCURL", &self.tools.grpcurl)
            .env("STORELINE_TEST_CURL", &self.tools.curl)
            .env("STORELINE_SHOP_BIN", target_folder()?.join("debug/shop"))
            .env("RUSTDOCFLAGS", "-D warnings");
        // Whoever runs the tests may want fewer, or more.
        if std::env::var_os("RUST_TEST_THREADS").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            command.env("RUST_TEST_THREADS", cores.min(TESTS_AT_ONCE).to_string());
        }
        if self.options.long {
            command.env("STORELINE_TEST_LONG", "1");
        }
        Ok(())
    }
}

fn ask_servers(run: &Run<'_>) -> Result<bool> {
    println!("{}", run.servers.postgres.ask_version()?);
    println!("{}", run.servers.kafka.version());
    println!("{}", run.servers.redis.version());
    Ok(true)
}

/// What tests run as processes; and that the all-in-one alone does without what only the others need.
fn build_programs(run: &Run<'_>) -> Result<bool> {
    let built = run.cargo(&["build", "--workspace", "--bins", "--features", FEATURES])?;
    let mut tree = cargo();
    tree.args(["tree", "--package", "shop", "--edges", "normal,build", "--prefix", "none"]);
    let tree = tree.output().context("cannot run cargo tree")?;
    let packages = String::from_utf8_lossy(&tree.stdout);
    let burdened = packages.lines().any(|line| line.starts_with(KAFKA_CLIENT));
    if burdened {
        println!("error: the all-in-one compiles {KAFKA_CLIENT} without being asked to");
    }
    Ok(built && tree.status.success() && !burdened)
}

fn test_workspace(run: &Run<'_>) -> Result<bool> {
    let mut arguments = vec!["test", "--workspace", "--features", FEATURES, "--no-fail-fast"];
    arguments.extend(run.options.filter.as_deref());
    run.cargo(&arguments)
}

fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn steps(line: &str) -> Vec<&'static str> {
        let options = parse(line).unwrap();
        STEPS.iter().filter(|step| options.includes(step)).map(|step| step.name).collect()
    }

    #[test]
    fn options_choose_the_steps() {
        assert_eq!(steps("").len(), STEPS.len() - 1);
        assert_eq!(steps("--docker").len(), STEPS.len());
        assert_eq!(steps("--quick"), ["servers", "fmt", "tidy", "build", "deploy", "test"]);
        assert_eq!(steps("--only tidy --docker"), ["tidy", "docker"]);
        assert_eq!(steps("--only tidy,fmt"), ["fmt", "tidy"]);
    }

    #[test]
    fn a_filter_is_kept_and_what_is_not_understood_is_refused() {
        assert_eq!(parse("--long checkout").unwrap().filter.as_deref(), Some("checkout"));
        for wrong in ["--fast", "--only", "--only nothing", "one two"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn help_names_every_step() {
        for step in &STEPS {
            assert!(HELP.contains(step.name), "{}", step.name);
        }
    }
}
