//! `cargo xtask`: what developers and CI do with the workspace. It provides real servers and tools for a run and takes
//! them away again; it is no build system, and needs nothing but cargo and the standard library.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its user")]

mod apt;
mod bench;
mod cluster;
mod deploy;
mod helm;
mod maven;
mod programs;
mod rehearsal;
mod servers;
mod test;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  test [OPTIONS] [FILTER]   provides servers and tools, then checks and tests everything
  bench [ARGUMENTS]         provides servers, then runs the benchmarks in release mode
  cluster [OPTIONS]         runs the distributed shop on this machine
  tidy                      checks the dependency arrows of the design
  helm                      checks the chart; the step of `test` starts what it would start, too
  dashboards                writes Grafana's dashboards from their tables
  help [COMMAND]            this text, or more about one command
";

const TIDY_HELP: &str = "\
cargo xtask tidy

Fails when a crate depends on a crate that it must not know, when a module inside a service points against
`grpc -> application -> domain <- adapters`, when a domain does I/O, reads the clock or takes random numbers, or when
the mechanism crates speak of the business. Lists files that have grown too long, which is no failure.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a check failed, Err when it could not be made.
fn dispatch(arguments: &[String]) -> Result<bool> {
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(false);
    };
    let asks_help = rest.iter().any(|argument| argument == "--help" || argument == "-h");
    match (command.as_str(), asks_help) {
        ("help" | "--help" | "-h", _) => help(rest.first().map(String::as_str)),
        (command, true) => help(Some(command)),
        ("test", _) => test::run(&test::Options::parse(rest)?),
        ("bench", _) => bench::run(rest),
        ("helm", _) if rest.is_empty() => helm::run(&workspace_root(), None),
        ("helm", _) => bail!("`helm` takes no arguments"),
        ("dashboards", _) if rest.is_empty() => deploy::write_dashboards(&workspace_root()),
        ("dashboards", _) => bail!("`dashboards` takes no arguments"),
        ("cluster", _) => cluster::run(&cluster::Options::parse(rest)?),
        ("tidy", _) if rest.is_empty() => tidy::run(&workspace_root()),
        ("tidy", _) => bail!("`tidy` takes no arguments"),
        (unknown, _) => bail!("there is no command `{unknown}`\n\n{HELP}"),
    }
}

fn help(command: Option<&str>) -> Result<bool> {
    match command {
        Some("test") => print!("{}", test::HELP),
        Some("bench") => {
            println!("{}", bench::HELP);
            return bench::help();
        }
        Some("cluster") => print!("{}", cluster::HELP),
        Some("tidy") => print!("{TIDY_HELP}"),
        _ => print!("{HELP}"),
    }
    Ok(true)
}

/// The folder of the workspace that this program was built from.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo builds, which need not be in the workspace: this program lies in it under its profile's name.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = program.parent().and_then(Path::parent);
    Ok(folder.context("this program lies in no folder of cargo's")?.to_owned())
}

/// The cargo that runs us, so that nested calls use the same toolchain.
fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}
