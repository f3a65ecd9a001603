//! Configuration, start and end of the gateway's process, and its command line. The all-in-one has its own: there the
//! services are in the same process.

mod config;
mod describe;
mod health;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_runtime::config::ConfigReader;

/// Name of the binary, and of the process in traces.
const NAME: &str = "api-gateway";
/// Exit code of a process that could not begin, or did not end as it should.
const REFUSED: u8 = 2;

/// REST, OpenAPI and server-sent events before services that are processes of their own.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = "Everything else is configuration: `config` lists the variables.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C (the default).
    Serve,
    /// Ask the process that serves beside this one whether it is ready. Exit code 1 if not.
    Healthcheck {
        /// Only whether it answers at all.
        #[arg(long)]
        live: bool,
    },
    /// List the variables that the commands read, with meaning, rule and default.
    Config {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let command = Cli::parse().command.unwrap_or(Command::Serve);
    run(command).unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "the last word of a command line")]
        {
            eprintln!("{NAME}: {error:#}");
        }
        ExitCode::from(REFUSED)
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut reader = ConfigReader::from_env();
    match command {
        Command::Config { json } => {
            describe::print(json);
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve => {
            let config = config::Serve::read(&mut reader);
            let config = reader.finish(config)?;
            on_runtime(serve::serve(config))??;
            Ok(ExitCode::SUCCESS)
        }
        Command::Healthcheck { live } => {
            let config = config::Health::read(&mut reader);
            let config = reader.finish(config)?;
            on_runtime(health::check(&config, live))
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work))
}
