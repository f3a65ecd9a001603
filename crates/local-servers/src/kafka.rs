//! Apache Kafka in KRaft mode: brokers that are controllers as well, one or three, which can be ended, killed, frozen and
//! started again where they were, one by one.

mod metadata;
mod settings;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::{Folder, Process, Signal, free_port};

/// Enough for tests; about as much stays resident beside it.
const HEAP: [&str; 2] = ["-Xms64m", "-Xmx256m"];
/// Any id of 22 characters.
const CLUSTER_ID: &str = "c3RvcmVsaW5lLXRlc3RzAA";

/// How brokers shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// 1, or 3 of which one may be down.
    pub brokers: usize,
    /// Settings of server.properties beyond or in place of ours, each as `name=value`.
    pub settings: Vec<String>,
    /// Runs for long enough that compiling its code thoroughly pays off.
    pub long_lived: bool,
    /// Name and password that clients must know, by SCRAM-SHA-512.
    pub scram: Option<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { brokers: 1, settings: Vec::new(), long_lived: false, scram: None }
    }
}

/// Brokers, each running or between two runs. They end, and their files go, with this value.
#[derive(Debug)]
pub struct Brokers {
    // Dropped first, so that nothing is killed twice.
    running: Vec<Option<Process>>,
    jars: PathBuf,
    options: Options,
    ports: Vec<Ports>,
    folder: Folder,
}

/// Where a broker listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    clients: u16,
    brokers: u16,
    controllers: u16,
}

impl Brokers {
    /// Formats their folders and starts all of them with the jars in this folder. They serve when
    /// [`Self::is_ready`] says so.
    ///
    /// # Errors
    /// When there is no Java, or the jars are not Kafka's.
    pub fn start(jars: &Path, options: Options) -> io::Result<Self> {
        let folder = Folder::new("kafka")?;
        let ports = (0..options.brokers)
            .map(|_| Ok(Ports { clients: free_port()?, brokers: free_port()?, controllers: free_port()? }))
            .collect::<io::Result<Vec<_>>>()?;
        let running = ports.iter().map(|_| None).collect();
        let mut brokers = Self { running, jars: jars.to_owned(), options, ports, folder };
        brokers.format()?;
        for broker in 0..brokers.ports.len() {
            brokers.start_again(broker)?;
        }
        Ok(brokers)
    }

    /// All addresses, with commas in between.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> =
            (0..self.ports.len()).map(|broker| self.address(broker).to_string()).collect();
        addresses.join(",")
    }

    /// Where a broker, counted from 0, listens for clients.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn address(&self, broker: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[broker].clients))
    }

    /// How many there are, running or not.
    pub fn count(&self) -> usize {
        self.ports.len()
    }

    /// Whether every broker that runs answers, and knows every other that runs. A frozen one makes this false.
    ///
    /// # Errors
    /// When a broker has ended by itself; with the end of its log.
    pub fn is_ready(&mut self) -> io::Result<bool> {
        let mut members = Vec::new();
        for (broker, process) in self.running.iter_mut().enumerate() {
            let Some(process) = process else { continue };
            if let Some(status) = process.ended()? {
                return Err(self.ended_early(broker, status));
            }
            members.push(broker);
        }
        let wanted: Vec<u16> = members.iter().map(|broker| self.ports[*broker].brokers).collect();
        // Brokers listen to each other without credentials, so that clients' need not be known here.
        Ok(wanted.iter().all(|port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            metadata::members(address).is_ok_and(|known| wanted.iter().all(|port| known.contains(port)))
        }))
    }

    /// Starts a broker on the ports and the files that it had.
    ///
    /// # Errors
    /// When there is no Java.
    pub fn start_again(&mut self, broker: usize) -> io::Result<()> {
        let mut command = self.java();
        command.args(["-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        command.arg("kafka.Kafka").arg(self.properties(broker));
        self.running[broker] = Some(Process::spawn(&self.folder, &name(broker), &mut command)?);
        Ok(())
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, broker: usize) -> io::Result<()> {
        self.process(broker)?.kill()?;
        self.running[broker] = None;
        Ok(())
    }

    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, broker: usize, signal: Signal) -> io::Result<()> {
        self.process(broker)?.signal(signal)
    }

    /// How a broker that was told to end has ended, if it has.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ended(&mut self, broker: usize) -> io::Result<Option<ExitStatus>> {
        let ended = self.process(broker)?.ended()?;
        if ended.is_some() {
            self.running[broker] = None;
        }
        Ok(ended)
    }

    /// What a broker has written to its output, over all its runs.
    ///
    /// # Errors
    /// When it was never started.
    pub fn log(&self, broker: usize) -> io::Result<String> {
        let text = fs::read(self.folder.path().join(format!("{}.log", name(broker))))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn process(&mut self, broker: usize) -> io::Result<&mut Process> {
        let process = self.running.get_mut(broker).and_then(Option::as_mut);
        process.ok_or_else(|| io::Error::other(format!("{} does not run", name(broker))))
    }

    /// Each broker's folder gets the id of the cluster; a virtual machine each, all at once.
    fn format(&self) -> io::Result<()> {
        let mut formatting = Vec::new();
        for broker in 0..self.ports.len() {
            fs::write(self.properties(broker), self.server_properties(broker))?;
            let mut command = self.java();
            command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
            command.arg(self.properties(broker));
            if let Some((user, password)) = &self.options.scram {
                command.args(["--add-scram", &format!("SCRAM-SHA-512=[name={user},password={password}]")]);
            }
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            formatting
                .push(quiet.spawn().map_err(|error| io::Error::new(error.kind(), format!("java: {error}")))?);
        }
        for child in formatting {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                let words = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("Kafka's StorageTool failed: {words}")));
            }
        }
        Ok(())
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.args(HEAP).arg("-XX:+UseSerialGC");
        if !self.options.long_lived {
            command.arg("-XX:TieredStopAtLevel=1");
        }
        command.arg("-cp").arg(self.jars.join("*")).current_dir(self.folder.path());
        command
    }

    fn properties(&self, broker: usize) -> PathBuf {
        self.folder.path().join(format!("{}.properties", name(broker)))
    }

    fn ended_early(&self, broker: usize, status: ExitStatus) -> io::Error {
        let log = self.log(broker).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(settings::LOG_TAIL)..].join("\n");
        io::Error::other(format!("{} ended with {status}:\n{tail}", name(broker)))
    }
}

fn name(broker: usize) -> String {
    format!("broker-{}", broker + 1)
}
