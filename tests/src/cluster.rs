//! The shop as separate programs: every service a process with a database of its own, Kafka between them, a gateway in
//! front, all on loopback. PostgreSQL, Kafka and Redis are whoever starts it has: so a test can stop them. It makes the
//! databases, migrates them with each service's own command, starts the replicas, and ends them; `cargo xtask cluster`
//! is the same for people.

mod beside;
mod databases;
mod member;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::join_all;
use local_servers::{Folder, Signal};
use serde_json::Value;
use uuid::Uuid;

use crate::shop::{KEPT, sibling};
use crate::{AUDIT_DEADLINE, Api, Finished, finish, logs};
use databases::Databases;
use member::Member;
pub use member::START_DEADLINE;

/// The services by their short names, in the order in which they are started.
pub const SERVICES: [&str; 5] = ["product", "inventory", "order", "payment", "saga"];
/// The member in front of them.
pub const GATEWAY: &str = "gateway";
/// Longest way of one service's database to its newest schema.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(120);
/// A partition is a unit of work that one replica does, and costs a little even without any.
const PARTITIONS: u32 = 4;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// A PostgreSQL, as a superuser: every service gets a database, an owner of it and a role that may append.
    pub postgres: String,
    /// Kafka's bootstrap addresses.
    pub kafka: String,
    /// Before the names of all topics and groups.
    pub topic_prefix: String,
    /// Copies of every topic, and how many of them must have a record before it counts as written.
    pub replication: (u32, u32),
    /// Without it, caches and rate limits are per process.
    pub redis: Option<String>,
    /// Of every service and of the gateway.
    pub replicas: usize,
    /// Of these, so many are started at first; the others when a test says so.
    pub started: usize,
    /// Ports as the documentation has them for the first replica, not free ones.
    pub default_ports: bool,
    /// Further variables of every process.
    pub variables: Vec<(String, String)>,
}

/// A cluster. Its processes and databases go with this value.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: processes, then what they use.
    members: Vec<Member>,
    databases: Databases,
    /// What the operator's commands need.
    environment: BTreeMap<String, String>,
    grpc: BTreeMap<String, String>,
    folder: Folder,
}

impl Options {
    /// One replica of everything on these servers, with topics of its own.
    pub fn new(postgres: String, kafka: String) -> Self {
        Self {
            postgres,
            kafka,
            topic_prefix: format!("cluster-{}.", Uuid::new_v4().simple()),
            replication: (1, 1),
            redis: None,
            replicas: 1,
            started: 1,
            default_ports: false,
            variables: Vec::new(),
        }
    }

    /// So many replicas of everything, all started.
    #[must_use]
    pub fn replicas(self, replicas: usize) -> Self {
        Self { replicas, started: replicas, ..self }
    }
}

impl Cluster {
    /// Makes the databases, migrates them, starts every process and waits until it is ready.
    ///
    /// # Errors
    /// When a program is missing, refuses its configuration or does not become ready; with the end of its log.
    pub async fn start(options: &Options) -> Result<Self> {
        let folder = Folder::new("cluster")?;
        let databases = Databases::make(&options.postgres).await?;
        let members = member::plan(options, &databases)?;
        migrate(&members).await?;
        let of = |program: &str, address: fn(&Member) -> String| {
            let all: Vec<String> =
                members.iter().filter(|member| member.service() == program).map(address).collect();
            all
        };
        let mut environment = BTreeMap::new();
        let mut grpc = BTreeMap::new();
        for service in SERVICES {
            let name = service.to_uppercase();
            let addresses = of(service, Member::grpc);
            grpc.insert(service.to_owned(), addresses.first().cloned().unwrap_or_default());
            environment.insert(format!("STORELINE_{name}_ADDRESS"), addresses.join(","));
            environment.insert(format!("STORELINE_{name}_DATABASE_URL"), databases.url(service));
        }
        environment.insert("STORELINE_OPERATOR_TOKEN".to_owned(), databases.secrets().operator.clone());
        if let Some(gateway) = of(GATEWAY, Member::http).first() {
            environment.insert("STORELINE_GATEWAY_URL".to_owned(), format!("http://{gateway}"));
        }
        environment.insert("STORELINE_KAFKA_BROKERS".to_owned(), options.kafka.clone());
        environment.insert("STORELINE_KAFKA_TOPIC_PREFIX".to_owned(), options.topic_prefix.clone());
        let mut cluster = Self { members, databases, environment, grpc, folder };
        for member in cluster.members.iter_mut().filter(|member| member.replica() <= options.started) {
            member.start(&cluster.folder)?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// A client of the first gateway's REST side.
    ///
    /// # Panics
    /// When there is no gateway.
    pub fn api(&self) -> Api {
        Api::new(&self.http(), self.databases.secrets().operator.clone())
    }

    /// A client of all gateways, those included that do not run.
    pub fn balanced_api(&self) -> Api {
        let gateways = self.members.iter().filter(|member| member.service() == GATEWAY);
        let addresses: Vec<String> = gateways.map(Member::http).collect();
        Api::balanced(&addresses, self.databases.secrets().operator.clone())
    }

    /// `host:port` of the first gateway's REST side.
    ///
    /// # Panics
    /// When there is no gateway.
    pub fn http(&self) -> String {
        self.member(GATEWAY, 1).http()
    }

    /// `host:port` of the metrics of a member.
    ///
    /// # Panics
    /// When there is no such member.
    pub fn admin_of(&self, service: &str, replica: usize) -> String {
        self.member(service, replica).admin()
    }

    /// `host:port` of the gateway's metrics.
    ///
    /// # Panics
    /// When there is no gateway.
    pub fn admin(&self) -> String {
        self.admin_of(GATEWAY, 1)
    }

    /// `host:port` of the first replica's gRPC server by the service's short name.
    pub fn grpc(&self) -> &BTreeMap<String, String> {
        &self.grpc
    }

    /// A secret by the name that it has in the data folder of an all-in-one.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn secret(&self, name: &str) -> String {
        match name {
            "operator.token" => self.databases.secrets().operator.clone(),
            "service.token" => self.databases.secrets().service.clone(),
            other => panic!("a cluster has no secret {other}"),
        }
    }

    /// The database of a service, as the role that may append.
    pub fn database_url(&self, service: &str) -> String {
        self.databases.url(service)
    }

    /// The same, as its owner.
    pub fn owner_url(&self, service: &str) -> String {
        self.databases.owner_url(service)
    }

    /// The folder with a log of every process.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the operator's commands need in their environment.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Has a panic on this thread show the ends of all logs.
    pub fn show_logs_on_panic(&self) {
        self.members.iter().for_each(|member| logs::show_on_panic(member.log(&self.folder)));
    }

    /// Where everything is, for people.
    pub fn describe(&self) -> String {
        self.members.iter().map(Member::describe).collect::<Vec<_>>().join("\n")
    }

    /// kill -9 of one replica, counted from 1.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, service: &str, replica: usize) -> Result<()> {
        self.member_mut(service, replica).kill()
    }

    /// SIGTERM to one replica, and the wait for its orderly end.
    ///
    /// # Errors
    /// When it does not run, or its end is not orderly.
    pub async fn stop(&mut self, service: &str, replica: usize) -> Result<()> {
        self.member_mut(service, replica).stop().await
    }

    /// Starts a replica that does not run, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_again(&mut self, service: &str, replica: usize) -> Result<()> {
        let member = find(&mut self.members, service, replica);
        member.start(&self.folder)?;
        member.ready(&self.folder).await
    }

    /// SIGSTOP to one replica: its connections stay open and it does nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self, service: &str, replica: usize) -> Result<()> {
        self.member_mut(service, replica).signal(Signal::Stop)
    }

    /// SIGCONT after [`Self::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self, service: &str, replica: usize) -> Result<()> {
        self.member_mut(service, replica).signal(Signal::Continue)
    }

    /// Waits until every process that runs says that it is ready.
    ///
    /// # Errors
    /// When one ended, or the time is over.
    pub async fn ready(&mut self) -> Result<()> {
        for member in self.members.iter_mut().filter(|member| member.runs()) {
            member.ready(&self.folder).await?;
        }
        Ok(())
    }

    /// The first process that has ended by itself, with the end of its log.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn casualty(&mut self) -> Result<Option<String>> {
        for member in &mut self.members {
            if let Some(said) = member.ended(&self.folder)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// Ends every process in order, the gateways first, and removes the databases.
    ///
    /// # Errors
    /// The first end that was not orderly; the others are ended all the same.
    pub async fn shut_down(mut self) -> Result<()> {
        self.stop_all().await
    }

    /// Ends every process in order, the gateways first. What is stored stays.
    ///
    /// # Errors
    /// The first end that was not orderly; the others are ended all the same.
    pub async fn stop_all(&mut self) -> Result<()> {
        let running = self.members.iter_mut().filter(|member| member.runs());
        let (gateways, services): (Vec<_>, Vec<_>) = running.partition(|member| member.service() == GATEWAY);
        let mut result = Ok(());
        for members in [gateways, services] {
            let stopped = join_all(members.into_iter().map(Member::stop)).await;
            result = stopped.into_iter().fold(result, Result::and);
        }
        result
    }

    /// Starts every process that does not run, and waits until all are ready.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn start_all(&mut self) -> Result<()> {
        for member in self.members.iter_mut().filter(|member| !member.runs()) {
            member.start(&self.folder)?;
        }
        self.ready().await
    }

    /// Has services that are started from here on publish on, and follow, topics of other names.
    pub fn set_topic_prefix(&mut self, prefix: &str) {
        const PREFIX: &str = "STORELINE_KAFKA_TOPIC_PREFIX";
        self.members
            .iter_mut()
            .filter(|member| member.service() != GATEWAY)
            .for_each(|member| member.set(PREFIX, prefix));
        self.environment.insert(PREFIX.to_owned(), prefix.to_owned());
    }

    /// Runs a command of a service's own program, with the variables that its replicas have.
    ///
    /// # Panics
    /// When there is no such service, or the command does not end within `deadline`.
    pub async fn run_service(&self, service: &str, arguments: &[&str], deadline: Duration) -> Finished {
        let mut command = self.member(service, 1).command();
        command.args(arguments);
        finish(command, deadline).await
    }

    /// The operator's program with this cluster's environment, ready for arguments.
    ///
    /// # Panics
    /// When the binary has not been built.
    pub fn command(&self) -> Command {
        let mut command = clean(&sibling("shop"));
        command.envs(&self.environment).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs one of the operator's commands.
    ///
    /// # Panics
    /// When it does not end within `deadline`.
    pub async fn run(&self, arguments: &[&str], deadline: Duration) -> Finished {
        let mut command = self.command();
        command.args(arguments);
        finish(command, deadline).await
    }

    /// Checks the invariants of everything stored, and returns what the audit looked at.
    ///
    /// # Panics
    /// When one is broken.
    pub async fn audit(&self) -> Value {
        let report = self.run(&["audit", "--json"], AUDIT_DEADLINE).await.ok();
        serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}"))
    }

    fn member(&self, service: &str, replica: usize) -> &Member {
        let found =
            self.members.iter().find(|member| member.service() == service && member.replica() == replica);
        found.unwrap_or_else(|| panic!("there is no replica {replica} of {service}"))
    }

    fn member_mut(&mut self, service: &str, replica: usize) -> &mut Member {
        find(&mut self.members, service, replica)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.iter().for_each(|member| logs::forget(&member.log(&self.folder)));
    }
}

fn find<'a>(members: &'a mut [Member], service: &str, replica: usize) -> &'a mut Member {
    let found = members.iter_mut().find(|member| member.service() == service && member.replica() == replica);
    found.unwrap_or_else(|| panic!("there is no replica {replica} of {service}"))
}

/// Every service's own command brings its database to its schema.
async fn migrate(members: &[Member]) -> Result<()> {
    let first = members.iter().filter(|member| member.replica() == 1 && member.service() != GATEWAY);
    let running = first.map(async |member| {
        let mut command = member.command();
        command.arg("migrate");
        (member.service(), finish(command, MIGRATION_DEADLINE).await)
    });
    for (service, finished) in join_all(running).await {
        if finished.code != Some(0) {
            bail!("`migrate` of {service} failed:\n{}", finished.output());
        }
    }
    Ok(())
}

/// A program without anything of our own environment but where programs are.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}
