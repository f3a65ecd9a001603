//! The operator's command line: what it offers, and how it prints. Each command is a file of its own; what
//! they share is where the running shop is found.

#![expect(clippy::print_stdout, reason = "printing is what a command line is for")]

mod audit;
mod demo;
mod events;
mod export;
mod feeds;
mod forget;
mod import;
mod parked;
mod rebuild;
mod relay;
mod saga;
mod show;

use std::collections::{BTreeMap, HashSet};

use anyhow::Context;
use clap::{Parser, Subcommand};
use service_runtime::Secret;

use crate::config::{Config, Location, SERVICES};
use crate::data_folder::DataFolder;
use crate::database::{Database, EmbeddedOptions};
use crate::serve;

/// Event-sourced commerce backend: the whole shop in one process, and the commands to run it.
#[derive(Debug, Parser)]
#[command(name = "shop", version, arg_required_else_help = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the shop (the default). REST on http://localhost:8080, data in ./data.
    Serve,
    /// List the variables that `serve` reads, and those by which the other commands find a shop, with their defaults.
    Config,
    /// Import the sample catalogue, place orders of every outcome over REST, follow them and print each
    /// timeline.
    Demo(demo::Arguments),
    /// Import a product CSV in Shopify's format. Safe to repeat, and to interrupt.
    ///
    /// An import of a file that was interrupted, also by a crash of the shop or of this command, goes on at the row
    /// where it stopped when the same file is imported again.
    /// A product that is refused, because of its rows or by a rule of the shop, is reported and the others go on.
    /// Exit code 1 if any was, 2 if the import ended early.
    Import(import::Arguments),
    /// Write the catalogue, as it is at one moment, to a CSV file that `import` reads.
    ///
    /// Importing the file into an empty shop and exporting again gives the same file. Stock is not in it: that is
    /// inventory's. Cells are written as they are, so a spreadsheet takes a text that begins with =, +, - or @ for a
    /// formula: open the file there with all columns as text, and never a file of texts that strangers wrote.
    Export(export::Arguments),
    /// Print the events of a stream, or of a whole log, or follow them.
    Events(events::Arguments),
    /// Print a product as it is, or as it was at a time.
    Show(show::Arguments),
    /// Look at a saga, list those that are stuck, and help them.
    Saga(saga::Arguments),
    /// List, inspect, redrive and discard messages that a service could not handle.
    Parked(parked::Arguments),
    /// List how far logs are copied into Kafka, and tell a relay that has stopped what to do.
    Relay(relay::Arguments),
    /// List how far subscriptions are in their feeds, and have one that has stopped go on.
    Feeds(feeds::Arguments),
    /// Make a read model anew while it serves, and watch it; or list read models, give a rebuild up, or switch back.
    ///
    /// It is carried out by the shop and goes on when this command ends. Exit code 1 if it does not go on by itself.
    Rebuild(rebuild::Arguments),
    /// Check the shop's invariants on the stored events and read models. Exit code 1 if one is broken.
    Audit(audit::Arguments),
    /// Delete the key that the personal data of a guest order or a customer is sealed under.
    Forget(forget::Arguments),
}

impl Cli {
    /// Carries the command out. Returns the process's exit code.
    ///
    /// # Errors
    /// What keeps it from being carried out.
    pub async fn run(self) -> anyhow::Result<u8> {
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::serve(Config::from_env()?).await.map(|()| 0),
            Command::Config => describe_config(),
            Command::Demo(arguments) => demo::run(arguments, &Location::from_env()?).await,
            Command::Import(arguments) => import::run(arguments, &Location::from_env()?).await,
            Command::Export(arguments) => export::run(arguments, &Location::from_env()?).await,
            Command::Events(arguments) => events::run(arguments, &Location::from_env()?).await,
            Command::Show(arguments) => show::run(arguments, &Location::from_env()?).await,
            Command::Saga(arguments) => saga::run(arguments, &Location::from_env()?).await,
            Command::Parked(arguments) => parked::run(arguments, &Location::from_env()?).await,
            Command::Relay(arguments) => relay::run(arguments, &Location::from_env()?).await,
            Command::Feeds(arguments) => feeds::run(arguments, &Location::from_env()?).await,
            Command::Rebuild(arguments) => rebuild::run(arguments, &Location::from_env()?).await,
            Command::Audit(arguments) => audit::run(arguments, &Location::from_env()?).await,
            Command::Forget(arguments) => forget::run(arguments, &Location::from_env()?).await,
        }
    }
}

fn describe_config() -> anyhow::Result<u8> {
    let mut reader = service_runtime::config::ConfigReader::default();
    Config::read(&mut reader);
    Location::read(&mut reader);
    let mut listed = HashSet::new();
    for variable in reader.describe().iter().filter(|variable| listed.insert(&variable.name)) {
        println!("{variable}");
    }
    Ok(0)
}

/// The databases of a shop.
struct Databases {
    /// By service.
    urls: BTreeMap<&'static str, String>,
    /// The server, when it is the shop's own and may have been started for this command.
    server: Option<Database>,
}

impl Databases {
    /// Those of `services`, whether the shop runs or not, with a word on stderr when a server has to be started first.
    async fn of(location: &Location, services: &[&str]) -> anyhow::Result<Self> {
        if let Some(cluster) = &location.cluster {
            let urls = SERVICES.into_iter().zip(cluster.databases(services)?);
            let urls = urls.filter_map(|(service, url)| Some((service, url?.expose().to_owned())));
            return Ok(Self { urls: urls.collect(), server: None });
        }
        let folder = DataFolder::attach(&location.data)?;
        let url = location.database_url.as_ref().map(Secret::expose);
        let options = EmbeddedOptions::default();
        let database = Database::attach(&folder, url, &options, |step| tracing::info!("{step}")).await?;
        let mut urls = BTreeMap::new();
        for service in SERVICES {
            urls.insert(service, database.urls(service)?.app.expose().to_owned());
        }
        Ok(Self { urls, server: Some(database) })
    }

    /// Where the database of a service is.
    fn url(&self, service: &str) -> anyhow::Result<&str> {
        let url = self.urls.get(service);
        Ok(url.with_context(|| format!("the database of `{service}` is not known"))?)
    }

    /// Stops a server that was started for this command.
    async fn close(self) -> anyhow::Result<()> {
        match self.server {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }
}

/// A time as it is printed: UTC, to the millisecond.
fn time(at: Option<&prost_types::Timestamp>) -> String {
    let at = at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, at.nanos.try_into().ok()?));
    at.map_or_else(|| "-".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}
