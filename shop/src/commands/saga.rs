//! `shop saga`: looks into sagas and helps those that are stuck.

use clap::{Args, Subcommand};
use contracts::shop::saga::v1 as saga;
use saga::saga_service_client::SagaServiceClient;

use super::time;
use crate::config::Location;
use crate::running::{OperatorChannel, RunningShop, explain};

/// Sagas read at once.
const PAGE: i32 = 200;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// A saga id, or an order id for its checkout.
    id: Option<String>,
    /// List the sagas that are stuck.
    #[arg(long, conflicts_with = "id")]
    stuck: bool,
    /// Print JSON, one saga a line.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send the open request of a stuck saga once more, with a fresh budget of retries.
    Retry { id: String },
    /// Take the open step of a stuck saga as done, because somebody did it by hand.
    Skip {
        id: String,
        /// What was done by hand.
        #[arg(long)]
        reason: String,
    },
    /// Turn a saga back, which is possible before its pivot.
    Compensate {
        id: String,
        #[arg(long)]
        reason: String,
    },
}

type Client = SagaServiceClient<OperatorChannel>;

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let mut client = SagaServiceClient::new(RunningShop::find(location)?.channel("saga").await?);
    if let Some(command) = arguments.command {
        help_along(&mut client, command).await?;
        return Ok(0);
    }
    let Some(saga_id) = arguments.id else {
        list(&mut client, arguments.stuck, arguments.json).await?;
        return Ok(0);
    };
    let request = saga::GetSagaRequest { saga_id };
    let reply = client.get_saga(request).await.map_err(|s| explain(&s))?.into_inner();
    let saga = reply.saga.unwrap_or_default();
    if arguments.json {
        println!("{}", as_json(&saga));
        return Ok(0);
    }
    print_saga(&saga);
    for entry in &saga.timeline {
        println!("  {}  {:<32} {:<18} {}", time(entry.at.as_ref()), entry.event, entry.step, entry.detail);
    }
    Ok(0)
}

async fn help_along(client: &mut Client, command: Command) -> anyhow::Result<()> {
    let request_id = uuid::Uuid::now_v7().to_string();
    let etag = String::new();
    let saga = match command {
        Command::Retry { id: saga_id } => {
            let request = saga::RetrySagaRequest { request_id, saga_id, etag };
            client.retry_saga(request).await.map(|r| r.into_inner().saga)
        }
        Command::Skip { id: saga_id, reason } => {
            let request = saga::SkipSagaStepRequest { request_id, saga_id, reason, etag };
            client.skip_saga_step(request).await.map(|r| r.into_inner().saga)
        }
        Command::Compensate { id: saga_id, reason } => {
            let request = saga::CompensateSagaRequest { request_id, saga_id, reason, etag };
            client.compensate_saga(request).await.map(|r| r.into_inner().saga)
        }
    };
    print_saga(&saga.map_err(|s| explain(&s))?.unwrap_or_default());
    Ok(())
}

async fn list(client: &mut Client, stuck: bool, json: bool) -> anyhow::Result<()> {
    let status = if stuck { saga::SagaStatus::Stuck } else { saga::SagaStatus::Unspecified };
    let mut request = saga::ListSagasRequest { page_size: PAGE, status: status.into(), ..Default::default() };
    let mut count = 0;
    loop {
        let reply = client.list_sagas(request.clone()).await.map_err(|s| explain(&s))?.into_inner();
        count += reply.sagas.len();
        for saga in &reply.sagas {
            if json {
                println!("{}", as_json(saga));
            } else {
                print_saga(saga);
            }
        }
        if reply.next_page_token.is_empty() {
            break;
        }
        request.page_token = reply.next_page_token;
    }
    if count == 0 && !json {
        println!("{}", if stuck { "No saga is stuck." } else { "There is no saga yet." });
    }
    Ok(())
}

fn print_saga(saga: &saga::Saga) {
    let open = match saga.open_step.as_str() {
        "" => String::new(),
        step => format!(", waits for {step} (asked {} times)", saga.attempts),
    };
    let reason = if saga.reason.is_empty() { String::new() } else { format!(", {}", saga.reason) };
    println!("{}  {}{open}{reason}", saga.saga_id, saga.status().as_str_name());
}

fn as_json(saga: &saga::Saga) -> serde_json::Value {
    let timeline = saga.timeline.iter().map(|entry| {
        serde_json::json!({
            "at": time(entry.at.as_ref()), "event": entry.event, "step": entry.step, "detail": entry.detail,
        })
    });
    serde_json::json!({
        "sagaId": saga.saga_id,
        "orderId": saga.order_id,
        "status": saga.status().as_str_name(),
        "openStep": saga.open_step,
        "attempts": saga.attempts,
        "reason": saga.reason,
        "timeline": timeline.collect::<Vec<_>>(),
    })
}
