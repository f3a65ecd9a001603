//! The command line of a service's binary.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use service_runtime::config::ConfigReader;

use crate::{DONE, REFUSED, Service, config, describe, health, migrate, serve};

#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = false, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "Everything else is configuration: `config` lists the variables.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C (the default).
    Serve,
    /// Bring the database to the schema of this program, and give the service's role its rights.
    ///
    /// Safe with several at once, and while the version before still serves.
    Migrate {
        /// After a restore, or a promotion that may have lost commits: also raise the incarnation of the log.
        ///
        /// Every service that follows this one stops then, says so, and goes on when it is told to. All replicas of this
        /// service must be stopped.
        #[arg(long)]
        raise_incarnation: bool,
    },
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

/// Runs the binary of a service.
pub fn main<S: Service>() -> ExitCode {
    let about = format!("The {} as a process of its own.", S::NAME.replace('-', " "));
    let matches = Cli::command().name(S::NAME).bin_name(S::NAME).about(about).get_matches();
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command.unwrap_or(Command::Serve),
        Err(error) => error.exit(),
    };
    match run::<S>(command) {
        Ok(code) => code,
        Err(refusal) => {
            #[expect(clippy::print_stderr, reason = "the last word of a command line")]
            {
                eprintln!("{}: {refusal}", S::NAME);
            }
            ExitCode::from(REFUSED)
        }
    }
}

fn run<S: Service>(command: Command) -> Result<ExitCode, String> {
    let mut reader = ConfigReader::from_env();
    match command {
        Command::Config { json } => {
            describe::print::<S>(json);
            Ok(DONE)
        }
        Command::Serve => {
            let config = config::Serve::<S>::read(&mut reader);
            let config = reader.finish(config).map_err(text)?;
            on_runtime(serve::serve(config))?.map_err(text)?;
            Ok(DONE)
        }
        Command::Migrate { raise_incarnation } => {
            let config = config::Migrate::read::<S>(&mut reader);
            let config = reader.finish(config).map_err(text)?;
            on_runtime(migrate::run::<S>(config, raise_incarnation))?.map_err(text)?;
            Ok(DONE)
        }
        Command::Healthcheck { live } => {
            let config = config::Health::read::<S>(&mut reader);
            let config = reader.finish(config).map_err(text)?;
            on_runtime(health::check(&config, live))
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(text)?;
    Ok(runtime.block_on(work))
}

fn text(error: impl Display) -> String {
    error.to_string()
}
