//! Binaries of services under test: run with an environment of exactly what a test sets, and judged by their exit code
//! and by what they say. What each of them must do the same is checked here, once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::{Cluster, Stop, TestDatabase, eventually, kafka};

/// More than any command of a binary takes, also on a busy machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
/// What a service says once its gRPC is there.
const GRPC_LISTENS: &str = "gRPC server listens";
/// Processes that migrate one database at the same time.
const MIGRATIONS_AT_ONCE: usize = 6;

/// A binary and the variables that it gets.
#[derive(Clone)]
pub struct Binary {
    path: String,
    variables: BTreeMap<String, String>,
}

/// What a process said and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

type Said = Arc<Mutex<String>>;

/// A process that runs; it is killed with this value.
pub struct RunningProcess {
    child: Child,
    said: Said,
    printed: Said,
    readers: Vec<JoinHandle<()>>,
}

impl Binary {
    /// The binary at `path`, without any variable.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), variables: BTreeMap::new() }
    }

    /// The binary of a service with what all of them need to serve, on ports that are free; its database is for the
    /// test to set, and what it alone needs.
    #[must_use]
    pub fn serving(path: &str) -> Self {
        Self::new(path)
            .set("STORELINE_GRPC", "127.0.0.1:0")
            .set("STORELINE_ADMIN", "127.0.0.1:0")
            .set("STORELINE_OPERATOR_TOKENS", "operator-".repeat(4))
            .set("STORELINE_SERVICE_TOKENS", "service-".repeat(5))
    }

    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let mut process = self.start(arguments);
        let code = process.ended().await;
        let stdout = process.printed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ended { code, stdout, stderr: process.said() }
    }

    /// Starts it and lets it run.
    ///
    /// # Panics
    /// When there is no such binary.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> RunningProcess {
        let mut child = Command::new(&self.path)
            .args(arguments)
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let (said, printed) = (Said::default(), Said::default());
        let stderr = child.stderr.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let readers = vec![keep(stderr, Arc::clone(&said)), keep(stdout, Arc::clone(&printed))];
        RunningProcess { child, said, printed, readers }
    }
}

/// Reads until the end, so that nobody waits for a full pipe.
fn keep(from: impl Read + Send + 'static, to: Said) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = to.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&line);
            said.push('\n');
        }
    })
}

impl RunningProcess {
    /// What it wrote to standard error so far; all of it once it has ended.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says this.
    ///
    /// # Panics
    /// When it ends before, or does not say it in time.
    pub async fn says(&mut self, what: &str) {
        eventually(&format!("the process says {what:?}"), COMMAND_DEADLINE, || {
            let ended = self.child.try_wait().expect("the child is ours");
            let said = self.said();
            let found = said.contains(what);
            assert!(found || ended.is_none(), "it ended before it said {what:?}: {said}");
            std::future::ready(found.then_some(()))
        })
        .await;
    }

    /// Waits for its end; its exit code, or `None` after a signal.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = eventually("the process ends", COMMAND_DEADLINE, || {
            std::future::ready(self.child.try_wait().expect("the child is ours"))
        })
        .await;
        for reader in self.readers.drain(..) {
            reader.join().expect("reading does not panic");
        }
        status.code()
    }

    /// The address in the line in which it said `what`.
    ///
    /// # Panics
    /// When it did not.
    pub async fn address(&mut self, what: &str) -> String {
        self.says(what).await;
        let said = self.said();
        let line = said.lines().find(|line| line.contains(what)).expect("it was just seen");
        let line: serde_json::Value = serde_json::from_str(line).expect("lines are JSON");
        line["address"].as_str().expect("the line has an address").to_owned()
    }

    /// Asks it to stop, as a supervisor does.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn terminate(&self) {
        let done = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        assert!(done.expect("there is kill").success(), "the process can be asked to stop");
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without a variable set, `serve` and `migrate` name every one that they need and do nothing.
///
/// # Panics
/// When it is not so.
pub async fn assert_names_what_is_missing(path: &str, serve: &[&str], migrate: &[&str]) {
    for (command, needed) in [("serve", serve), ("migrate", migrate)] {
        let ended = Binary::new(path).run(&[command]).await;
        assert_eq!(ended.code, Some(2), "{command}: {ended:?}");
        let missing = ended.stderr.lines().filter(|line| line.contains("must be set"));
        let missing: Vec<&str> = missing.filter_map(|line| line.split_whitespace().next()).collect();
        let mut needed = needed.to_vec();
        needed.sort_unstable();
        let mut found = missing.clone();
        found.sort_unstable();
        assert_eq!(found, needed, "{command}: {}", ended.stderr);
    }
}

/// With every variable that has a rule set to nonsense, `serve` names all of them at once and shows no secret.
///
/// # Panics
/// When it is not so.
pub async fn assert_names_what_is_wrong(path: &str, wrong: &[&str]) {
    const NONSENSE: &str = "no-such-thing";
    let binary = wrong.iter().fold(Binary::new(path), |binary, name| binary.set(name, NONSENSE));
    let ended = binary.run(&["serve"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for name in wrong {
        let line = ended.stderr.lines().find(|line| line.split([' ', ',']).any(|word| word == *name));
        let line = line.unwrap_or_else(|| panic!("{name} is not named: {}", ended.stderr));
        let secret = ["URL", "TOKENS", "KEYS", "PASSWORD"].iter().any(|end| name.ends_with(end));
        assert!(!secret || !line.contains(NONSENSE), "{name} is shown: {line}");
    }
}

/// `serve` refuses a database that is not migrated, and says what to do; `migrate` mends it, also many times at once,
/// and gives the service's role no more than it needs.
///
/// # Panics
/// When it is not so.
pub async fn assert_migrates(binary: &Binary, program: &str, log: &str) {
    let database = TestDatabase::empty(log).await;
    let binary = binary
        .clone()
        .set("DATABASE_URL", database.url())
        .set("STORELINE_MIGRATE_DATABASE_URL", database.admin_url())
        .set("STORELINE_KAFKA_BROKERS", "127.0.0.1:1");
    let refused = binary.run(&["serve"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains(&format!("Run `{program} migrate` first")), "{}", refused.stderr);

    let migrating: Vec<_> = (0..MIGRATIONS_AT_ONCE)
        .map(|_| {
            let binary = binary.clone();
            tokio::spawn(async move { binary.run(&["migrate"]).await })
        })
        .collect();
    for migrated in migrating {
        let migrated = migrated.await.expect("it does not panic");
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
    }
    let mut app = PgConnection::connect(database.url()).await.expect("the service's role can connect");
    let found: String = sqlx::query_scalar("SELECT log FROM eventlog.identity")
        .fetch_one(&mut app)
        .await
        .expect("it may read");
    assert_eq!(found, log);
    for refused in [
        "DELETE FROM eventlog.events",
        "UPDATE eventlog.identity SET incarnation = 7",
        "CREATE TABLE eventlog.mine ()",
    ] {
        let done = sqlx::query(refused).execute(&mut app).await;
        assert!(done.is_err(), "the service's role may not: {refused}");
    }
}

/// It serves on a real Kafka, says so to a check beside it, and stops in order when it is asked to.
///
/// # Panics
/// When it is not so.
pub async fn assert_serves(binary: &Binary, log: &str) {
    let database = TestDatabase::empty(log).await;
    let binary = binary
        .clone()
        .set("DATABASE_URL", database.url())
        .set("STORELINE_MIGRATE_DATABASE_URL", database.admin_url())
        .set("STORELINE_KAFKA_BROKERS", kafka::bootstrap())
        .set("STORELINE_KAFKA_TOPIC_PREFIX", kafka::topic_prefix())
        .set("STORELINE_KAFKA_PARTITIONS", "2")
        .set("STORELINE_KAFKA_REPLICATION", "1")
        .set("STORELINE_KAFKA_MIN_INSYNC", "1");
    let migrated = binary.run(&["migrate"]).await;
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let mut process = binary.start(&["serve"]);
    let beside = binary.set("STORELINE_GRPC", process.address(GRPC_LISTENS).await);
    becomes_ready(&beside).await;
    let alive = beside.run(&["healthcheck", "--live"]).await;
    assert_eq!(alive.code, Some(0), "{alive:?}");
    process.terminate();
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
    assert_eq!(beside.run(&["healthcheck", "--live"]).await.code, Some(1), "nobody answers any more");
}

/// Neither a database nor a Kafka that is away ends it or keeps it from being alive; it is ready while its database is
/// there.
///
/// # Panics
/// When it is not so.
pub async fn assert_survives_what_it_depends_on(binary: &Binary, log: &str) {
    let mut server = Cluster::start().await;
    let database = TestDatabase::empty_on(&server.url(), log).await;
    let binary = binary
        .clone()
        .set("DATABASE_URL", database.url())
        .set("STORELINE_MIGRATE_DATABASE_URL", database.admin_url())
        // Nobody listens there.
        .set("STORELINE_KAFKA_BROKERS", "127.0.0.1:1");
    let migrated = binary.run(&["migrate"]).await;
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    server.stop(Stop::Immediate).await;
    let mut process = binary.start(&["serve"]);
    process.says("PostgreSQL does not answer: waiting for it").await;
    server.start_again().await;
    let beside = binary.set("STORELINE_GRPC", process.address(GRPC_LISTENS).await);
    becomes_ready(&beside).await;

    server.stop(Stop::Immediate).await;
    eventually("it is not ready", COMMAND_DEADLINE, || async {
        (beside.run(&["healthcheck"]).await.code == Some(1)).then_some(())
    })
    .await;
    let alive = beside.run(&["healthcheck", "--live"]).await;
    assert_eq!(alive.code, Some(0), "{alive:?}");
    server.start_again().await;
    becomes_ready(&beside).await;
    process.terminate();
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

async fn becomes_ready(beside: &Binary) {
    eventually("it is ready", COMMAND_DEADLINE, || async {
        (beside.run(&["healthcheck"]).await.code == Some(0)).then_some(())
    })
    .await;
}

/// `config --json` lists what the commands read, of which `serve` needs those that are `required`, and `config`, `--help` and `--version` answer without a configuration.
///
/// # Panics
/// When it is not so.
pub async fn assert_describes_itself(path: &str, program: &str, required: &[&str]) {
    let binary = Binary::new(path);
    for arguments in [&["config"][..], &["--help"], &["--version"]] {
        let ended = binary.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains(program) || arguments == ["config"], "{}", ended.stdout);
    }
    let ended = binary.run(&["config", "--json"]).await;
    let described: serde_json::Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    assert_eq!(described["program"], program);
    let variables = described["variables"].as_array().expect("a list");
    let of = |wanted: bool| {
        let mut names: Vec<&str> = variables
            .iter()
            .filter(|variable| variable["required"] == wanted)
            .filter_map(|variable| variable["name"].as_str())
            .collect();
        names.sort_unstable();
        names
    };
    let mut required = [required, &["STORELINE_MIGRATE_DATABASE_URL"]].concat();
    required.sort_unstable();
    assert_eq!(of(true), required);
    for optional in
        ["STORELINE_GRPC", "STORELINE_ADMIN", "STORELINE_DRAIN_LIMIT", "LOG_FORMAT", "OTLP_ENDPOINT"]
    {
        assert!(of(false).contains(&optional), "{optional} is missing among {:?}", of(false));
    }
    let url = variables.iter().find(|variable| variable["name"] == "DATABASE_URL").expect("it is listed");
    assert_eq!(url["secret"], true);
    assert_eq!(url["fileVariable"], "DATABASE_URL_FILE");
    assert_eq!(url["commands"], serde_json::json!(["serve", "migrate"]));
}
