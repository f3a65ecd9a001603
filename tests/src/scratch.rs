//! A throwaway folder and what runs in it. A small shell process stands guard: it waits for the end of a pipe that only
//! this test process holds, then kills the shop and every PostgreSQL of the folder and removes the folder. So nothing is
//! left behind, whether a test returns, panics, is interrupted or is killed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

/// Set to anything, it keeps the folders of all tests for a look at them; their processes end all the same.
const KEEP: &str = "STORELINE_TEST_KEEP";
/// The process to kill, while there is one.
const SHOP_PID: &str = "shop.pid";
/// $1 is the folder, $2 whether to keep it. PostgreSQL removes its pid file last.
const GUARD: &str = r#"
cat >/dev/null
[ -s "$1/shop.pid" ] && kill -KILL "$(cat "$1/shop.pid")"
for pid_file in "$1"/*/postgres/postmaster.pid; do
    [ -s "$pid_file" ] || continue
    pid=$(head -n 1 "$pid_file")
    kill -QUIT "$pid"
    tries=0
    while [ -e "$pid_file" ] && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
    [ -e "$pid_file" ] && kill -KILL "$pid"
done
[ -n "$2" ] || rm -rf "$1"
"#;

/// A folder that goes when this does.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    guard: Child,
}

impl Scratch {
    /// Makes the folder, open to the account that PostgreSQL runs as when the tests run as root.
    ///
    /// # Panics
    /// When the machine refuses.
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let parent = std::env::temp_dir().canonicalize().expect("there is a folder for temporary files");
        let path = parent.join(format!("storeline-e2e-{}", Uuid::new_v4().simple()));
        fs::create_dir(&path).expect("the folder for temporary files can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("the folder is ours");
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&path)
            .arg(if std::env::var_os(KEEP).is_some() { "keep" } else { "" })
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        Self { path, guard }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A data folder in it. Every PostgreSQL below is stopped in the end.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Has the guard kill this process in the end.
    pub(crate) fn watch(&self, pid: u32) {
        fs::write(self.path.join(SHOP_PID), pid.to_string()).expect("the scratch folder can be written");
    }

    /// The process is gone, and its number may belong to another.
    pub(crate) fn unwatch(&self) {
        fs::remove_file(self.path.join(SHOP_PID)).ok();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}
