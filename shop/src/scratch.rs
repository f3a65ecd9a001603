//! A folder for one test, removed when the test ends. Lies where an unprivileged account can reach it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::data_folder::hex;

pub(crate) struct ScratchFolder(PathBuf);

impl ScratchFolder {
    pub(crate) fn new() -> Self {
        let name = format!("storeline-test-{}", hex(&rand::random::<[u8; 8]>()));
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
