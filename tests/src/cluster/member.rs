//! One process of a cluster: which program, with which variables, on which ports, and how it is doing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_servers::{Folder, Process, Signal, free_port};

use super::databases::Databases;
use super::{GATEWAY, Options, PARTITIONS, SERVICES, clean};
use crate::api::plain_client;
use crate::shop::sibling;

/// Longest start, with the machine busy and a group of consumers that has to find itself.
pub const START_DEADLINE: Duration = Duration::from_secs(300);
/// Longest orderly end: what is under way is answered.
const STOP_DEADLINE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// One answer of a process that is asked whether it is ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// So many lines of a log say why a process ended.
const LOG_TAIL: usize = 60;
/// What the documentation says: the first gRPC port, the gateway's, and the first of the metrics.
const DEFAULT_GRPC: u16 = 50_051;
const DEFAULT_HTTP: u16 = 8080;
const DEFAULT_ADMIN: u16 = 9464;

/// A replica of a service or of the gateway, running or not.
#[derive(Debug)]
pub(super) struct Member {
    service: &'static str,
    replica: usize,
    program: PathBuf,
    /// Of gRPC, or of REST for the gateway.
    port: u16,
    admin: u16,
    variables: BTreeMap<String, String>,
    process: Option<Process>,
}

/// All members, in the order in which they are started.
pub(super) fn plan(options: &Options, databases: &Databases) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for (place, service) in (0u16..).zip(SERVICES) {
        for replica in 1..=options.replicas {
            let mut member = Member::new(options, service, replica, place, DEFAULT_GRPC + place)?;
            member.be_service(options, databases);
            members.push(member);
        }
    }
    let addresses: Vec<(String, String)> = (SERVICES.iter())
        .map(|service| {
            let all: Vec<String> =
                members.iter().filter(|member| member.service == *service).map(Member::grpc).collect();
            (format!("STORELINE_{}_ADDRESS", service.to_uppercase()), all.join(","))
        })
        .collect();
    for replica in 1..=options.replicas {
        let mut member = Member::new(options, GATEWAY, replica, 5, DEFAULT_HTTP)?;
        let address = member.grpc();
        member.set("STORELINE_HTTP", &address);
        // All load of a test comes from one address, which is one client.
        member.set("STORELINE_RATE_LIMITS", "false");
        member.variables.extend(addresses.iter().cloned());
        member.credentials(databases);
        member.variables.extend(options.variables.iter().cloned());
        members.push(member);
    }
    Ok(members)
}

impl Member {
    fn new(options: &Options, service: &'static str, replica: usize, place: u16, port: u16) -> Result<Self> {
        let as_documented = options.default_ports && replica == 1;
        let (port, admin) =
            if as_documented { (port, DEFAULT_ADMIN + place) } else { (free_port()?, free_port()?) };
        let program = match service {
            GATEWAY => sibling("api-gateway"),
            "saga" => sibling("saga-orchestrator"),
            service => sibling(&format!("{service}-service")),
        };
        let mut member =
            Self { service, replica, program, port, admin, variables: BTreeMap::new(), process: None };
        member.set("STORELINE_ADMIN", &format!("127.0.0.1:{admin}"));
        member.set("LOG_FILTER", "info");
        if let Some(redis) = &options.redis {
            member.set("STORELINE_REDIS_URL", redis);
        }
        Ok(member)
    }

    fn be_service(&mut self, options: &Options, databases: &Databases) {
        let (copies, in_sync) = options.replication;
        let (grpc, service) = (self.grpc(), self.service);
        self.set("STORELINE_GRPC", &grpc);
        self.set("BUS", "kafka");
        self.set("STORELINE_KAFKA_BROKERS", &options.kafka);
        self.set("STORELINE_KAFKA_TOPIC_PREFIX", &options.topic_prefix);
        self.set("STORELINE_KAFKA_PARTITIONS", &PARTITIONS.to_string());
        self.set("STORELINE_KAFKA_REPLICATION", &copies.to_string());
        self.set("STORELINE_KAFKA_MIN_INSYNC", &in_sync.to_string());
        self.set("DATABASE_URL", &databases.url(service));
        self.set("STORELINE_MIGRATE_DATABASE_URL", &databases.owner_url(service));
        self.credentials(databases);
        match service {
            "order" => {
                self.set("STORELINE_ORDER_TOKEN_KEYS", &databases.secrets().order_tokens);
                self.set("STORELINE_PERSONAL_DATA_KEYS", &databases.secrets().personal_data);
            }
            "payment" => self.set("STORELINE_PAYMENT_PROVIDER", "simulator"),
            _ => {}
        }
        self.variables.extend(options.variables.iter().cloned());
    }

    fn credentials(&mut self, databases: &Databases) {
        self.set("STORELINE_OPERATOR_TOKENS", &databases.secrets().operator);
        self.set("STORELINE_SERVICE_TOKENS", &databases.secrets().service);
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn service(&self) -> &'static str {
        self.service
    }

    /// Counted from 1.
    pub(super) fn replica(&self) -> usize {
        self.replica
    }

    /// `host:port` of its gRPC server.
    pub(super) fn grpc(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of its REST side.
    pub(super) fn http(&self) -> String {
        self.grpc()
    }

    /// `host:port` of its metrics.
    pub(super) fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    /// A line for people.
    pub(super) fn describe(&self) -> String {
        let scheme = if self.service == GATEWAY { "http" } else { "grpc" };
        let process = self
            .process
            .as_ref()
            .map_or_else(|| "not started".to_owned(), |process| process.id().to_string());
        let (name, address, admin) = (self.name(), self.grpc(), self.admin());
        format!("  {name:<12} {scheme}://{address}   metrics http://{admin}/metrics   process {process}")
    }

    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Its program with its variables, ready for arguments.
    pub(super) fn command(&self) -> Command {
        let mut command = clean(&self.program);
        command.envs(&self.variables);
        command
    }

    pub(super) fn start(&mut self, folder: &Folder) -> Result<()> {
        if self.process.is_some() {
            bail!("{} runs already", self.name());
        }
        if !self.program.is_file() {
            bail!(
                "there is no {}: run `cargo xtask cluster` or `cargo xtask test`, which build it",
                self.program.display()
            );
        }
        let mut command = self.command();
        command.arg("serve").current_dir(folder.path());
        self.process = Some(Process::spawn(folder, &self.name(), &mut command)?);
        Ok(())
    }

    pub(super) async fn ready(&mut self, folder: &Folder) -> Result<()> {
        // What is ready is said beside the metrics, and by the gateway where it serves.
        let address = if self.service == GATEWAY { self.http() } else { self.admin() };
        let client = plain_client().timeout(PROBE_TIMEOUT).build()?;
        let begun = Instant::now();
        loop {
            if let Some(said) = self.ended(folder)? {
                bail!(said);
            }
            let said = match client.get(format!("http://{address}/readyz")).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if begun.elapsed() > START_DEADLINE {
                bail!(
                    "{} is not ready after {START_DEADLINE:?}: {said}\n{}",
                    self.name(),
                    self.log_tail(folder)
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// If it ended by itself: how, with the end of its log.
    pub(super) fn ended(&mut self, folder: &Folder) -> Result<Option<String>> {
        let Some(status) = self.process.as_mut().map(Process::ended).transpose()?.flatten() else {
            return Ok(None);
        };
        self.process = None;
        Ok(Some(format!("{} ended with {status}:\n{}", self.name(), self.log_tail(folder))))
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().with_context(|| format!("{} does not run", self.name()))?;
        Ok(process.kill()?)
    }

    pub(super) fn signal(&mut self, signal: Signal) -> Result<()> {
        let name = self.name();
        let process = self.process.as_mut().with_context(|| format!("{name} does not run"))?;
        Ok(process.signal(signal)?)
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::Terminate)?;
        let mut process = self.process.take().with_context(|| format!("{} does not run", self.name()))?;
        let begun = Instant::now();
        loop {
            match process.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} was told to stop and ended with {status}", self.name()),
                None if begun.elapsed() > STOP_DEADLINE => {
                    bail!("{} was told to stop {STOP_DEADLINE:?} ago and still runs", self.name())
                }
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// As in the name of its log.
    fn name(&self) -> String {
        format!("{}-{}", self.service, self.replica)
    }

    /// Where its output goes.
    pub(super) fn log(&self, folder: &Folder) -> PathBuf {
        folder.path().join(format!("{}.log", self.name()))
    }

    fn log_tail(&self, folder: &Folder) -> String {
        let path = self.log(folder);
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        format!(
            "--- the end of {}\n{}",
            path.display(),
            lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
        )
    }
}
