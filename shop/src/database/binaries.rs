//! Finds PostgreSQL's server programs on this machine. A program counts only when it runs and its siblings are there: a
//! `postgres` on the PATH may be a wrapper, a broken link or a client-only package.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::database::account::Account;
use crate::database::{DatabaseError, OLDEST_MAJOR};

/// Folders with one subfolder per installed version, and where the programs lie in it.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Where server programs are looked for.
#[derive(Debug, Clone)]
pub struct BinarySearch {
    /// From `POSTGRES_BIN`: used or refused, never passed over.
    pub(super) required: Option<PathBuf>,
    pub(super) folders: Vec<PathBuf>,
    /// Where downloaded programs are kept. None: nothing is downloaded.
    pub(super) downloads: Option<PathBuf>,
}

/// A folder of server programs that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
    /// As the program says it: `15.18`.
    pub(super) version: String,
}

impl BinarySearch {
    /// `POSTGRES_BIN`, the PATH, the usual folders of packages and Homebrew; then earlier downloads and a new one.
    #[must_use]
    pub fn on_this_machine() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> =
            env::split_paths(&path).filter_map(|folder| real_folder_of(&folder.join("postgres"))).collect();
        folders.extend(VERSIONED.iter().flat_map(|(parent, prefix, inner)| versioned(parent, prefix, inner)));
        Self {
            required: env::var_os("POSTGRES_BIN").filter(|value| !value.is_empty()).map(PathBuf::from),
            folders,
            downloads: super::download::default_folder(),
        }
    }

    /// Only these folders, and no download.
    #[must_use]
    pub fn only(folders: Vec<PathBuf>) -> Self {
        Self { required: None, folders, downloads: None }
    }

    /// Downloads into `folder` if nothing is found.
    #[must_use]
    pub fn or_download_into(mut self, folder: PathBuf) -> Self {
        self.downloads = Some(folder);
        self
    }

    /// The first usable programs on the list: of exactly `major`, or of any version that will do. Err says what was
    /// found instead.
    pub(super) fn find(&self, major: Option<u32>, account: Option<&Account>) -> Result<Binaries, NotFound> {
        if let Some(path) = &self.required {
            return required(path, major, account).map_err(NotFound::Refused);
        }
        let mut passed_over = Vec::new();
        for folder in &self.folders {
            match examine(folder, account) {
                Ok(found) if fits(&found, major) => return Ok(found),
                Ok(found) => passed_over.push(format!("{} in {}", found.version, found.folder.display())),
                Err(reason) => passed_over.push(reason),
            }
        }
        passed_over.dedup();
        match passed_over.is_empty() {
            true => Err(NotFound::Nothing("none found".to_owned())),
            false => Err(NotFound::Nothing(format!("found {}", passed_over.join("; ")))),
        }
    }
}

#[derive(Debug)]
pub(super) enum NotFound {
    /// The user named programs that cannot be used; looking further would be against their word.
    Refused(DatabaseError),
    /// Why nothing on the list will do.
    Nothing(String),
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The programs in `folder`, or one sentence why they cannot be used.
pub(super) fn examine(folder: &Path, account: Option<&Account>) -> Result<Binaries, String> {
    for name in ["postgres", "initdb"] {
        if !folder.join(name).is_file() {
            return Err(format!("no {name} in {}", folder.display()));
        }
    }
    if let Some(account) = account
        && let Some(closed) = account.blocked_at(folder)
    {
        return Err(format!("{} is closed to the account {}", closed.display(), account.name));
    }
    let program = folder.join("postgres");
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|error| format!("{} does not run: {error}", program.display()))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let (major, version) = parse_version(&answer)
        .ok_or_else(|| format!("{} --version does not say a version", program.display()))?;
    Ok(Binaries { folder: folder.to_owned(), major, version })
}

fn required(path: &Path, major: Option<u32>, account: Option<&Account>) -> Result<Binaries, DatabaseError> {
    let folder = match path.is_file() {
        true => real_folder_of(path).unwrap_or_else(|| path.to_owned()),
        false => path.to_owned(),
    };
    let unusable = |reason| DatabaseError::BinariesUnusable { path: path.to_owned(), reason };
    let found = examine(&folder, account).map_err(unusable)?;
    match fits(&found, major) {
        true => Ok(found),
        false => Err(unusable(match major {
            Some(major) => format!("it is PostgreSQL {}, and the data needs {major}", found.version),
            None => format!("it is PostgreSQL {}, and {OLDEST_MAJOR} or newer is needed", found.version),
        })),
    }
}

fn fits(found: &Binaries, major: Option<u32>) -> bool {
    match major {
        Some(major) => found.major == major,
        None => found.major >= OLDEST_MAJOR,
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `postgres (PostgreSQL) 18beta1`.
fn parse_version(answer: &str) -> Option<(u32, String)> {
    let version = answer.strip_prefix("postgres (PostgreSQL) ")?.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

/// Follows links: the siblings lie beside the real program, not beside the link.
fn real_folder_of(program: &Path) -> Option<PathBuf> {
    fs::canonicalize(program).ok()?.parent().map(Path::to_owned)
}

/// `parent/<prefix>*/inner`, the newest version first.
fn versioned(parent: &str, prefix: &str, inner: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| (number_in(&entry.file_name()), entry.path().join(inner)))
        .filter(|(_, folder)| folder.join("postgres").is_file())
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn number_in(name: &OsStr) -> u32 {
    let digits: String = name.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchFolder;

    /// Written by a process of its own: a child that another test starts at this moment has a copy of every file that
    /// this one has open, and a program that somebody has open for writing cannot be run.
    fn fake_program(path: &Path, version: &str) {
        let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version} (Test)'\n");
        let write = r#"printf '%s' "$2" > "$1" && chmod 755 "$1""#;
        let written = Command::new("sh").args(["-c", write, "write"]).arg(path).arg(script).status().unwrap();
        assert!(written.success());
    }

    fn fake_programs(parent: &Path, version: &str, names: &[&str]) -> PathBuf {
        let folder = parent.join(version);
        fs::create_dir_all(&folder).unwrap();
        for name in names {
            fake_program(&folder.join(name), version);
        }
        folder
    }

    const WHOLE: [&str; 2] = ["postgres", "initdb"];

    #[test]
    fn version_answers_are_read_also_of_betas_and_nonsense_is_refused() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 1)\n"), Some((15, "15.18".into())));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some((19, "19beta1".into())));
        assert_eq!(parse_version("pyenv: postgres: command not found"), None);
    }

    #[test]
    fn a_new_cluster_takes_the_first_programs_that_are_new_enough_and_whole() {
        let scratch = ScratchFolder::new();
        let wrapper = fake_programs(scratch.path(), "17.1", &["postgres"]);
        let old = fake_programs(scratch.path(), "13.9", &WHOLE);
        let good = fake_programs(scratch.path(), "16.2", &WHOLE);
        let found = BinarySearch::only(vec![wrapper, old, good.clone()]).find(None, None).unwrap();
        assert_eq!(found, Binaries { folder: good, major: 16, version: "16.2".into() });
    }

    #[test]
    fn an_existing_cluster_takes_programs_of_its_own_version_only() {
        let scratch = ScratchFolder::new();
        let folders: Vec<PathBuf> =
            ["17.1", "15.3"].iter().map(|version| fake_programs(scratch.path(), version, &WHOLE)).collect();
        let search = BinarySearch::only(folders);
        assert_eq!(search.find(Some(15), None).unwrap().version, "15.3");
        let NotFound::Nothing(reason) = search.find(Some(16), None).unwrap_err() else {
            panic!("not refused")
        };
        assert!(reason.contains("17.1") && reason.contains("15.3"), "{reason}");
    }

    #[test]
    fn programs_that_the_user_named_are_used_or_refused_but_never_passed_over() {
        let scratch = ScratchFolder::new();
        let good = fake_programs(scratch.path(), "16.2", &WHOLE);
        let old = fake_programs(scratch.path(), "13.9", &WHOLE);
        let mut search = BinarySearch::only(vec![good.clone()]);
        search.required = Some(good.join("postgres"));
        assert_eq!(search.find(None, None).unwrap().version, "16.2");
        search.required = Some(old);
        let NotFound::Refused(error) = search.find(None, None).unwrap_err() else { panic!("passed over") };
        assert!(error.to_string().contains("13.9"), "{error}");
    }
}
