//! Jars from Maven Central, by the names and versions of a pom. It is no build: nothing is compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::tools::find_on_path;

/// Maven Central may be gone for a moment.
const DOWNLOADS: usize = 3;

/// Puts what `pom` depends on when it runs into `folder`, together with the pom.
pub fn fetch(pom: &str, folder: &Path) -> Result<()> {
    let maven = maven()?;
    let file = folder.join("pom.xml");
    fs::write(&file, pom).with_context(|| format!("cannot write {}", file.display()))?;
    let mut refusals = String::new();
    for _ in 0..DOWNLOADS {
        let output = Command::new(&maven)
            .args(["-B", "-ntp", "-q", "-f"])
            .arg(&file)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .output()
            .context("cannot run mvn")?;
        if output.status.success() {
            return Ok(());
        }
        refusals.push_str(&String::from_utf8_lossy(&output.stdout));
        refusals.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    bail!("Maven could not fetch what {} names:\n{refusals}", file.display())
}

fn maven() -> Result<PathBuf> {
    if let Some(found) = find_on_path("mvn") {
        return Ok(found);
    }
    apt::install(&["maven"], "on macOS `brew install maven`")?;
    find_on_path("mvn").context("maven was installed but mvn is not on the PATH")
}
