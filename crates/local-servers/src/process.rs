//! A process of a [`Folder`]: started with its output in a file there, told to end, killed, frozen, and never left
//! behind. It is in a process group of its own, so that an interrupt at the terminal reaches its owner only, who then
//! ends things in order.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::Folder;

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end in order.
    Terminate,
    /// To stand still, without knowing.
    Stop,
    /// To go on.
    Continue,
}

/// A process that has not been waited for yet. It is killed with this value.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid_file: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `NAME.log` in the folder, and has the folder's guard know it.
    ///
    /// # Errors
    /// When it does not run, or the folder cannot be written.
    pub fn spawn(folder: &Folder, name: &str, command: &mut Command) -> io::Result<Self> {
        let log =
            File::options().create(true).append(true).open(folder.path().join(format!("{name}.log")))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{name} does not run: {error}")))?;
        let pid_file = folder.path().join(format!("{name}.pid"));
        if let Err(error) = fs::write(&pid_file, child.id().to_string()) {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        Ok(Self { name: name.to_owned(), child, pid_file })
    }

    /// As in the name of its log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        if ended.is_some() {
            // Its number may belong to another from now on.
            fs::remove_file(&self.pid_file).ok();
        }
        Ok(ended)
    }

    /// # Errors
    /// When it is gone.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let option = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        if let Some(status) = self.ended()? {
            return Err(io::Error::other(format!("{} has ended already: {status}", self.name)));
        }
        let sent = Command::new("kill").args([option, &self.id().to_string()]).status()?;
        if !sent.success() {
            return Err(io::Error::other(format!("{} could not be signalled", self.name)));
        }
        Ok(())
    }

    /// kill -9, and waits until it is gone, which is at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        fs::remove_file(&self.pid_file).ok();
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        self.kill().ok();
    }
}
