//! A PostgreSQL server of a test's own, for tests that stop, crash and start it again; all others share the one that
//! `STORELINE_TEST_DATABASE_URL` names. A small shell process stands guard over it: it waits for the end of a pipe that
//! only this test process holds, so the server ends and its files go whether the test returns, panics or is killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::ready;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use uuid::Uuid;

use crate::eventually;

/// The folder of initdb and postgres; without it they are looked for on the PATH.
const PROGRAMS: &str = "STORELINE_TEST_POSTGRES_BIN";
/// Longest wait for a start, the recovery after a crash included, or for an end.
const DEADLINE: Duration = Duration::from_secs(120);
/// Who may run PostgreSQL when the tests run as root, which it refuses.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// As durable as in production.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=256MB",
    "fsync=on",
    "synchronous_commit=on",
    "max_wal_size=4GB",
    "jit=off",
];
/// $1 is the folder. The server removes its pid file last.
const GUARD: &str = r#"
cat >/dev/null
pid_file="$1/cluster/postmaster.pid"
if [ -s "$pid_file" ]; then
    pid=$(head -n 1 "$pid_file")
    kill -QUIT "$pid"
    tries=0
    while [ -e "$pid_file" ] && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
    [ -e "$pid_file" ] && kill -KILL "$pid"
fi
rm -rf "$1"
"#;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, what is committed is written down, then it ends.
    Fast,
    /// It ends at once, as in a crash, and has to recover at its next start.
    Immediate,
}

/// A running server. It ends, and its files go, with this value.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    settings: &'static [&'static str],
    account: Option<(u32, u32)>,
    server: Child,
    guard: Child,
}

impl Cluster {
    /// Makes and starts one with production's durability.
    ///
    /// # Panics
    /// When there are no programs of PostgreSQL, or they fail.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Makes and starts one with further settings, each as `name=value`.
    ///
    /// # Panics
    /// When there are no programs of PostgreSQL, or they fail.
    pub async fn start_with(settings: &'static [&'static str]) -> Self {
        let account = account();
        let parent = std::env::temp_dir().canonicalize().expect("there is a folder for temporary files");
        let folder = parent.join(format!("storeline-cluster-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).expect("the folder for temporary files can be written");
        if let Some((user, group)) = account {
            chown(&folder, Some(user), Some(group)).expect("root may give folders away");
        }
        let guard = command("sh", &folder, account)
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        // Only this machine can reach it, and nothing but test data is in it.
        let made = command(program("initdb"), &folder, account)
            .arg("--pgdata=cluster")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .output()
            .unwrap_or_else(|error| panic!("initdb does not run, name its folder in {PROGRAMS}: {error}"));
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let server = serve(&folder, port, settings, account);
        let mut cluster = Self { folder, port, settings, account, server, guard };
        cluster.is_ready().await;
        cluster
    }

    /// As a superuser, on any database: append its name.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Where it is: the data is in `cluster` there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program, one of PostgreSQL's perhaps, in the server's folder and as who runs the server: it may read and write
    /// what the server does.
    ///
    /// # Panics
    /// When the folder of PostgreSQL's programs cannot stand in a PATH.
    pub fn command(&self, name: &str) -> Command {
        let programs = std::env::var_os(PROGRAMS).map(PathBuf::from);
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(programs.into_iter().chain(std::env::split_paths(&inherited)));
        let mut command = command(name, &self.folder, self.account);
        command.env("PATH", path.expect("plain folder names"));
        command
    }

    /// Stops it and starts it again on the same port.
    ///
    /// # Panics
    /// When it does not end, or not come back.
    pub async fn restart(&mut self, how: Stop) {
        self.stop(how).await;
        self.start_again().await;
    }

    /// Stops it. Its files stay.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&mut self, how: Stop) {
        let signal = match how {
            Stop::Fast => "-INT",
            Stop::Immediate => "-QUIT",
        };
        let pid = self.server.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(sent.success(), "the server was gone already");
        eventually("PostgreSQL ends", DEADLINE, || ready(self.server.try_wait().expect("the child is ours")))
            .await;
    }

    /// Starts the stopped server on the same port.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn start_again(&mut self) {
        self.server = serve(&self.folder, self.port, self.settings, self.account);
        self.is_ready().await;
    }

    /// The eighth line of the pid file says when connections are accepted.
    async fn is_ready(&mut self) {
        let pid_file = self.folder.join("cluster/postmaster.pid");
        let log = self.folder.join("server.log");
        eventually("PostgreSQL serves", DEADLINE, || {
            if let Some(status) = self.server.try_wait().expect("the child is ours") {
                panic!("PostgreSQL ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            let state = fs::read_to_string(&pid_file).unwrap_or_default();
            ready(state.lines().nth(7).is_some_and(|line| line.trim() == "ready").then_some(()))
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nothing can be done about a child that cannot be waited for.
        for child in [&mut self.server, &mut self.guard] {
            child.wait().ok();
        }
    }
}

fn serve(folder: &Path, port: u16, settings: &[&str], account: Option<(u32, u32)>) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("server.log"));
    let log = log.expect("the server's folder can be written");
    let mut command = command(program("postgres"), folder, account);
    command.args(["-D", "cluster", "-p", &port.to_string()]);
    for setting in SETTINGS.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    command.stdout(log.try_clone().expect("a file can be opened twice")).stderr(log);
    command.stdin(Stdio::null()).spawn().expect("postgres runs")
}

fn program(name: &str) -> PathBuf {
    std::env::var_os(PROGRAMS).map(PathBuf::from).unwrap_or_default().join(name)
}

/// In a process group of its own, so that an interrupt at the terminal reaches the guard's pipe only.
fn command(program: impl AsRef<OsStr>, folder: &Path, account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("LC_ALL", "C").process_group(0);
    if let Some((user, group)) = account {
        command.uid(user).gid(group);
    }
    command
}

/// The account to run PostgreSQL as; none when the tests do not run as root.
fn account() -> Option<(u32, u32)> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let found = ACCOUNTS.iter().find_map(|name| accounts.lines().find_map(|line| ids(line, name)));
    Some(found.expect("there is an account `postgres` or `nobody` to run PostgreSQL as"))
}

fn ids(line: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':');
    let found = fields.next()? == name;
    let (user, group) = (fields.nth(1)?, fields.next()?);
    found.then_some((user.parse().ok()?, group.parse().ok()?))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
