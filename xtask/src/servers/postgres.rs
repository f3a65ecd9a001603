//! A throwaway PostgreSQL cluster with production's durability. A small shell process stands guard over it: it waits for
//! the end of a pipe that only we hold, so the server stops and its files go whether we return, panic, are interrupted
//! or are killed.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::free_port;
use crate::apt;
use crate::tools::first_line;

/// The oldest version that the shop supports.
const OLDEST_MAJOR: u32 = 14;
/// The server's own programs and those that tests and benchmarks call.
const PROGRAMS: [&str; 5] = ["postgres", "initdb", "psql", "pg_dump", "pgbench"];
const START_DEADLINE: Duration = Duration::from_secs(300);
/// Tests run in parallel, each with pools of its own.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=400",
    "shared_buffers=256MB",
    "fsync=on",
    "synchronous_commit=on",
    "max_wal_size=4GB",
    "jit=off",
    "timezone=UTC",
];
/// $1 is the server's process, $2 the folder of the run. The server removes its pid file last.
const GUARD: &str = r#"
cat >/dev/null
kill -INT "$1"
tries=0
while [ -e "$2/cluster/postmaster.pid" ] && [ $tries -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "$1" 2>/dev/null
rm -rf "$2"
"#;

/// A running server; stopped and removed on drop.
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    password: String,
    server: Child,
    guard: Child,
}

impl Postgres {
    /// Finds the programs or installs them, makes a cluster and waits until it serves.
    pub fn provide() -> Result<Self> {
        let programs = Self::find_or_install()?;
        let account = if apt::is_root()? { Some(Account::for_postgres()?) } else { None };
        let folder = make_folder(account.as_ref())?;
        let password = random_password()?;
        let started = initialize(&folder, &programs, account.as_ref(), &password)
            .and_then(|()| Self::start(&folder, programs, account.as_ref(), password));
        if started.is_err() {
            fs::remove_dir_all(&folder).ok();
        }
        let postgres = started?;
        println!("            throwaway cluster in {} on 127.0.0.1:{}", folder.display(), postgres.port);
        Ok(postgres)
    }

    /// The folder of the programs, which are installed if they are missing.
    pub fn find_or_install() -> Result<PathBuf> {
        let programs = match find_programs() {
            Some(found) => found,
            None => {
                apt::install(
                    &["postgresql", "postgresql-contrib"],
                    "on macOS `brew install postgresql`; or name the folder of its programs in POSTGRES_BIN",
                )?;
                find_programs().context("postgresql was installed but its programs were not found")?
            }
        };
        let version = first_line(&programs.join("postgres"), "--version");
        println!("postgres    {version} ({})", programs.display());
        Ok(programs)
    }

    fn start(folder: &Path, programs: PathBuf, account: Option<&Account>, password: String) -> Result<Self> {
        let port = free_port()?;
        let cluster = folder.join("cluster");
        let log_path = folder.join("server.log");
        let log = File::create(&log_path)?;
        let mut command = quiet_command(&programs.join("postgres"), folder, account);
        command.arg("-D").arg(&cluster).args(["-p", &port.to_string()]).process_group(0);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let mut server = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let guard = quiet_command(Path::new("sh"), folder, account)
            .args(["-c", GUARD, "guard", &server.id().to_string()])
            .arg(folder)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let ready = wait_until_ready(&mut server, &cluster);
        let postgres = Self { programs, port, password, server, guard };
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        ready.with_context(|| format!("PostgreSQL did not start:\n{log}"))?;
        Ok(postgres)
    }

    /// The superuser's address.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// The folder with psql, pg_dump and pgbench.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The server's own words about itself, over a real connection.
    pub fn ask_version(&self) -> Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-XAtc", "SELECT version()"])
            .arg(self.url())
            .output()?;
        if !output.status.success() {
            bail!("psql failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        for process in [&mut self.server, &mut self.guard] {
            if let Err(error) = process.wait() {
                eprintln!("xtask: cannot wait for the throwaway PostgreSQL: {error}");
            }
        }
    }
}

fn find_programs() -> Option<PathBuf> {
    let named = env::var_os("POSTGRES_BIN").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok()?.parent().map(Path::to_owned));
    let mut packaged: Vec<(u32, PathBuf)> = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"]
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flat_map(|entries| entries.flatten())
        .map(|entry| (digits(&entry.file_name().to_string_lossy()), entry.path().join("bin")))
        .collect();
    packaged.sort();
    let packaged = packaged.into_iter().rev().map(|(_, folder)| folder);
    named.into_iter().chain(on_path).chain(packaged).find(|folder| is_usable(folder))
}

fn is_usable(folder: &Path) -> bool {
    let complete = PROGRAMS.iter().all(|program| folder.join(program).is_file());
    let version = || first_line(&folder.join("postgres"), "--version");
    complete
        && version().strip_prefix("postgres (PostgreSQL) ").is_some_and(|version| {
            let major = version.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
            digits(major) >= OLDEST_MAJOR
        })
}

fn digits(text: &str) -> u32 {
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

fn make_folder(account: Option<&Account>) -> Result<PathBuf> {
    let name = format!("storeline-xtask-{}", std::process::id());
    let folder = env::temp_dir().canonicalize()?.join(name);
    // Left by a run with the same process number whose guard was killed too.
    fs::remove_dir_all(&folder).ok();
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    if let Some(account) = account {
        chown(&folder, Some(account.uid), Some(account.gid))?;
    }
    Ok(folder)
}

/// Other users of the machine must not get into the server, which trusts nobody without it.
fn random_password() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn initialize(folder: &Path, programs: &Path, account: Option<&Account>, password: &str) -> Result<()> {
    let password_file = folder.join("password");
    fs::write(&password_file, password)?;
    if let Some(account) = account {
        chown(&password_file, Some(account.uid), Some(account.gid))?;
    }
    let output = quiet_command(&programs.join("initdb"), folder, account)
        .arg("-D")
        .arg(folder.join("cluster"))
        .arg(format!("--pwfile={}", password_file.display()))
        .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .output()
        .context("cannot run initdb")?;
    if !output.status.success() {
        bail!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn quiet_command(program: &Path, folder: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("LC_ALL", "C");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// The eighth line of the pid file says when connections are accepted.
fn wait_until_ready(server: &mut Child, cluster: &Path) -> Result<()> {
    let begin = Instant::now();
    loop {
        let state = fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
        if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
            return Ok(());
        }
        if let Some(status) = server.try_wait()? {
            bail!("the server ended with {status}");
        }
        if begin.elapsed() > START_DEADLINE {
            bail!("not ready after {} s", START_DEADLINE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Who runs PostgreSQL when we are root, which it refuses.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn for_postgres() -> Result<Self> {
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| accounts.lines().find_map(|line| Self::parse(line, name)))
            .context("there is neither an account `postgres` nor `nobody` to run PostgreSQL as: create one")
    }

    fn parse(line: &str, name: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [account, _, uid, gid, ..] if *account == name => {
                Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            }
            _ => None,
        }
    }
}
