//! What deploys Storeline, checked with the programs that read it, and against what it starts: so that a renamed variable,
//! port or metric cannot leave it behind unseen. No container is started here but by [`docker`], where an engine is.

mod compose;
mod dashboards;
pub mod docker;
mod dockerfile;
mod metrics;
mod programs;
mod prometheus;
mod rehearsal;
mod tools;

use std::path::Path;

use anyhow::{Context, Result};

use compose::Composition;
pub use metrics::Exported;
pub use prometheus::read_yaml;
use tools::DeployTools;
pub use tools::pip_install;

use crate::programs::Programs;
use crate::servers::Servers;
use crate::target_folder;

/// Everything but the compositions that needs no tool of its own is in here, relative to the workspace.
const FOLDER: &str = "deploy";
/// Each way of `docker compose up` that the README names.
const COMPOSITIONS: [&[&str]; 2] =
    [&["docker-compose.yml"], &["docker-compose.yml", "docker-compose.laptop.yml"]];

/// Problems in words, each with the place.
type Problems = Vec<String>;

/// Makes every check and prints what is wrong; false when something is.
///
/// The step `build` must have made the programs.
pub fn run(root: &Path, servers: &Servers) -> Result<bool> {
    let tools = DeployTools::provide()?;
    let mut problems = Problems::new();
    problems.extend(dockerfile::lint(root, &tools)?);
    let image = dockerfile::Image::read(root)?;
    problems.extend(image.check(root)?);
    let built = target_folder()?.join("debug");
    let programs = Programs::ask(&built, image.programs.iter().map(String::as_str))?;
    let mut compositions = Vec::new();
    for files in COMPOSITIONS {
        let composition = Composition::read(root, &tools, files)?;
        let found = [composition.check(root, &image), programs::check(&programs, &composition)?].concat();
        println!("{}: {} services, {} problems", files.join(" + "), composition.services.len(), found.len());
        problems.extend(found);
        compositions.push(composition);
    }
    problems.extend(compose::check_secrets(root, &compositions)?);
    let exported = Exported::read(root)?;
    problems.extend(exported.check_sources(root)?);
    problems.extend(prometheus::check(root, &tools, &exported)?);
    problems.extend(dashboards::check(root, &tools, &exported)?);
    // With one broker, as there is for tests. What is wrong already would only be said once more, and worse.
    if problems.is_empty()
        && let Some(composition) = compositions.last()
    {
        let played = rehearsal::run(root, composition, &exported, &built, servers);
        problems.extend(played.unwrap_or_else(|error| vec![format!("rehearsal: {error:#}")]));
    }
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
