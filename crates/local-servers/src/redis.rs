//! Redis without persistence, as the shop uses it: what is in it is lost with its process.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Folder, Process, Signal, free_port};

/// For one command to a server on this machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer to the commands that we send.
const ANSWER_LIMIT: usize = 64;

/// A server, running or between two runs. It ends with this value.
#[derive(Debug)]
pub struct Redis {
    // Dropped first, so that it is not killed twice.
    process: Option<Process>,
    program: PathBuf,
    port: u16,
    /// Beside the other port: its number, and the options that name its certificate.
    tls: Option<(u16, Vec<OsString>)>,
    folder: Folder,
}

impl Redis {
    /// Starts `redis-server` on a port that is asked for.
    ///
    /// # Errors
    /// When it does not run.
    pub fn start(program: &Path) -> io::Result<Self> {
        Self::start_with(program, None)
    }

    /// Starts one that speaks TLS as well, on a port of its own, with a certificate and its key.
    ///
    /// # Errors
    /// When it does not run.
    pub fn start_with_tls(program: &Path, certificate: &Path, key: &Path) -> io::Result<Self> {
        let mut options = vec![OsString::from("--tls-cert-file"), certificate.into()];
        options.extend([
            "--tls-key-file".into(),
            key.into(),
            "--tls-ca-cert-file".into(),
            certificate.into(),
        ]);
        options.extend(["--tls-auth-clients".into(), "no".into()]);
        Self::start_with(program, Some((free_port()?, options)))
    }

    fn start_with(program: &Path, tls: Option<(u16, Vec<OsString>)>) -> io::Result<Self> {
        let (folder, port) = (Folder::new("redis")?, free_port()?);
        let mut redis = Self { process: None, program: program.to_owned(), port, tls, folder };
        redis.start_again()?;
        Ok(redis)
    }

    /// `rediss://host:port`, if it speaks TLS.
    pub fn tls_url(&self) -> Option<String> {
        self.tls.as_ref().map(|(port, _)| format!("rediss://{}:{port}", Ipv4Addr::LOCALHOST))
    }

    /// `redis://host:port`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Starts it on the same port, empty.
    ///
    /// # Errors
    /// When it does not run.
    pub fn start_again(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).current_dir(self.folder.path());
        if let Some((port, options)) = &self.tls {
            command.args(["--tls-port", &port.to_string()]).args(options);
        }
        self.process = Some(Process::spawn(&self.folder, "redis", &mut command)?);
        Ok(())
    }

    /// Whether it answers; an error when it has ended.
    ///
    /// # Errors
    /// When it does not run.
    pub fn is_ready(&mut self) -> io::Result<bool> {
        if let Some(status) = self.running()?.ended()? {
            return Err(io::Error::other(format!("Redis ended with {status}")));
        }
        Ok(self.command("PING").is_ok_and(|answer| answer.starts_with("+PONG")))
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> io::Result<()> {
        self.running()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.running()?.signal(signal)
    }

    /// Forgets everything in it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush(&self) -> io::Result<()> {
        let answer = self.command("FLUSHALL")?;
        if !answer.starts_with("+OK") {
            return Err(io::Error::other(format!("Redis does not flush: {answer}")));
        }
        Ok(())
    }

    fn running(&mut self) -> io::Result<&mut Process> {
        self.process.as_mut().ok_or_else(|| io::Error::other("Redis does not run"))
    }

    /// The beginning of the answer to a command without arguments.
    fn command(&self, command: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address(), COMMAND_TIMEOUT)?;
        stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = [0; ANSWER_LIMIT];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
    }
}
