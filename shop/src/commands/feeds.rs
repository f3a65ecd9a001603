//! `shop feeds`: how far every subscription is in its feed, and telling one that has stopped to go on.

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
    /// Print JSON, one subscription a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the subscriptions of all services with their lag (the default).
    List,
    /// Print a subscription with its place in each partition.
    Show { service: String, subscription: String },
    /// Have a subscription that has stopped go on, once the cause is mended.
    ///
    /// It says itself what it needs: nothing more, a topic that is read from its beginning since it was made anew, or, after
    /// a restore, the new incarnation of the log and a position up to which the log is as the subscription has seen it.
    GoOn {
        service: String,
        subscription: String,
        /// Read the topic from its beginning; what was handled is passed over.
        #[arg(long)]
        from_beginning: bool,
        /// The incarnation that the restored log has now.
        #[arg(long, requires = "position")]
        incarnation: Option<i32>,
        /// The last position that the restored log and the subscription share.
        #[arg(long, requires = "incarnation")]
        position: Option<i64>,
    },
}

type Client = OperationsServiceClient<OperatorChannel>;

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    match arguments.command.unwrap_or(Command::List) {
        Command::List => {
            for service in SERVICES {
                let request = operations::ListSubscriptionsRequest {};
                let mut client = client(&shop, service).await?;
                let reply = client.list_subscriptions(request).await.map_err(|s| explain(&s))?.into_inner();
                for subscription in &reply.subscriptions {
                    print(service, subscription, &[], arguments.json);
                }
            }
        }
        Command::Show { service, subscription } => {
            let request = operations::GetSubscriptionRequest { subscription };
            let mut client = client(&shop, &service).await?;
            let reply = client.get_subscription(request).await.map_err(|s| explain(&s))?.into_inner();
            let Some(subscription) = reply.subscription else { bail!("the answer has no subscription") };
            print(&service, &subscription, &reply.partitions, arguments.json);
        }
        Command::GoOn { service, subscription, from_beginning, incarnation, position } => {
            let checked = incarnation.zip(position);
            let checked =
                checked.map(|(incarnation, position)| operations::CheckedPosition { incarnation, position });
            let request = operations::ResumeSubscriptionRequest { subscription, from_beginning, checked };
            client(&shop, &service).await?.resume_subscription(request).await.map_err(|s| explain(&s))?;
            println!("It goes on.");
        }
    }
    Ok(0)
}

async fn client(shop: &RunningShop<'_>, service: &str) -> anyhow::Result<Client> {
    Ok(OperationsServiceClient::new(shop.channel(service).await?))
}

fn print(
    service: &str,
    subscription: &operations::Subscription,
    partitions: &[operations::SubscriptionPartition],
    json: bool,
) {
    let operations::Subscription { name, log, checkpoint, head, state, error, .. } = subscription;
    let lag = (head - checkpoint).max(0);
    if json {
        let partitions: Vec<_> = partitions
            .iter()
            .map(|p| {
                serde_json::json!({
                    "partition": p.partition, "position": p.position, "incarnation": p.incarnation,
                    "nextRecord": p.next_record,
                })
            })
            .collect();
        let line = serde_json::json!({
            "service": service, "subscription": name, "log": log, "checkpoint": checkpoint, "head": head, "lag": lag,
            "state": state, "error": error, "partitions": partitions,
        });
        println!("{line}");
        return;
    }
    println!("{service:<10} {name:<32} follows {log:<10} at {checkpoint:>8}, lag {lag:>5}, {state}");
    if !error.is_empty() {
        println!("  {error}");
    }
    for partition in partitions {
        let next = partition.next_record.map_or_else(|| "-".to_owned(), |next| next.to_string());
        println!(
            "  partition {:>3} at {:>8} of incarnation {}, next record {next}",
            partition.partition, partition.position, partition.incarnation
        );
    }
}
