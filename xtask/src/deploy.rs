//! What deploys Storeline, checked with the programs that read it, and against what it starts: so that a renamed variable,
//! port or metric cannot leave it behind unseen. Nothing is started here but [`docker`], where a Docker engine is.

mod compose;
mod dashboards;
pub mod docker;
mod dockerfile;
mod metrics;
mod prometheus;
mod tools;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use compose::Composition;
pub use metrics::Exported;
pub use prometheus::read_yaml;
use tools::DeployTools;
pub use tools::pip_install;

/// Everything but the compositions that needs no tool of its own is in here, relative to the workspace.
const FOLDER: &str = "deploy";
/// Each way of `docker compose up` that the README names.
const COMPOSITIONS: [&[&str]; 2] =
    [&["docker-compose.yml"], &["docker-compose.yml", "docker-compose.laptop.yml"]];

/// Problems in words, each with the place.
type Problems = Vec<String>;

/// Makes every check and prints what is wrong; false when something is.
pub fn run(root: &Path) -> Result<bool> {
    let tools = DeployTools::provide()?;
    let mut problems = Problems::new();
    problems.extend(dockerfile::lint(root, &tools)?);
    let image = dockerfile::Image::read(root)?;
    // Problems from when every service is a program of its own.
    for note in image.check(root)? {
        println!("note: {note}");
    }
    let drain_seconds = drain_seconds(root)?;
    let mut compositions = Vec::new();
    for files in COMPOSITIONS {
        let composition = Composition::read(root, &tools, files)?;
        let mut found = composition.check(root, &image);
        for (name, service) in composition.services.iter().filter(|(_, service)| service.is_ours()) {
            if service.stop_grace_seconds() <= drain_seconds {
                found.push(format!(
                    "{name}: it is ended by force before its drain limit of {drain_seconds} s"
                ));
            }
        }
        println!("{}: {} services, {} problems", files.join(" + "), composition.services.len(), found.len());
        problems.extend(found);
        compositions.push(composition);
    }
    problems.extend(compose::check_secrets(root, &compositions)?);
    let exported = Exported::read(root)?;
    problems.extend(exported.check_sources(root)?);
    problems.extend(prometheus::check(root, &tools, &exported)?);
    problems.extend(dashboards::check(root, &tools, &exported)?);
    for problem in &problems {
        println!("error: {problem}");
    }
    println!("deploy: {} problems", problems.len());
    Ok(problems.is_empty())
}

/// `cargo xtask dashboards`: writes the dashboards from their tables.
pub fn write_dashboards(root: &Path) -> Result<bool> {
    dashboards::write(root)?;
    Ok(true)
}

/// How long a program takes at most to end what it is doing, as the code has it.
fn drain_seconds(root: &Path) -> Result<u64> {
    const LIMIT: &str = "pub const DRAIN_LIMIT: Duration = Duration::from_secs(";
    let path = root.join("crates/service-runtime/src/shutdown.rs");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let seconds = text.split_once(LIMIT).and_then(|(_, rest)| rest.split(')').next());
    seconds
        .and_then(|seconds| seconds.parse().ok())
        .with_context(|| format!("{} has no line `{LIMIT}`", path.display()))
}

/// Runs a checker; what it prints is the problem when it fails.
fn verdict(what: &str, command: &mut std::process::Command) -> Result<Problems> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if output.status.success() {
        println!("{what}: ok");
        return Ok(Problems::new());
    }
    let words = [output.stdout, output.stderr].concat();
    Ok(vec![format!("{what}:\n{}", String::from_utf8_lossy(&words).trim_end())])
}
