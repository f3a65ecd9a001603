//! The folder that holds everything a shop on one machine must not lose: its secrets and its PostgreSQL cluster.
//!
//! One process owns the folder at a time, by a file lock that the operating system drops with the process, however it
//! ends. Others may attach and read. It is deliberately no configuration store: whatever can be chosen anew comes from
//! the environment.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Secrets are this many random bytes, written as twice as many hexadecimal digits.
const SECRET_BYTES: usize = 32;
/// A secret file put there by hand may be this long; anything longer is not a secret but a mistake.
const SECRET_FILE_LIMIT: u64 = 4096;
/// Who holds the folder is written here, and the lock is on this file.
const LOCK_FILE: &str = "lock";
/// Only the owner gets in.
const PRIVATE_FOLDER: u32 = 0o700;
/// root's folder must let the unprivileged account of PostgreSQL through to its cluster; its files stay private.
const TRAVERSABLE_FOLDER: u32 = 0o711;
const PRIVATE_FILE: u32 = 0o600;

/// An opened data folder. The lock, if held, is released on drop, also while a child process that is about to become
/// another program has a copy of its file.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: Option<File>,
}

/// Why the data folder cannot be used, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error(
        "the data folder {path} is in use by {holder}. Stop that process (Ctrl-C, or `kill` with its number), \
         or start this one with another data folder"
    )]
    Held { path: PathBuf, holder: String },
    #[error("there is no data folder {path}. Start the shop once, or name the folder of the shop that runs")]
    Absent { path: PathBuf },
    #[error("the data folder {path} has no {name}. It is made when the shop starts: start the shop once")]
    SecretAbsent { path: PathBuf, name: String },
    #[error(
        "{path} holds no usable secret ({reason}). Restore it from a backup, or delete it and a new one is made"
    )]
    SecretUnusable { path: PathBuf, reason: &'static str },
    #[error("cannot {action} {path}: {source}. {advice}")]
    Io { action: &'static str, path: PathBuf, source: io::Error, advice: &'static str },
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // Closing alone would leave it to the last copy. Nothing can be done about a failure, and closing follows.
        if let Some(lock) = &self.lock {
            let _ = lock.unlock();
        }
    }
}

impl DataFolder {
    /// Takes the folder for this process alone, making it if it is not there.
    ///
    /// # Errors
    /// `Held` when another process has it; `Io` when it cannot be made or written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataFolderError> {
        let path = path.as_ref();
        let created = create_folder(path)?;
        let path = fs::canonicalize(path).map_err(failed("open", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataFolderError::Held { path, holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        write_holder(&mut lock).map_err(failed("write", &lock_path))?;
        let folder = Self { path, lock: Some(lock) };
        if created {
            sync_folder(folder.path.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(folder)
    }

    /// Opens the folder of a shop that may be running, to read from it. Takes no lock and makes nothing.
    ///
    /// # Errors
    /// `Absent` when no shop has run there yet.
    pub fn attach(path: impl AsRef<Path>) -> Result<Self, DataFolderError> {
        let path = path.as_ref();
        match fs::canonicalize(path) {
            Ok(found) if found.is_dir() => Ok(Self { path: found, lock: None }),
            Ok(found) => Err(DataFolderError::Absent { path: found }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(DataFolderError::Absent { path: path.to_owned() })
            }
            Err(error) => Err(failed("open", path)(error)),
        }
    }

    /// Makes a folder, if it is not there, for what a command must remember of a shop that has none on this machine.
    /// Takes no lock.
    ///
    /// # Errors
    /// `Io` when it cannot be made.
    pub fn beside(path: impl AsRef<Path>) -> Result<Self, DataFolderError> {
        create_folder(path.as_ref())?;
        Self::attach(path)
    }

    /// The folder's absolute path without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process owns the folder, as opposed to having attached to it.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.lock.is_some()
    }

    /// The secret in the file `name`. The owner makes it on first use (32 random bytes in hexadecimal), on disk before
    /// it is returned; who only attached gets `SecretAbsent`. An operator may replace the file's content.
    ///
    /// # Errors
    /// `SecretUnusable` for an empty or overlong file, `Io` when it cannot be read or written.
    pub fn secret(&self, name: &str) -> Result<String, DataFolderError> {
        let path = self.path.join(name);
        match File::open(&path) {
            Ok(file) => {
                if self.is_owned() {
                    file.set_permissions(Permissions::from_mode(PRIVATE_FILE))
                        .map_err(failed("protect", &path))?;
                }
                read_secret(file, &path)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_owned() => {
                let secret = hex(&rand::random::<[u8; SECRET_BYTES]>());
                self.write(name, format!("{secret}\n").as_bytes())?;
                Ok(secret)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(DataFolderError::SecretAbsent { path: self.path.clone(), name: name.to_owned() })
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Replaces the file `name`, readable by its owner only. After a crash it has the old content or the new, never a
    /// part; when this returns the new content is on disk.
    ///
    /// # Errors
    /// `Io` when it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), DataFolderError> {
        let target = self.path.join(name);
        let draft = self.path.join(format!("{name}.draft"));
        let write_draft = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&draft)?;
            file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
            file.write_all(content)?;
            file.sync_all()
        };
        write_draft().map_err(failed("write", &draft))?;
        fs::rename(&draft, &target).map_err(failed("write", &target))?;
        sync_folder(&self.path)
    }
}

/// Adds to an error of the operating system what was being done and what helps.
pub(crate) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> DataFolderError + 'a {
    move |source| {
        let advice = advice(&source);
        DataFolderError::Io { action, path: path.to_owned(), source, advice }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "Free some space on that disk, or move the data folder to a larger one; nothing acknowledged is lost"
        }
        ErrorKind::PermissionDenied => {
            "Start as the account that owns the folder, or choose another data folder"
        }
        ErrorKind::ReadOnlyFilesystem => "That file system is read-only: choose another data folder",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "A file stands in the way: choose another data folder"
        }
        _ => "Check the disk and the path of the data folder",
    }
}

/// True when the folder was made here.
fn create_folder(path: &Path) -> Result<bool, DataFolderError> {
    if path.is_dir() {
        return Ok(false);
    }
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path).map_err(failed("create", path))?;
    let made = fs::metadata(path).map_err(failed("open", path))?;
    if made.uid() == 0 {
        fs::set_permissions(path, Permissions::from_mode(TRAVERSABLE_FOLDER))
            .map_err(failed("protect", path))?;
    }
    Ok(true)
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        // The holder has the lock but has not written its number yet.
        _ => "another process".to_owned(),
    }
}

fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

fn read_secret(file: File, path: &Path) -> Result<String, DataFolderError> {
    let mut text = String::new();
    file.take(SECRET_FILE_LIMIT + 1).read_to_string(&mut text).map_err(failed("read", path))?;
    let unusable = |reason| DataFolderError::SecretUnusable { path: path.to_owned(), reason };
    if text.len() as u64 > SECRET_FILE_LIMIT {
        return Err(unusable("the file is too long"));
    }
    match text.trim() {
        "" => Err(unusable("the file is empty")),
        secret => Ok(secret.to_owned()),
    }
}

/// A file's new name is only durable once its folder is.
fn sync_folder(path: &Path) -> Result<(), DataFolderError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("write", path))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchFolder;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_opener_is_told_which_process_holds_the_folder() {
        let scratch = ScratchFolder::new();
        let path = scratch.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        let refused = DataFolder::open(&path).unwrap_err();
        assert!(matches!(refused, DataFolderError::Held { .. }), "{refused}");
        let message = refused.to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(message.contains("Stop that process"), "{message}");
        drop(first);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn the_folder_is_free_once_it_is_dropped_also_while_a_child_has_a_copy_of_its_file() {
        let scratch = ScratchFolder::new();
        let folder = DataFolder::open(scratch.path()).unwrap();
        let copy = folder.lock.as_ref().unwrap().try_clone().unwrap();
        drop(folder);
        DataFolder::open(scratch.path()).unwrap();
        drop(copy);
    }

    #[test]
    fn who_attaches_reads_beside_the_owner_but_makes_nothing() {
        let scratch = ScratchFolder::new();
        let path = scratch.path().join("data");
        assert!(matches!(DataFolder::attach(&path).unwrap_err(), DataFolderError::Absent { .. }));
        let owner = DataFolder::open(&path).unwrap();
        let reader = DataFolder::attach(&path).unwrap();
        assert!(matches!(
            reader.secret("operator.token").unwrap_err(),
            DataFolderError::SecretAbsent { name, .. } if name == "operator.token"
        ));
        let token = owner.secret("operator.token").unwrap();
        assert_eq!(reader.secret("operator.token").unwrap(), token);
        assert!(!reader.is_owned());
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_can_read_it() {
        let scratch = ScratchFolder::new();
        let path = scratch.path().join("data");
        let folder = DataFolder::open(&path).unwrap();
        let token = folder.secret("operator.token").unwrap();
        assert_eq!(token.len(), 2 * SECRET_BYTES);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(token, folder.secret("service.token").unwrap());
        assert_eq!(mode(&path.join("operator.token")), PRIVATE_FILE);
        assert_eq!(mode(&path) & 0o066, 0, "nobody else may list or write the folder");
        drop(folder);
        assert_eq!(DataFolder::open(&path).unwrap().secret("operator.token").unwrap(), token);
    }

    #[test]
    fn a_secret_that_an_operator_left_readable_for_all_is_protected() {
        let scratch = ScratchFolder::new();
        let folder = DataFolder::open(scratch.path()).unwrap();
        let path = scratch.path().join("operator.token");
        fs::write(&path, "chosen-by-hand\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(folder.secret("operator.token").unwrap(), "chosen-by-hand");
        assert_eq!(mode(&path), PRIVATE_FILE);
    }

    #[test]
    fn an_empty_or_overlong_secret_is_refused_and_not_replaced() {
        let scratch = ScratchFolder::new();
        let folder = DataFolder::open(scratch.path()).unwrap();
        for content in [String::new(), " \n".to_owned(), "x".repeat(SECRET_FILE_LIMIT as usize + 1)] {
            fs::write(scratch.path().join("order-token.key"), &content).unwrap();
            let refused = folder.secret("order-token.key").unwrap_err();
            assert!(matches!(refused, DataFolderError::SecretUnusable { .. }), "{refused}");
            assert_eq!(fs::read_to_string(scratch.path().join("order-token.key")).unwrap(), content);
        }
    }

    #[test]
    fn a_file_in_the_way_is_reported_with_what_to_do() {
        let scratch = ScratchFolder::new();
        let path = scratch.path().join("data");
        fs::write(&path, "not a folder").unwrap();
        let message = DataFolder::open(&path).unwrap_err().to_string();
        assert!(message.contains("choose another data folder"), "{message}");
    }

    #[test]
    fn a_full_disk_is_reported_with_what_to_do() {
        let full = io::Error::from(ErrorKind::StorageFull);
        let message = failed("write", Path::new("/data/operator.token"))(full).to_string();
        assert!(message.contains("Free some space"), "{message}");
    }
}
