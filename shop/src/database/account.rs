//! The unprivileged account that PostgreSQL runs as when the shop runs as root, which PostgreSQL itself refuses.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::database::DatabaseError;

/// Looked for in this order. The first belongs to PostgreSQL's packages, the second is on every system.
const CANDIDATES: [&str; 3] = ["postgres", "_postgres", "nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// None when this process is not root and PostgreSQL can run as we do.
    pub(super) fn for_postgres() -> Result<Option<Self>, DatabaseError> {
        if !is_root()? {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        CANDIDATES
            .iter()
            .find_map(|name| {
                accounts.lines().find_map(|line| Self::parse(line).filter(|found| found.name == *name))
            })
            .map(Some)
            .ok_or(DatabaseError::NoAccount)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid })
    }

    /// The first folder on the way to `path`, itself included, that this account may not enter.
    pub(super) fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        folders.into_iter().find(|folder| !self.may_enter(folder)).map(Path::to_owned)
    }

    fn may_enter(&self, folder: &Path) -> bool {
        let Ok(metadata) = fs::metadata(folder) else { return false };
        let execute_bit = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        metadata.mode() & execute_bit != 0
    }
}

/// The standard library does not tell whose process this is, and the system's own program does everywhere.
fn is_root() -> Result<bool, DatabaseError> {
    let answer = Command::new("id")
        .arg("-u")
        .output()
        .map_err(|source| DatabaseError::Run { program: "id".into(), source })?;
    Ok(answer.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::ScratchFolder;

    #[test]
    fn an_account_line_is_read_and_a_broken_one_is_not() {
        let account =
            Account::parse("postgres:x:101:104:PostgreSQL administrator:/var/lib/postgresql:/bin/bash");
        assert_eq!(account, Some(Account { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(Account::parse("postgres:x"), None);
        assert_eq!(Account::parse("nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false"), None);
    }

    #[test]
    fn the_folder_that_keeps_an_account_out_is_named() {
        let scratch = ScratchFolder::new();
        let closed = scratch.path().join("closed");
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { name: "stranger".into(), uid: 64_999, gid: 64_999 };
        assert_eq!(stranger.blocked_at(&inner), Some(closed.clone()));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(stranger.blocked_at(&inner), None);
    }
}
