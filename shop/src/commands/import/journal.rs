//! How far an import of a file has come, so that one that was killed goes on where it stopped. It lies in the data
//! folder of the shop that it is about, under a name made of the file's content and of what the import was asked for:
//! another file, another shop or other arguments have another one.
//!
//! It says only that everything up to a line was answered for, in the run with this id. What was answered and not
//! written down yet is sent again under the same request ids, and gets the answer of the first time.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use eventsourcing::Position;
use product_service::import::Currency;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::report::Counts;
use crate::data_folder::{DataFolder, hex};

/// It is written at most this often; so much work is asked for again after a kill.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);
/// As long as the shop remembers request ids: an older run cannot be gone on with.
const MAX_AGE: TimeDelta = TimeDelta::days(7);
/// Bytes of a file that are hashed at once.
const HASH_CHUNK: usize = 256 * 1024;
/// Bytes of the hash that a journal is named by.
const NAME_BYTES: usize = 16;
/// A journal is not longer; anything longer is none.
const MAX_BYTES: u64 = 4096;
const PREFIX: &str = "import-";
const SUFFIX: &str = ".json";
const DRAFT_SUFFIX: &str = ".json.draft";

/// What an import is bound to.
pub struct Key(String);

/// The journal of one import.
pub struct Journal {
    folder: Arc<DataFolder>,
    name: String,
    progress: Progress,
    written: Instant,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What the request ids begin with.
    pub run: Uuid,
    pub begun: DateTime<Utc>,
    /// The products whose rows end here or before are done.
    pub line: u64,
    pub counts: Counts,
    /// How far the catalogue's log had come with them, as a token; empty before the first.
    pub reached: String,
}

impl Key {
    /// Reads the whole file and goes back to its beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(file: &mut File, currency: Currency, with_stock: bool) -> std::io::Result<Self> {
        let mut hasher = Sha256::new();
        hasher.update(format!("{currency} {with_stock}\n"));
        let mut chunk = vec![0; HASH_CHUNK];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => hasher.update(&chunk[..read]),
            }
        }
        file.rewind()?;
        Ok(Self(format!("{PREFIX}{}{SUFFIX}", hex(&hasher.finalize()[..NAME_BYTES]))))
    }
}

impl Progress {
    fn new() -> Self {
        Self {
            run: Uuid::now_v7(),
            begun: Utc::now(),
            line: 0,
            counts: Counts::default(),
            reached: String::new(),
        }
    }
}

impl Journal {
    /// What was written down of an import that did not come to its end. Journals that are too old are removed.
    pub fn find(folder: &DataFolder, key: &Key) -> Option<Progress> {
        remove_old(folder.path());
        let mut text = Vec::new();
        let file = File::open(folder.path().join(&key.0)).ok()?;
        file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
        let progress: Progress = serde_json::from_slice(&text).ok()?;
        (Utc::now() - progress.begun < MAX_AGE).then_some(progress)
    }

    /// Goes on from `progress`, or begins. It is on disk when this returns, so that the run keeps its id.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn begin(folder: DataFolder, key: Key, progress: Option<Progress>) -> anyhow::Result<Self> {
        let progress = progress.unwrap_or_else(Progress::new);
        let journal = Self { folder: Arc::new(folder), name: key.0, progress, written: Instant::now() };
        journal.write().await?;
        Ok(journal)
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// That everything up to the end of `line` is done; written down by and by.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note(
        &mut self,
        line: u64,
        counts: Counts,
        reached: Option<&Position>,
    ) -> anyhow::Result<()> {
        let progress = &mut self.progress;
        (progress.line, progress.counts) = (progress.line.max(line), counts);
        if self.written.elapsed() >= WRITE_INTERVAL {
            if let Some(reached) = reached {
                progress.reached = reached.to_string();
            }
            self.write().await?;
            self.written = Instant::now();
        }
        Ok(())
    }

    /// Writes down all that was noted, since the import ends before its time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn keep(mut self, reached: Option<&Position>) -> anyhow::Result<()> {
        if let Some(reached) = reached {
            self.progress.reached = reached.to_string();
        }
        self.write().await
    }

    /// The import is over.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(self) -> anyhow::Result<()> {
        let path = self.folder.path().join(&self.name);
        // A kill may have left one that was not in its place yet.
        drop(std::fs::remove_file(draft_of(&path)));
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    async fn write(&self) -> anyhow::Result<()> {
        let (folder, name) = (Arc::clone(&self.folder), self.name.clone());
        let content = serde_json::to_vec(&self.progress)?;
        tokio::task::spawn_blocking(move || folder.write(&name, &content)).await??;
        Ok(())
    }
}

/// Where [`DataFolder::write`] prepares a file.
fn draft_of(path: &Path) -> PathBuf {
    path.with_extension(DRAFT_SUFFIX.trim_start_matches('.'))
}

/// Removes what nobody can go on with. What cannot be looked at is left alone.
fn remove_old(folder: &Path) {
    let old = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        name.starts_with(PREFIX)
            && (name.ends_with(SUFFIX) || name.ends_with(DRAFT_SUFFIX))
            && age.and_then(|age| TimeDelta::from_std(age).ok()).is_some_and(|age| age > MAX_AGE)
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(old) {
        drop(std::fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::scratch::ScratchFolder;

    fn key(scratch: &ScratchFolder, content: &str, with_stock: bool) -> Key {
        let path = scratch.path().join(format!("{}.csv", Uuid::new_v4()));
        File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
        let mut file = File::open(path).unwrap();
        let key = Key::of(&mut file, "EUR".parse().unwrap(), with_stock).unwrap();
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, content, "the file is at its beginning again");
        key
    }

    fn folder(scratch: &ScratchFolder) -> DataFolder {
        DataFolder::attach(scratch.path()).unwrap()
    }

    #[tokio::test]
    async fn an_import_goes_on_where_it_was_interrupted_until_it_is_over() {
        let scratch = ScratchFolder::new();
        let find = || Journal::find(&folder(&scratch), &key(&scratch, "a", true));
        assert_eq!(find(), None);
        let mut journal = Journal::begin(folder(&scratch), key(&scratch, "a", true), None).await.unwrap();
        let begun = journal.progress().clone();
        assert_eq!((begun.line, find()), (0, Some(begun.clone())));
        let counts = Counts { created: 3, refused: 1, ..Counts::default() };
        journal.note(17, counts, None).await.unwrap();
        let reached = Position { log: "product".into(), incarnation: 1, number: 9 };
        journal.keep(Some(&reached)).await.unwrap();
        let kept = find().unwrap();
        assert_eq!((kept.run, kept.line, kept.counts), (begun.run, 17, counts));
        assert_eq!(kept.reached, reached.to_string());
        let journal =
            Journal::begin(folder(&scratch), key(&scratch, "a", true), Some(kept.clone())).await.unwrap();
        let draft = format!("{}.draft", key(&scratch, "a", true).0);
        std::fs::write(scratch.path().join(&draft), "half of it").unwrap();
        assert_eq!(journal.progress(), &kept);
        journal.remove().unwrap();
        assert_eq!(find(), None);
        assert!(!scratch.path().join(draft).exists(), "nor is anything left of it");
    }

    #[tokio::test]
    async fn another_content_or_other_arguments_have_another_journal() {
        let scratch = ScratchFolder::new();
        Journal::begin(folder(&scratch), key(&scratch, "a", true), None).await.unwrap();
        assert!(Journal::find(&folder(&scratch), &key(&scratch, "a", true)).is_some());
        for (content, with_stock) in [("a", false), ("b", true), ("", true)] {
            assert_eq!(Journal::find(&folder(&scratch), &key(&scratch, content, with_stock)), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_journal_or_too_old_is_not_gone_on_with() {
        let scratch = ScratchFolder::new();
        let key = || key(&scratch, "a", true);
        std::fs::write(scratch.path().join(&key().0), "{\"run\":").unwrap();
        assert_eq!(Journal::find(&folder(&scratch), &key()), None);
        let old = Progress { begun: Utc::now() - MAX_AGE, line: 5, ..Progress::new() };
        Journal::begin(folder(&scratch), key(), Some(old)).await.unwrap();
        assert_eq!(Journal::find(&folder(&scratch), &key()), None);
    }
}
