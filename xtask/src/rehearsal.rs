//! Programs, played without containers: each a process of this machine with exactly the words and variables that whatever
//! starts them in earnest gives them, and no others. What loopback demands is rewritten, and here alone: addresses that a
//! program listens on, addresses of those that it talks to, and folders in which its secrets are mounted. Where words and
//! variables come from, whoever plays knows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_servers::{Folder, Process, free_port};
use serde_json::Value;

/// From the start of all programs until each says that it is well; the machine may be busy.
const HEALTHY_WITHIN: Duration = Duration::from_secs(240);
/// From the start of all programs until one that ends has ended.
const OVER_WITHIN: Duration = Duration::from_secs(600);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(200);
const GET_TIMEOUT: Duration = Duration::from_secs(30);
/// Ends of logs that are shown, in lines.
const LOG_TAIL: usize = 20;
/// In a container programs listen for everybody.
const EVERYBODY: &str = "0.0.0.0:";

/// A program as something would start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Of its own; names its log.
    pub name: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Folders that it finds in its container, each with what stands for it here.
    pub mounts: Vec<(String, PathBuf)>,
}

/// Where everything of one rehearsal is.
pub struct Stage<'a> {
    folder: Folder,
    programs: &'a Path,
    /// What stands in variables, and what it is here; longer ones first, which may contain shorter ones.
    replaced: Vec<(String, String)>,
    /// By the name of a start and a port that it listens on.
    listening: BTreeMap<(String, String), String>,
}

impl Start {
    /// The ports at which it listens for everybody, by its variables and its words.
    fn ports(&self) -> impl Iterator<Item = &str> {
        self.environment.values().chain(&self.words).filter_map(|value| value.strip_prefix(EVERYBODY))
    }
}

impl<'a> Stage<'a> {
    /// An empty one for the programs in a folder.
    pub fn new(kind: &str, programs: &'a Path) -> Result<Self> {
        let folder = Folder::new(kind)?;
        Ok(Self { folder, programs, replaced: Vec::new(), listening: BTreeMap::new() })
    }

    /// Goes with the stage.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What stands in variables as `there` is `here`.
    pub fn replace(&mut self, there: impl Into<String>, here: impl Into<String>) {
        self.replaced.push((there.into(), here.into()));
        self.replaced.sort_by_key(|(there, _)| std::cmp::Reverse(there.len()));
    }

    /// Gives it a port of loopback for each that it listens on, and returns both.
    pub fn listen(&mut self, start: &Start) -> Result<Vec<(String, String)>> {
        let mut ports = Vec::new();
        for port in start.ports() {
            let here = format!("127.0.0.1:{}", free_port()?);
            self.listening.insert((start.name.clone(), port.to_owned()), here.clone());
            ports.push((port.to_owned(), here));
        }
        Ok(ports)
    }

    /// The address here of a port that a start listens on.
    pub fn at(&self, name: &str, port: &str) -> Option<&str> {
        self.listening.get(&(name.to_owned(), port.to_owned())).map(String::as_str)
    }

    /// The address here that a variable of a start stands for.
    pub fn listening_at(&self, start: &Start, variable: &str) -> Option<&str> {
        self.at(&start.name, start.environment.get(variable)?.strip_prefix(EVERYBODY)?)
    }

    /// Its program with the variables that it would have, and nothing else.
    pub fn command(&self, start: &Start) -> Result<Command> {
        let (program, arguments) = start.words.split_first().context("there is no program")?;
        let data = self.folder.path().join(format!("{}-data", start.name));
        fs::create_dir_all(&data)?;
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments.iter().map(|word| self.rewritten(start, word)));
        command.current_dir(data).env_clear();
        for (variable, value) in &start.environment {
            command.env(variable, self.rewritten(start, value));
        }
        Ok(command)
    }

    fn rewritten(&self, start: &Start, value: &str) -> String {
        if let Some(here) = value.strip_prefix(EVERYBODY).and_then(|port| self.at(&start.name, port)) {
            return here.to_owned();
        }
        for (there, here) in &start.mounts {
            if let Some(rest) = value.strip_prefix(there.as_str()).filter(|rest| rest.starts_with('/')) {
                return format!("{}{rest}", here.display());
            }
        }
        self.replaced.iter().fold(value.to_owned(), |value, (there, here)| value.replace(there, here))
    }

    /// Runs a job, which must end well.
    pub fn run_to_end(&self, start: &Start) -> Result<()> {
        finish(&mut self.command(start)?)
            .with_context(|| format!("{}: {}", start.name, start.words.join(" ")))
    }

    /// Starts one that stays.
    pub fn spawn(&self, start: &Start) -> Result<Process> {
        Ok(Process::spawn(&self.folder, &start.name, &mut self.command(start)?)?)
    }

    /// Waits until it has ended well.
    pub fn wait_until_over(&self, start: &Start, process: &mut Process, begin: Instant) -> Result<()> {
        let name = &start.name;
        while begin.elapsed() <= OVER_WITHIN {
            match process.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{name} ended with {status}:\n{}", self.log_of(name)),
                None => thread::sleep(PAUSE),
            }
        }
        bail!("{name} does not end:\n{}", self.log_of(name))
    }

    /// Waits until it is well: `ask` says why it is not.
    pub fn wait_until_well(
        &self,
        start: &Start,
        process: &mut Process,
        begin: Instant,
        ask: impl Fn() -> Result<std::result::Result<(), String>>,
    ) -> Result<()> {
        let name = &start.name;
        loop {
            let Err(said) = ask()? else { return Ok(()) };
            if let Some(status) = process.ended()? {
                bail!("{name} ended with {status}:\n{}", self.log_of(name));
            }
            if begin.elapsed() > HEALTHY_WITHIN {
                bail!("{name} is not well: {said}\n{}", self.log_of(name));
            }
            thread::sleep(PAUSE);
        }
    }

    fn log_of(&self, name: &str) -> String {
        let path = self.folder.path().join(format!("{name}.log"));
        tail(&fs::read_to_string(path).unwrap_or_default())
    }
}

/// What a command that asks says: nothing if it ended well.
pub fn answer(command: &mut Command) -> Result<std::result::Result<(), String>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said) })
}

/// Reads a product, as shoppers do and the demo does not.
pub fn browse(gateway: &str) -> Result<()> {
    let page: Value = serde_json::from_str(&get(gateway, "/v1/products?pageSize=1")?)?;
    let id = page["products"][0]["productId"].as_str().context("the demo leaves products")?;
    get(gateway, &format!("/v1/products/{id}"))?;
    Ok(())
}

/// The body of an answer that must be good.
pub fn get(address: &str, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(GET_TIMEOUT))?;
    // The older version has the answer come in one piece, up to the end of the connection.
    connection.write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.lines().next().is_some_and(|status| status.contains(" 200 ")) => {
            Ok(body.to_owned())
        }
        _ => bail!("http://{address}{path} answers {:?}", answer.lines().next()),
    }
}

/// Login (`user:password`) and address in a URL of PostgreSQL.
pub fn server_of(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("postgres://").context("PostgreSQL has another URL")?;
    let (login, rest) = rest.split_once('@').context("PostgreSQL's URL has a login")?;
    let server = rest.split('/').next().unwrap_or_default();
    Ok((login.to_owned(), server.to_owned()))
}

/// The variables by which PostgreSQL's own programs find a server, from its URL.
pub fn libpq(url: &str) -> Result<[(&'static str, String); 4]> {
    let (login, server) = server_of(url)?;
    let (host, port) = server.split_once(':').context("PostgreSQL has a port")?;
    let (user, password) = login.split_once(':').context("PostgreSQL has a password")?;
    Ok([("PGHOST", host), ("PGPORT", port), ("PGUSER", user), ("PGPASSWORD", password)]
        .map(|(name, value)| (name, value.to_owned())))
}

/// Runs a command, which must end well.
pub fn finish(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        bail!("it ended with {}:\n{}", output.status, tail(&said));
    }
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_and_address_are_taken_from_a_url() {
        let (login, server) = server_of("postgres://postgres:pw@127.0.0.1:5432/postgres").unwrap();
        assert_eq!((login.as_str(), server.as_str()), ("postgres:pw", "127.0.0.1:5432"));
        let found = libpq("postgres://postgres:pw@127.0.0.1:5432/postgres").unwrap();
        assert_eq!(found.map(|(_, value)| value), ["127.0.0.1", "5432", "postgres", "pw"]);
    }

    #[test]
    fn a_program_gets_its_words_and_variables_and_only_addresses_and_mounts_are_others() {
        let environment = [
            ("LISTEN", "0.0.0.0:80"),
            ("PEER", "shop-a.ns.svc:80,shop-a:80"),
            ("TOKEN_FILE", "/run/secrets/a/token"),
            ("PLAIN", "/run/secrets/are/told/0.0.0.0:80"),
        ];
        let start = Start {
            name: "a".to_owned(),
            words: ["program", "serve", "x"].map(str::to_owned).to_vec(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            mounts: vec![("/run/secrets/a".to_owned(), "/here".into())],
        };
        let mut stage = Stage::new("rehearsal-test", Path::new("/bin")).unwrap();
        let ports = stage.listen(&start).unwrap();
        let [(port, here)] = ports.as_slice() else { panic!("{ports:?}") };
        assert_eq!((port.as_str(), stage.listening_at(&start, "LISTEN")), ("80", Some(here.as_str())));
        stage.replace("shop-a:80", "127.0.0.1:1");
        stage.replace("shop-a.ns.svc:80", "127.0.0.1:2");
        let command = stage.command(&start).unwrap();
        assert_eq!(command.get_program(), "/bin/program");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["serve", "x"]);
        let set: Vec<(String, String)> = command
            .get_envs()
            .map(|(name, value)| {
                (name.to_str().unwrap().to_owned(), value.unwrap().to_str().unwrap().to_owned())
            })
            .collect();
        let expected = [
            ("LISTEN", here.as_str()),
            ("PEER", "127.0.0.1:2,127.0.0.1:1"),
            ("PLAIN", "/run/secrets/are/told/0.0.0.0:80"),
            ("TOKEN_FILE", "/here/token"),
        ];
        assert_eq!(set, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
