//! The programs that tests call: curl and grpcurl. Found on the machine or in our cache folder, else installed once.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;

const GRPCURL: &str = "github.com/fullstorydev/grpcurl/cmd/grpcurl";
/// The second builds with the Go of older distributions, which cannot fetch a newer toolchain.
const GRPCURL_VERSIONS: [&str; 2] = ["v1.9.3", "v1.8.9"];

/// How often each version is tried: the module proxy may be gone for a moment.
const INSTALL_ATTEMPTS: usize = 3;

/// Where each tool is.
pub struct Tools {
    pub curl: PathBuf,
    pub grpcurl: PathBuf,
}

impl Tools {
    /// Finds or installs all of them, and says which versions they are.
    pub fn provide() -> Result<Self> {
        let curl = curl()?;
        println!("curl        {} ({})", first_line(&curl, "--version"), curl.display());
        let grpcurl = grpcurl()?;
        println!("grpcurl     {} ({})", first_line(&grpcurl, "-version"), grpcurl.display());
        Ok(Self { curl, grpcurl })
    }

    /// The PATH with the tools' folders first, so that commands can be run as they are printed in the README.
    pub fn path(&self) -> Result<OsString> {
        let folders =
            [&self.grpcurl, &self.curl].into_iter().filter_map(|tool| tool.parent().map(Path::to_owned));
        let inherited = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(folders.chain(env::split_paths(&inherited)))?)
    }
}

fn curl() -> Result<PathBuf> {
    if let Some(found) = find_on_path("curl") {
        return Ok(found);
    }
    apt::install(&["curl", "ca-certificates"], "elsewhere install curl with the system's package manager")?;
    find_on_path("curl").context("curl was installed but is not on the PATH")
}

fn grpcurl() -> Result<PathBuf> {
    go_tool("grpcurl", GRPCURL, &GRPCURL_VERSIONS)
}

/// The program `name`, found or built with Go from `package` at the first of `versions` that can be had.
pub fn go_tool(name: &str, package: &str, versions: &[&str]) -> Result<PathBuf> {
    let cached = cache_folder()?.join(name);
    if let Some(found) = find_on_path(name).or_else(|| cached.is_file().then(|| cached.clone())) {
        return Ok(found);
    }
    let go = go()?;
    println!("  installing {name} into {} (once, takes minutes)", cached.display());
    let mut refusals = String::new();
    for version in std::iter::repeat_n(versions, INSTALL_ATTEMPTS).flatten() {
        let output = Command::new(&go)
            .args(["install", &format!("{package}@{version}")])
            .env("GOBIN", cache_folder()?)
            .env_remove("GOOS")
            .env_remove("GOARCH")
            .output()
            .context("cannot run go")?;
        if output.status.success() && cached.is_file() {
            return Ok(cached);
        }
        refusals.push_str(&format!("{version}: {}\n", String::from_utf8_lossy(&output.stderr)));
    }
    bail!("`go install {package}` failed. Put {name} on the PATH by other means and repeat.\n{refusals}")
}

/// Go itself.
pub fn go() -> Result<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if let Some(found) = find_on_path("go").or_else(|| usual.is_file().then_some(usual)) {
        return Ok(found);
    }
    apt::install(
        &["golang-go", "ca-certificates"],
        "elsewhere install Go or grpcurl (brew install grpcurl)",
    )?;
    find_on_path("go").context("golang was installed but go is not on the PATH")
}

/// What we installed for ourselves, kept between runs.
pub fn cache_folder() -> Result<PathBuf> {
    let home = env::var_os("HOME").context("HOME is not set, so there is no place to keep tools")?;
    let folder = Path::new(&home).join(".cache/storeline/bin");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The program `name` as the shell would find it.
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The first line that `program option` prints, on either stream.
pub fn first_line(program: &Path, option: &str) -> String {
    let Ok(output) = Command::new(program).arg(option).output() else { return "version unknown".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}
