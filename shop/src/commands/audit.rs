//! `shop audit`: checks the shop's invariants on the stored events and read models.

mod exposition;

use std::net::SocketAddr;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use exposition::Exposition;

use super::Databases;
use crate::audit::{self, Finding, Log, PerLog, Progress, Report, Verdict};
use crate::config::{Location, SERVICES};

/// How often the progress bar is drawn while nothing moves it.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON: one object with all findings.
    #[arg(long)]
    json: bool,
    /// Serve /metrics on this address, and the result there until it was scraped once, for at most ten minutes.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let exposition = match arguments.metrics {
        Some(address) => Some(Exposition::start(address).await?),
        None => None,
    };
    let databases = Databases::of(location, &SERVICES).await?;
    let mut urls = PerLog(SERVICES.map(|_| String::new()));
    for log in Log::ALL {
        urls[log] = databases.url(log.name())?.to_owned();
    }
    let bar = if arguments.json { ProgressBar::hidden() } else { progress_bar()? };
    let report = audit::audit(&urls, |Progress { done, of }| {
        bar.set_length(of);
        bar.set_position(done);
    })
    .await;
    bar.finish_and_clear();
    databases.close().await?;
    let report = report?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    if let Some(exposition) = exposition {
        let address = exposition.address();
        let taken = exposition.hand_over(&report, Utc::now()).await;
        if !taken && !arguments.json {
            println!("Nobody asked for its metrics on {address}.");
        }
    }
    Ok(if report.ok { 0 } else { 1 })
}

/// On stderr, and only if that is a terminal.
fn progress_bar() -> anyhow::Result<ProgressBar> {
    let style = "{spinner} reading events {wide_bar} {human_pos}/{human_len} {eta}";
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(style)?);
    bar.enable_steady_tick(TICK);
    Ok(bar)
}

fn print(report: &Report) {
    for finding in &report.findings {
        print_finding(finding);
    }
    let broken = report.findings.iter().filter(|finding| finding.verdict == Verdict::Broken).count();
    let (events, seconds) = (report.events, report.seconds);
    match broken {
        0 => println!("\nEvery invariant holds ({events} events in {seconds:.1} s)."),
        _ => println!("\n{broken} invariant(s) are broken ({events} events in {seconds:.1} s)."),
    }
}

fn print_finding(finding: &Finding) {
    let Finding { check, rule, judged, failed, .. } = finding;
    match finding.verdict {
        Verdict::Ok => println!("ok       {check:<38} {judged:>9}"),
        Verdict::Broken => println!("BROKEN   {check:<38} {failed:>9} of {judged}: not so: {rule}"),
        Verdict::Warning => println!("warning  {check:<38} {failed:>9}"),
    }
    for example in &finding.examples {
        println!("           {example}");
    }
    let more = failed.saturating_sub(finding.examples.len() as u64);
    if more > 0 && !finding.examples.is_empty() {
        println!("           and {more} more");
    }
}
