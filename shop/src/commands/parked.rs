//! `shop parked`: messages that a service could not handle.

use clap::{Args, Subcommand};
use contracts::shop::operations::v1 as operations;
use operations::operations_service_client::OperationsServiceClient;

use crate::config::{Location, SERVICES};
use crate::running::{OperatorChannel, RunningShop, explain};

/// Parked messages read at once.
const PAGE: i32 = 200;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON, one message a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List parked messages of all services (the default).
    List,
    /// List every subscription with its lag.
    Subscriptions,
    /// Print one message with its content.
    Show { service: String, subscription: String, position: i64 },
    /// Handle the messages of a key again, in order.
    Redrive { service: String, subscription: String, key: String },
    /// Give one message up for good.
    Discard { service: String, subscription: String, position: i64 },
}

type Client = OperationsServiceClient<OperatorChannel>;

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    match arguments.command.unwrap_or(Command::List) {
        Command::List => {
            let mut count = 0;
            for service in SERVICES {
                count += list(service, &mut client(&shop, service).await?, arguments.json).await?;
            }
            if count == 0 && !arguments.json {
                println!("No message is parked.");
            }
        }
        Command::Subscriptions => {
            for service in SERVICES {
                subscriptions(service, &mut client(&shop, service).await?, arguments.json).await?;
            }
        }
        Command::Show { service, subscription, position } => {
            let request = operations::GetParkedMessageRequest { subscription, position };
            let mut client = client(&shop, &service).await?;
            let reply = client.get_parked_message(request).await.map_err(|s| explain(&s))?.into_inner();
            let message = reply.message.unwrap_or_default();
            if arguments.json {
                println!("{}", as_json(&service, &message));
            } else {
                print_message(&service, &message);
                println!("  content: {}", message.content);
            }
        }
        Command::Redrive { service, subscription, key } => {
            let request = operations::RedriveParkedMessagesRequest { subscription, key };
            let mut client = client(&shop, &service).await?;
            let reply = client.redrive_parked_messages(request).await.map_err(|s| explain(&s))?.into_inner();
            println!("{} message(s) will be handled again.", reply.messages);
        }
        Command::Discard { service, subscription, position } => {
            let request = operations::DiscardParkedMessageRequest { subscription, position };
            client(&shop, &service).await?.discard_parked_message(request).await.map_err(|s| explain(&s))?;
            println!("Discarded.");
        }
    }
    Ok(0)
}

async fn client(shop: &RunningShop<'_>, service: &str) -> anyhow::Result<Client> {
    Ok(OperationsServiceClient::new(shop.channel(service).await?))
}

async fn list(service: &str, client: &mut Client, json: bool) -> anyhow::Result<usize> {
    let mut request = operations::ListParkedMessagesRequest { page_size: PAGE, ..Default::default() };
    let mut count = 0;
    loop {
        let reply = client.list_parked_messages(request.clone()).await.map_err(|s| explain(&s))?.into_inner();
        count += reply.messages.len();
        for message in &reply.messages {
            if json {
                println!("{}", as_json(service, message));
            } else {
                print_message(service, message);
            }
        }
        if reply.next_page_token.is_empty() {
            return Ok(count);
        }
        request.page_token = reply.next_page_token;
    }
}

async fn subscriptions(service: &str, client: &mut Client, json: bool) -> anyhow::Result<()> {
    let request = operations::ListSubscriptionsRequest {};
    let reply = client.list_subscriptions(request).await.map_err(|s| explain(&s))?.into_inner();
    for s in reply.subscriptions {
        let lag = (s.head - s.checkpoint).max(0);
        if json {
            let line = serde_json::json!({
                "service": service, "subscription": s.name, "log": s.log, "checkpoint": s.checkpoint,
                "lag": lag, "state": s.state, "error": s.error, "parked": s.parked_messages,
            });
            println!("{line}");
        } else {
            println!(
                "{service:<10} {:<32} follows {:<10} at {:>8}, lag {lag:>5}, {} {} parked {}",
                s.name, s.log, s.checkpoint, s.state, s.error, s.parked_messages
            );
        }
    }
    Ok(())
}

fn print_message(service: &str, message: &operations::ParkedMessage) {
    println!("{service} {} position {} key {}", message.subscription, message.position, message.key);
    match message.error.as_str() {
        "" => println!("  waits behind an earlier message of its key"),
        error => println!("  after {} attempts: {error}", message.attempts),
    }
}

fn as_json(service: &str, message: &operations::ParkedMessage) -> serde_json::Value {
    serde_json::json!({
        "service": service,
        "subscription": message.subscription,
        "position": message.position,
        "messageId": message.message_id,
        "key": message.key,
        "error": message.error,
        "attempts": message.attempts,
        "content": serde_json::from_str(&message.content).unwrap_or(serde_json::Value::Null),
    })
}
