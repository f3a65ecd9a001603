//! A composition, played without containers: its jobs and programs as processes of this machine with exactly the variables
//! and commands that it gives them, on databases and secrets made by its own scripts, and then the demo, as the README
//! has it played. Only addresses are others, and servers are those of the test run. What is about containers alone
//! (images, networks, limits) it cannot show.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_servers::{Folder, Process, free_port, redis::Redis};
use serde_json::Value;

use super::Problems;
use super::compose::{Composition, SECRETS, Service};
use super::metrics::Exported;
use crate::servers::Servers;

/// From the start of all programs until each says that it is well; the machine may be busy.
const HEALTHY_WITHIN: Duration = Duration::from_secs(240);
/// In front of the services.
const GATEWAY: &str = "gateway";
/// What the README has the operator do first.
const OPERATOR: &str = "shop";
/// The operator's commands that are played, in this order.
const PLAYED: [&str; 2] = ["demo", "audit"];
/// Where a program serves its metrics.
const ADMIN: &str = "STORELINE_ADMIN";
const GET_TIMEOUT: Duration = Duration::from_secs(30);
/// Ends of logs that are shown, in lines.
const LOG_TAIL: usize = 20;

/// The stage: where everything of one rehearsal is.
struct Stage<'a> {
    folder: Folder,
    programs: &'a Path,
    /// What stands in the composition, and what it is here.
    replaced: Vec<(String, String)>,
    /// Of each program, where it listens here.
    listening: BTreeMap<String, String>,
    _redis: Redis,
}

/// Plays it, and compares what its programs export with the list. An error says what did not work.
pub fn run(
    root: &Path,
    composition: &Composition,
    exported: &Exported,
    programs: &Path,
    servers: &Servers,
) -> Result<Problems> {
    let begin = Instant::now();
    let stage = Stage::build(root, composition, programs, servers)?;
    for (name, job) in stage.ours(composition).filter(|(_, service)| !service.is_long_running()) {
        if name != OPERATOR {
            stage.run_to_end(name, job, &[])?;
        }
    }
    let mut processes = Vec::new();
    for (name, service) in stage.ours(composition).filter(|(_, service)| service.is_long_running()) {
        let mut command = stage.command(name, service, &service.words())?;
        processes.push((name, service, Process::spawn(&stage.folder, name, &mut command)?));
    }
    for (name, service, process) in &mut processes {
        stage.wait_until_healthy(name, service, process, begin)?;
    }
    let operator = composition.services.get(OPERATOR).context("there is no operator's command line")?;
    for played in PLAYED {
        stage.run_to_end(OPERATOR, operator, &[played])?;
    }
    let gateway = composition.services.get(GATEWAY).context("there is no gateway")?;
    browse(stage.listening_at(GATEWAY, gateway, "STORELINE_HTTP").context("it serves REST")?)?;
    let mut scrapes = Vec::new();
    for (name, service, _) in &processes {
        let admin = stage.listening_at(name, service, ADMIN).context("it has metrics")?;
        scrapes.push((*name, get(admin, "/metrics")?));
    }
    println!("rehearsal of {}: {} s", composition.files, begin.elapsed().as_secs());
    Ok(exported.compare(&scrapes))
}

impl<'a> Stage<'a> {
    /// Makes secrets and databases as the composition would, and decides who listens where.
    fn build(root: &Path, composition: &Composition, programs: &'a Path, servers: &Servers) -> Result<Self> {
        let folder = Folder::new("rehearsal")?;
        let redis = Redis::start(servers.redis.program())?;
        let secrets = folder.path().join("secrets");
        finish(Command::new("sh").arg("deploy/secrets.sh").arg(&secrets).current_dir(root))?;
        let (login, server) = server_of(&servers.postgres.url())?;
        let (host, port) = server.split_once(':').context("PostgreSQL has a port")?;
        let (user, password) = login.split_once(':').context("PostgreSQL has a password")?;
        let mut path = vec![servers.postgres.programs().to_owned()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        finish(
            Command::new("sh")
                .arg("deploy/postgres/databases.sh")
                .current_dir(root)
                .env("PATH", std::env::join_paths(path)?)
                .env("SECRETS", &secrets)
                .envs([("PGHOST", host), ("PGPORT", port), ("PGUSER", user), ("PGPASSWORD", password)]),
        )?;
        for entry in fs::read_dir(&secrets)? {
            let path = entry?.path();
            let secret = fs::read_to_string(&path)?;
            // It may not be written, only replaced.
            fs::remove_file(&path)?;
            fs::write(&path, secret.replace("@postgres:5432/", &format!("@{server}/")))?;
        }
        let bootstrap = servers.kafka.bootstrap();
        let mut replaced = vec![
            (SECRETS.to_owned(), format!("{}/", secrets.display())),
            ("redis:6379".to_owned(), redis.address().to_string()),
            ("kafka-1:9092".to_owned(), bootstrap.clone()),
        ];
        let mut listening = BTreeMap::new();
        for (name, service) in composition.services.iter().filter(|(_, service)| service.is_ours()) {
            for address in service.environment().values().filter_map(|value| value.strip_prefix("0.0.0.0:")) {
                let here = format!("127.0.0.1:{}", free_port()?);
                replaced.push((format!("{name}:{address}"), here.clone()));
                listening.insert(format!("{name} 0.0.0.0:{address}"), here);
            }
        }
        Ok(Self { folder, programs, replaced, listening, _redis: redis })
    }

    /// The address here that `variable` of a service stands for.
    fn listening_at(&self, name: &str, service: &Service, variable: &str) -> Option<&str> {
        let there = service.environment().remove(variable)?;
        self.listening.get(&format!("{name} {there}")).map(String::as_str)
    }

    fn ours<'c>(&self, composition: &'c Composition) -> impl Iterator<Item = (&'c str, &'c Service)> {
        let services = composition.services.iter().filter(|(_, service)| service.is_ours());
        services.map(|(name, service)| (name.as_str(), service))
    }

    /// `words` with the environment that the container would have, and nothing else.
    fn command(&self, name: &str, service: &Service, words: &[String]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("there is no program")?;
        let data = self.folder.path().join(format!("{name}-data"));
        fs::create_dir_all(&data)?;
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(data).env_clear();
        for (variable, value) in service.environment() {
            let value = match self.listening.get(&format!("{name} {value}")) {
                Some(here) => here.clone(),
                None => self.replaced.iter().fold(value, |value, (there, here)| value.replace(there, here)),
            };
            command.env(variable, value);
        }
        Ok(command)
    }

    /// Runs a job, or the operator's command `added`, which must end well.
    fn run_to_end(&self, name: &str, service: &Service, added: &[&str]) -> Result<()> {
        let mut words = match added.is_empty() {
            true => service.words(),
            false => service.entrypoint(),
        };
        words.extend(added.iter().map(|word| (*word).to_owned()));
        finish(&mut self.command(name, service, &words)?)
            .with_context(|| format!("{name} {}", added.join(" ")))
    }

    /// Asks as Docker would.
    fn wait_until_healthy(
        &self,
        name: &str,
        service: &Service,
        process: &mut Process,
        begin: Instant,
    ) -> Result<()> {
        let words = service.health_command().context("it has a health check")?;
        loop {
            let check = self.command(name, service, &words)?.output()?;
            if check.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
            if let Some(status) = process.ended()? {
                bail!("{name} ended with {status}:\n{}", self.log_of(name));
            }
            if begin.elapsed() > HEALTHY_WITHIN {
                bail!("{name} is not well: {said}\n{}", self.log_of(name));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn log_of(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(format!("{name}.log"));
        let log = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

/// Reads a product, as shoppers do and the demo does not.
fn browse(gateway: &str) -> Result<()> {
    let page: Value = serde_json::from_str(&get(gateway, "/v1/products?pageSize=1")?)?;
    let id = page["products"][0]["productId"].as_str().context("the demo leaves products")?;
    get(gateway, &format!("/v1/products/{id}"))?;
    Ok(())
}

/// The body of an answer that must be good.
fn get(address: &str, path: &str) -> Result<String> {
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

/// Login and address in a URL of PostgreSQL.
fn server_of(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("postgres://").context("PostgreSQL has another URL")?;
    let (login, rest) = rest.split_once('@').context("PostgreSQL's URL has a login")?;
    let server = rest.split('/').next().unwrap_or_default();
    Ok((login.to_owned(), server.to_owned()))
}

fn finish(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        bail!(
            "it ended with {}:\n{}",
            output.status,
            lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_and_address_are_taken_from_a_url() {
        let (login, server) = server_of("postgres://postgres:pw@127.0.0.1:5432/postgres").unwrap();
        assert_eq!((login.as_str(), server.as_str()), ("postgres:pw", "127.0.0.1:5432"));
    }
}
