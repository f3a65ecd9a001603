//! `shop events`: reads the logs as they are stored.

use clap::Args;
use eventsourcing::{EventLog, LogOptions, RecordedEvent, StreamId};
use tokio_util::sync::CancellationToken;

use super::Databases;
use crate::config::{Location, SERVICES};

/// Events read at once.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A stream such as order-019f..., or the name of a log such as `order`. All logs when left out.
    stream: Option<String>,
    /// Go on with what happens, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Print JSON, one event a line.
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let logs = match arguments.stream.as_deref() {
        Some(name) if SERVICES.contains(&name) => vec![name],
        _ => SERVICES.to_vec(),
    };
    let stream = arguments.stream.as_deref().filter(|name| !SERVICES.contains(name)).map(StreamId::from_name);
    let databases = Databases::of(location, &logs).await?;
    let mut readers = Vec::new();
    let mut printed = 0;
    for name in logs {
        let log = open(databases.url(name)?, name).await?;
        let head = log.head().await?;
        printed += match &stream {
            Some(stream) => print_stream(&log, stream, arguments.json).await?,
            // Following a whole shop begins now; reading it begins at the start.
            None if arguments.follow => 0,
            None => print_log(&log, head, arguments.json).await?,
        };
        readers.push((log, head));
    }
    if arguments.follow {
        follow(readers, stream.as_ref(), arguments.json).await?;
    } else if printed == 0 && !arguments.json {
        println!("No events.");
    }
    databases.close().await?;
    Ok(0)
}

async fn open(url: &str, service: &str) -> anyhow::Result<EventLog> {
    let options = LogOptions { max_connections: 1, ..LogOptions::new(service, url) };
    Ok(EventLog::open(options).await?)
}

async fn print_stream(log: &EventLog, stream: &StreamId, json: bool) -> anyhow::Result<usize> {
    let mut version = 0;
    loop {
        let events = log.read_stream(stream, version, PAGE).await?;
        let Some(last) = events.last() else { return Ok(version as usize) };
        version = last.version;
        events.iter().for_each(|event| print(log.name(), event, json));
    }
}

async fn print_log(log: &EventLog, head: i64, json: bool) -> anyhow::Result<usize> {
    let (mut position, mut count) = (0, 0);
    while position < head {
        let events = log.read_after(position, PAGE).await?;
        let Some(last) = events.last() else { break };
        position = last.position;
        count += events.len();
        events.iter().for_each(|event| print(log.name(), event, json));
    }
    Ok(count)
}

/// Prints what comes, of all logs, until Ctrl-C.
async fn follow(readers: Vec<(EventLog, i64)>, stream: Option<&StreamId>, json: bool) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut following = tokio::task::JoinSet::new();
    for (log, mut position) in readers {
        tokio::spawn(log.clone().follow(stop.clone()));
        let stream = stream.cloned();
        following.spawn(async move {
            let mut head = log.watch_head();
            loop {
                let events = log.read_after(position, PAGE).await?;
                for event in &events {
                    position = event.position;
                    if stream.as_ref().is_none_or(|stream| *stream == event.stream_id) {
                        print(log.name(), event, json);
                    }
                }
                if events.is_empty() {
                    head.wait_for(|head| *head > position).await?;
                }
            }
        });
    }
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        Some(ended) = following.join_next() => {
            let ended: anyhow::Result<()> = ended?;
            ended?;
        }
    }
    stop.cancel();
    Ok(())
}

fn print(log: &str, event: &RecordedEvent, json: bool) {
    if json {
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
        let line = serde_json::json!({
            "log": log,
            "position": event.position,
            "stream": event.stream_id,
            "version": event.version,
            "type": event.event_type,
            "schemaVersion": event.schema_version,
            "eventId": event.event_id,
            "recordedAt": event.recorded_at,
            "metadata": event.metadata,
            "data": data,
        });
        println!("{line}");
        return;
    }
    let at = event.recorded_at.format("%Y-%m-%d %H:%M:%S%.3f");
    let place = format!("{log}@{}", event.position);
    println!("{at}  {place:<16} {}#{}  {}  {}", event.stream_id, event.version, event.event_type, event.data);
}
