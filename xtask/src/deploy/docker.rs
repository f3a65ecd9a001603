//! `cargo xtask test --docker`: builds the image, brings the composition up, plays the demo on it and checks the books.
//! Its containers and data have a project name of their own and are removed afterwards, however it ends.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Beside a composition that somebody uses.
const PROJECT: &str = "storeline-test";
/// From the start of the gateway's container to its first healthy answer.
const HEALTHY_WITHIN: Duration = Duration::from_secs(300);

/// False when the demo or the audit failed.
pub fn run(root: &Path) -> Result<bool> {
    let engine = Command::new("docker").arg("info").output();
    if !engine.is_ok_and(|output| output.status.success()) {
        bail!("there is no Docker engine: start one (`docker info` must answer), or leave --docker out");
    }
    if !compose(root, &["version"])? {
        bail!("Docker's compose plugin is missing. Run `sudo apt-get install docker-compose-v2`");
    }
    let secrets = Command::new("sh").arg("deploy/secrets.sh").current_dir(root).status()?;
    if !secrets.success() {
        bail!("deploy/secrets.sh failed");
    }
    let passed = play(root);
    if !matches!(passed, Ok(true)) {
        compose(root, &["ps", "--all"])?;
        compose(root, &["logs", "--tail", "50"])?;
    }
    // The data of a run that failed before is no good either.
    let removed = compose(root, &["down", "--volumes", "--timeout", "60"])?;
    Ok(passed? && removed)
}

fn play(root: &Path) -> Result<bool> {
    let up = compose(root, &["build"])?
        && compose(root, &["down", "--volumes"])?
        && compose(root, &["up", "--detach"])?;
    if !up {
        return Ok(false);
    }
    let begin = Instant::now();
    while !compose(root, &["exec", "-T", "gateway", "api-gateway", "healthcheck"])? {
        if begin.elapsed() > HEALTHY_WITHIN {
            bail!("the gateway is not healthy after {} s", HEALTHY_WITHIN.as_secs());
        }
        thread::sleep(Duration::from_secs(2));
    }
    Ok(compose(root, &["run", "--rm", "-T", "shop", "demo"])?
        && compose(root, &["run", "--rm", "-T", "shop", "audit"])?)
}

fn compose(root: &Path, arguments: &[&str]) -> Result<bool> {
    println!("  docker compose {}", arguments.join(" "));
    let status = Command::new("docker")
        .args(["compose", "--project-name", PROJECT])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot run docker")?;
    Ok(status.success())
}
