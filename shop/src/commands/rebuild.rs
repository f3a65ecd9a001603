//! `shop rebuild`: has a service make one of its read models anew, and shows how far it is. The work is done in the
//! service, and goes on when nobody looks.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use contracts::shop::operations::v1 as operations;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use operations::operations_service_client::OperationsServiceClient;

use super::time;
use crate::config::{Location, SERVICES};
use crate::running::{OperatorChannel, RunningShop, explain};

/// How often it asks how far the rebuild is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// With `--json`, every so many looks are printed.
const LOOKS_A_LINE: u32 = 4;
/// So many looks may fail one after another, since the shop may be restarted meanwhile: two minutes.
const MAX_FAILED_LOOKS: u32 = 240;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The read model, by the name of its subscription, such as `product.read-model`. Without one, all are listed.
    model: Option<String>,
    /// List the read models and what happens to each (the default without a model).
    #[arg(long, conflicts_with_all = ["model", "abandon", "switch_back"])]
    list: bool,
    /// Give up the version that is being filled. What serves is untouched.
    #[arg(long, requires = "model")]
    abandon: bool,
    /// Have the version that served before catch up and serve again.
    #[arg(long, requires = "model", conflicts_with = "abandon")]
    switch_back: bool,
    /// Start it and do not wait for its end.
    #[arg(long, requires = "model")]
    no_wait: bool,
    /// Print JSON: an object a line.
    #[arg(long)]
    json: bool,
}

type Client = OperationsServiceClient<OperatorChannel>;

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    let Some(model) = &arguments.model else {
        for service in SERVICES {
            list(&mut client(&shop, service).await?, arguments.json).await?;
        }
        return Ok(0);
    };
    let (service, _) = model.split_once('.').unwrap_or((model, ""));
    if !SERVICES.contains(&service) {
        bail!("there is no service `{service}`: the models are listed by `shop rebuild --list`");
    }
    let mut client = client(&shop, service).await?;
    if arguments.abandon {
        let request = operations::AbandonRebuildRequest { model: model.clone() };
        let reply = client.abandon_rebuild(request).await.map_err(|s| explain(&s))?.into_inner();
        show(&known(reply.rebuild)?, arguments.json);
        return Ok(0);
    }
    let request = operations::GetRebuildRequest { model: model.clone() };
    let before = client.get_rebuild(request).await.map_err(|s| explain(&s))?.into_inner().rebuild;
    let started = if arguments.switch_back {
        let request = operations::SwitchBackRebuildRequest { model: model.clone() };
        client.switch_back_rebuild(request).await.map_err(|s| explain(&s))?.into_inner().rebuild
    } else {
        let request = operations::StartRebuildRequest { model: model.clone() };
        client.start_rebuild(request).await.map_err(|s| explain(&s))?.into_inner().rebuild
    };
    if arguments.no_wait {
        show(&known(started)?, arguments.json);
        return Ok(0);
    }
    let ended = watch(&mut client, model, arguments.json).await?;
    show(&ended, arguments.json);
    let served = is_served(&known(before)?, &ended);
    if !arguments.json {
        conclude(served, &ended);
    }
    Ok(u8::from(!served))
}

async fn client(shop: &RunningShop<'_>, service: &str) -> anyhow::Result<Client> {
    Ok(OperationsServiceClient::new(shop.channel(service).await?))
}

fn known(rebuild: Option<operations::Rebuild>) -> anyhow::Result<operations::Rebuild> {
    rebuild.context("the service did not say what happens to the model")
}

async fn list(client: &mut Client, json: bool) -> anyhow::Result<()> {
    let request = operations::ListRebuildsRequest {};
    for rebuild in client.list_rebuilds(request).await.map_err(|s| explain(&s))?.into_inner().rebuilds {
        show(&rebuild, json);
    }
    Ok(())
}

/// Shows how far it is until nothing happens any more, or it does not go on by itself.
async fn watch(client: &mut Client, model: &str, json: bool) -> anyhow::Result<operations::Rebuild> {
    let bar = if json { ProgressBar::hidden() } else { progress_bar(model)? };
    let (mut looks, mut failed) = (0_u32, 0);
    loop {
        let request = operations::GetRebuildRequest { model: model.to_owned() };
        match client.get_rebuild(request).await {
            Ok(reply) => {
                failed = 0;
                let rebuild = known(reply.into_inner().rebuild)?;
                if !is_under_way(&rebuild) {
                    bar.finish_and_clear();
                    return Ok(rebuild);
                }
                draw(&bar, &rebuild);
                if json && looks.is_multiple_of(LOOKS_A_LINE) {
                    show(&rebuild, true);
                }
            }
            Err(status) if failed >= MAX_FAILED_LOOKS => return Err(explain(&status)),
            Err(_) => {
                failed += 1;
                bar.set_message("the shop does not answer");
            }
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_under_way(rebuild: &operations::Rebuild) -> bool {
    matches!(rebuild.state.as_str(), "FILLING" | "SWITCHING_BACK")
}

/// Whether another version serves than before.
fn is_served(before: &operations::Rebuild, ended: &operations::Rebuild) -> bool {
    ended.state == "SERVING" && ended.switched_at != before.switched_at
}

/// On stderr, and only if that is a terminal.
fn progress_bar(model: &str) -> anyhow::Result<ProgressBar> {
    let style = "{spinner} {prefix} {wide_bar} {human_pos}/{human_len} {msg}";
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(style)?);
    bar.set_prefix(model.to_owned());
    Ok(bar)
}

fn draw(bar: &ProgressBar, rebuild: &operations::Rebuild) {
    bar.set_length(rebuild.target.unsigned_abs());
    bar.set_position(rebuild.position.unsigned_abs());
    bar.set_message(if rebuild.problem.is_empty() { pace(rebuild) } else { rebuild.problem.clone() });
    bar.tick();
}

/// How fast it goes, and for how long still.
fn pace(rebuild: &operations::Rebuild) -> String {
    let rate = format!("{:.0} events/s", rebuild.events_per_second);
    match rebuild.time_left.and_then(|left| Duration::try_from(left).ok()) {
        Some(left) => format!("{rate}, {} left", HumanDuration(left)),
        None => rate,
    }
}

fn show(rebuild: &operations::Rebuild, json: bool) {
    if json {
        println!("{}", as_json(rebuild));
        return;
    }
    let operations::Rebuild { model, state, position, target, problem, .. } = rebuild;
    match state.as_str() {
        "SERVING" if rebuild.switched_at.is_none() => println!("{model:<24} serves, never rebuilt"),
        "SERVING" => println!("{model:<24} serves since {}", time(rebuild.switched_at.as_ref())),
        "FAILED" => println!("{model:<24} does not go on at {position} of {target}: {problem}"),
        _ => {
            let what = if state == "FILLING" { "is filled" } else { "is switched back" };
            println!("{model:<24} {what}: {position} of {target} events, {}", pace(rebuild));
            if !problem.is_empty() {
                println!("  waits: {problem}");
            }
        }
    }
    if rebuild.former_kept_until.is_some() {
        println!("  the former version is kept until {}", time(rebuild.former_kept_until.as_ref()));
    }
}

/// What to do next.
fn conclude(served: bool, ended: &operations::Rebuild) {
    let model = &ended.model;
    if served {
        println!("  to switch back: shop rebuild {model} --switch-back");
    } else if ended.state == "FAILED" {
        println!("  what serves is untouched; to go on: shop rebuild {model}; to give it up: --abandon");
    } else {
        println!("  it was abandoned; what serves is untouched");
    }
}

fn as_json(rebuild: &operations::Rebuild) -> serde_json::Value {
    let at = |at: Option<&prost_types::Timestamp>| at.map(|at| time(Some(at)));
    serde_json::json!({
        "model": rebuild.model,
        "state": rebuild.state,
        "position": rebuild.position,
        "target": rebuild.target,
        "eventsPerSecond": rebuild.events_per_second,
        "secondsLeft": rebuild.time_left.map(|left| left.seconds),
        "begunAt": at(rebuild.begun_at.as_ref()),
        "problem": rebuild.problem,
        "switchedAt": at(rebuild.switched_at.as_ref()),
        "formerKeptUntil": at(rebuild.former_kept_until.as_ref()),
    })
}
