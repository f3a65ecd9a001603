//! A composition, played without containers: its jobs and programs with exactly the variables and commands that it gives
//! them, on databases and secrets made by its own scripts, and then the demo, as the README has it played. Only addresses
//! are others, and servers are those of the test run. What is about containers alone (images, networks, limits) it cannot
//! show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use local_servers::redis::Redis;

use super::Problems;
use super::compose::{Composition, SECRETS, Service};
use super::metrics::Exported;
use crate::rehearsal::{Stage, Start, answer, browse, finish, get, libpq, server_of};
use crate::servers::Servers;

/// In front of the services.
const GATEWAY: &str = "gateway";
/// What the README has the operator do first.
const OPERATOR: &str = "shop";
/// The operator's commands that are played, in this order.
const PLAYED: [&str; 2] = ["demo", "audit"];
/// Where a program serves its metrics.
const ADMIN: &str = "STORELINE_ADMIN";

/// Plays it, and compares what its programs export with the list. An error says what did not work.
pub fn run(
    root: &Path,
    composition: &Composition,
    exported: &Exported,
    programs: &Path,
    servers: &Servers,
) -> Result<Problems> {
    let begin = Instant::now();
    let redis = Redis::start(servers.redis.program())?;
    let mut stage = Stage::new("rehearsal", programs)?;
    let secrets = make_secrets(root, stage.folder(), servers)?;
    stage.replace("redis:6379", redis.address().to_string());
    stage.replace("kafka-1:9092", servers.kafka.bootstrap());
    let ours: Vec<(&Service, Start)> = (composition.services.iter())
        .filter(|(_, service)| service.is_ours())
        .map(|(name, service)| (service, start_of(name, service, &secrets)))
        .collect();
    for (_, start) in &ours {
        for (port, here) in stage.listen(start)? {
            stage.replace(format!("{}:{port}", start.name), here);
        }
    }
    for (_, job) in ours.iter().filter(|(service, _)| !service.is_long_running()) {
        if job.name != OPERATOR {
            stage.run_to_end(job)?;
        }
    }
    let mut processes = Vec::new();
    for (service, start) in ours.iter().filter(|(service, _)| service.is_long_running()) {
        processes.push((service, start, stage.spawn(start)?));
    }
    for (service, start, process) in &mut processes {
        // As Docker asks.
        let words = service.health_command().context("it has a health check")?;
        let check = Start { words, ..(*start).clone() };
        stage.wait_until_well(start, process, begin, || answer(&mut stage.command(&check)?))?;
    }
    let named = |name: &str| ours.iter().find(|(_, start)| start.name == name);
    let (operator, given) = named(OPERATOR).context("there is no operator's command line")?;
    for played in PLAYED {
        let words = [operator.entrypoint(), vec![played.to_owned()]].concat();
        stage.run_to_end(&Start { words, ..given.clone() })?;
    }
    let (_, gateway) = named(GATEWAY).context("there is no gateway")?;
    browse(stage.listening_at(gateway, "STORELINE_HTTP").context("it serves REST")?)?;
    let mut scrapes = Vec::new();
    for (_, start, _) in &processes {
        let admin = stage.listening_at(start, ADMIN).context("it has metrics")?;
        scrapes.push((start.name.as_str(), get(admin, "/metrics")?));
    }
    println!("rehearsal of {}: {} s", composition.files, begin.elapsed().as_secs());
    Ok(exported.compare(&scrapes))
}

fn start_of(name: &str, service: &Service, secrets: &Path) -> Start {
    let mount = SECRETS.trim_end_matches('/').to_owned();
    Start {
        name: name.to_owned(),
        words: service.words(),
        environment: service.environment(),
        mounts: vec![(mount, secrets.to_owned())],
    }
}

/// Makes secrets and databases as the composition would, and returns the folder of the secrets.
fn make_secrets(root: &Path, folder: &Path, servers: &Servers) -> Result<PathBuf> {
    let secrets = folder.join("secrets");
    finish(Command::new("sh").arg("deploy/secrets.sh").arg(&secrets).current_dir(root))?;
    let mut path = vec![servers.postgres.programs().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    finish(
        Command::new("sh")
            .arg("deploy/postgres/databases.sh")
            .current_dir(root)
            .env("PATH", std::env::join_paths(path)?)
            .env("SECRETS", &secrets)
            .envs(libpq(&servers.postgres.url())?),
    )?;
    let (_, server) = server_of(&servers.postgres.url())?;
    for entry in fs::read_dir(&secrets)? {
        let path = entry?.path();
        let secret = fs::read_to_string(&path)?;
        // It may not be written, only replaced.
        fs::remove_file(&path)?;
        fs::write(&path, secret.replace("@postgres:5432/", &format!("@{server}/")))?;
    }
    Ok(secrets)
}
