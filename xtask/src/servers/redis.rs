//! redis-server is found or installed; tests start one each, and so nothing runs for the run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt;
use crate::tools::{find_on_path, first_line};

/// What Debian's package is called, and the program in it.
const PROGRAM: &str = "redis-server";

/// Where the program is.
pub struct Redis {
    program: PathBuf,
}

impl Redis {
    /// Finds it or installs it, and says which it is.
    pub fn provide() -> Result<Self> {
        let program = match find() {
            Some(found) => found,
            None => {
                apt::install(&[PROGRAM], "on macOS `brew install redis`")?;
                find().context("redis-server was installed but is not on the PATH")?
            }
        };
        let redis = Self { program };
        println!("redis       {} ({})", redis.version(), redis.program.display());
        Ok(redis)
    }

    /// The path of redis-server.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its own words about itself.
    pub fn version(&self) -> String {
        first_line(&self.program, "--version")
    }
}

fn find() -> Option<PathBuf> {
    // A user's PATH may leave out the folders of servers.
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"];
    let in_usual = || usual.iter().map(|folder| Path::new(folder).join(PROGRAM)).find(|path| path.is_file());
    find_on_path(PROGRAM).or_else(in_usual)
}
