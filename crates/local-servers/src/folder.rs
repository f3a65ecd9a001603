//! A throwaway folder and the processes that run in it. A small shell process stands guard: it waits for the end of a
//! pipe that only we hold, kills every process that is noted in the folder, and removes the folder. So nothing is left
//! behind, whether we return, panic, are interrupted or are killed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Set to anything, it keeps the folders for a look at them; their processes end all the same.
const KEEP: &str = "STORELINE_TEST_KEEP";
/// $1 is the folder, $2 whether to keep it. What was just killed may still make a file while its folder is removed.
const GUARD: &str = r#"
cat >/dev/null
for pid_file in "$1"/*.pid; do
    [ -s "$pid_file" ] && kill -KILL "$(cat "$pid_file")"
done
[ -n "$2" ] && exit
tries=0
until rm -rf "$1" 2>/dev/null || [ $tries -ge 100 ]; do sleep 0.05; tries=$((tries + 1)); done
"#;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder that goes, with all that runs in it, when this does.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    guard: Child,
}

impl Folder {
    /// Makes a folder whose name begins with `storeline-` and `kind`; nobody else may look into it.
    ///
    /// # Errors
    /// When the folder for temporary files cannot be written, or there is no sh.
    pub fn new(kind: &str) -> io::Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("storeline-{kind}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().canonicalize()?.join(name);
        // Left by a process with the same number whose guard was killed too.
        fs::remove_dir_all(&path).ok();
        DirBuilder::new().mode(0o700).create(&path)?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&path)
            .arg(if std::env::var_os(KEEP).is_some() { "keep" } else { "" })
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { path, guard })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nothing can be done about a guard that cannot be waited for.
        self.guard.wait().ok();
    }
}
