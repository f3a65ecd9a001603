//! Installs Debian packages where that is possible without asking: as root on a system with apt. Elsewhere it names the
//! line to run and changes nothing.

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
    if UPDATED.get().is_none() {
        println!("  apt-get update");
        apt(&["update", "-q"])?;
        UPDATED.get_or_init(|| ());
    }
    println!("  apt-get install {names}");
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(PATIENCE)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("apt-get {} failed:\n{words}", arguments.join(" "));
    }
    Ok(())
}

/// Whether this process may do anything, and PostgreSQL therefore refuses to run in it.
pub fn is_root() -> Result<bool> {
    let answer = Command::new("id").arg("-u").output().context("cannot run `id -u`")?;
    Ok(answer.stdout.trim_ascii() == b"0")
}
