//! Installs Debian packages where that is possible without asking: as root on a system with apt. Elsewhere it names the
//! line to run and changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::tools::find_on_path;

/// A fresh machine may be installing its updates, and a mirror may be gone for a moment.
const PATIENCE: [&str; 4] = ["-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=5"];
/// Whether the package lists are fresh; once per run is enough.
static UPDATED: OnceLock<()> = OnceLock::new();

/// Makes `packages` be installed. `elsewhere` is what a user of another system does instead.
pub fn install(packages: &[&str], elsewhere: &str) -> Result<()> {
    let names = packages.join(" ");
    if find_on_path("apt-get").is_none() || !is_root()? {
        bail!("{names} is missing. Run `sudo apt-get install {names}` on Debian or Ubuntu; {elsewhere}");
    }
    update()?;
    println!("  apt-get install {names}");
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat())
}

/// Puts the files of `package` into `folder` without installing it: nothing starts, and nothing else changes. `elsewhere`
/// is what a user of another system does instead.
pub fn unpack(package: &str, folder: &Path, elsewhere: &str) -> Result<()> {
    if find_on_path("apt-get").is_none() || find_on_path("dpkg-deb").is_none() || !is_root()? {
        bail!("{package} is missing. Run `sudo apt-get install {package}` on Debian or Ubuntu; {elsewhere}");
    }
    update()?;
    println!("  apt-get download {package}, unpacked into {}", folder.display());
    let download = folder.with_extension("download");
    fs::remove_dir_all(&download).ok();
    fs::create_dir_all(&download).with_context(|| format!("cannot create {}", download.display()))?;
    run(Command::new("apt-get").args(PATIENCE).args(["download", package]).current_dir(&download))?;
    for archive in fs::read_dir(&download)? {
        run(Command::new("dpkg-deb").arg("-x").arg(archive?.path()).arg(folder))?;
    }
    fs::remove_dir_all(&download).ok();
    Ok(())
}

fn update() -> Result<()> {
    if UPDATED.get().is_none() {
        println!("  apt-get update");
        apt(&["update", "-q"])?;
        UPDATED.get_or_init(|| ());
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get").args(PATIENCE).args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Whether this process may do anything, and PostgreSQL therefore refuses to run in it.
pub fn is_root() -> Result<bool> {
    let answer = Command::new("id").arg("-u").output().context("cannot run `id -u`")?;
    Ok(answer.stdout.trim_ascii() == b"0")
}
