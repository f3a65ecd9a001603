//! `shop relay`: how far the services' logs are copied into Kafka, and what a relay that has stopped is told to do.

use anyhow::bail;
use clap::{Args, Subcommand};
use contracts::shop::operations::v1 as operations;
use operations::operations_service_client::OperationsServiceClient;

use crate::config::{Location, SERVICES};
use crate::running::{OperatorChannel, RunningShop, explain};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON, one relay a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the relays of all services with their backlog (the default).
    List,
    /// Have a service's topic emptied, and filled again from its log.
    ///
    /// After the topic was deleted and made anew, or lost records. Subscriptions that follow it stop, and are told with
    /// `shop feeds go-on --from-beginning` to read it again; what they have handled they pass over.
    Refill { service: String },
    /// Have a relay go on after a position that log and topic share, once a log was restored.
    GoOn {
        service: String,
        /// The last position that the restored log and the topic share.
        #[arg(long)]
        position: i64,
    },
}

type Client = OperationsServiceClient<OperatorChannel>;

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    match arguments.command.unwrap_or(Command::List) {
        Command::List => {
            for service in SERVICES {
                for relay in relays(&mut client(&shop, service).await?).await? {
                    print(&relay, arguments.json);
                }
            }
        }
        Command::Refill { service } => {
            let mut client = client(&shop, &service).await?;
            let topic = topic_of(&mut client, &service).await?;
            let request = operations::RefillTopicRequest { topic: topic.clone() };
            client.refill_topic(request).await.map_err(|s| explain(&s))?;
            println!("{topic} will be emptied and filled again; `shop relay` shows how far it is.");
        }
        Command::GoOn { service, position } => {
            let mut client = client(&shop, &service).await?;
            let topic = topic_of(&mut client, &service).await?;
            let request = operations::ResumeRelayRequest { topic: topic.clone(), position };
            client.resume_relay(request).await.map_err(|s| explain(&s))?;
            println!("The relay of {topic} will go on after {position}.");
        }
    }
    Ok(0)
}

async fn client(shop: &RunningShop<'_>, service: &str) -> anyhow::Result<Client> {
    Ok(OperationsServiceClient::new(shop.channel(service).await?))
}

async fn relays(client: &mut Client) -> anyhow::Result<Vec<operations::Relay>> {
    let reply = client.list_relays(operations::ListRelaysRequest {}).await.map_err(|s| explain(&s))?;
    Ok(reply.into_inner().relays)
}

/// The topic that the service fills now. Another may be left from before its name was changed; that one stands still.
async fn topic_of(client: &mut Client, service: &str) -> anyhow::Result<String> {
    let relays = relays(client).await?;
    match relays.as_slice() {
        [relay] => Ok(relay.topic.clone()),
        [] => bail!("{service} has no relay: it is not connected to Kafka"),
        several => {
            let topics: Vec<_> = several.iter().map(|relay| relay.topic.as_str()).collect();
            bail!(
                "{service} has had several topics, {}: use RefillTopic or ResumeRelay over gRPC",
                topics.join(", ")
            )
        }
    }
}

fn print(relay: &operations::Relay, json: bool) {
    let operations::Relay { topic, log, position, head, state, error, wanted } = relay;
    let backlog = (head - position).max(0);
    if json {
        let line = serde_json::json!({
            "topic": topic, "log": log, "position": position, "head": head, "backlog": backlog, "state": state,
            "error": error, "wanted": wanted,
        });
        println!("{line}");
        return;
    }
    let wanted =
        if wanted.is_empty() { String::new() } else { format!(", asked to {}", wanted.to_lowercase()) };
    println!("{topic:<32} has {log:<10} up to {position:>8}, backlog {backlog:>5}, {state}{wanted}");
    if !error.is_empty() {
        println!("  {error}");
    }
}
