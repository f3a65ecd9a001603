//! The chart, checked as whoever installs it would see it: linted, rendered with many values, held against the schemas of
//! Kubernetes and of the custom resources, and against the rules that every manifest keeps; and played on this machine, with
//! the commands and variables of the rendered pods. Nothing is installed anywhere.

mod arrows;
mod environment;
mod guide;
mod manifests;
mod matrix;
mod monitoring;
mod rehearsal;
mod rules;
mod schemas;
mod strimzi;
mod tools;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use local_servers::Folder;

use manifests::Manifests;
use matrix::Case;
use tools::HelmTools;

use crate::servers::Servers;

/// Relative to the workspace.
const CHART: &str = "charts/storeline";
/// How the chart is installed in every rendering.
const RELEASE: &str = "shop";
const NAMESPACE: &str = "storeline";

/// Problems in words, each with the place.
type Problems = Vec<String>;

/// What it takes to start what is rendered.
pub struct Given<'a> {
    pub servers: &'a Servers,
    pub grpcurl: &'a Path,
}

/// Makes every check and prints what is wrong; false when something is. Without servers nothing is started.
pub fn run(root: &Path, given: Option<&Given<'_>>) -> Result<bool> {
    let tools = HelmTools::provide()?;
    let schemas = schemas::provide()?;
    let facts = environment::Facts::read(root)?;
    let folder = Folder::new("helm")?;
    let rendered = folder.path().join("rendered");
    fs::create_dir_all(&rendered)?;
    let mut problems = Problems::new();
    let cases = matrix::cases();
    for case in &cases {
        let values = folder.path().join("values.yaml");
        fs::write(&values, serde_json::to_vec_pretty(&case.values)?)?;
        if case.linted {
            problems.extend(lint(root, &tools, case, &values)?);
        }
        let text = match template(root, &tools, case, &values)? {
            Ok(text) => text,
            Err(refusal) => {
                problems.push(format!("{case}: helm template:\n{refusal}"));
                continue;
            }
        };
        fs::write(rendered.join(format!("{}.yaml", case.name)), &text)?;
        let manifests = Manifests::parse(&text).with_context(|| format!("{case}: helm printed no YAML"))?;
        let found = [
            rules::check(&manifests, &facts),
            environment::check(&manifests, &facts),
            arrows::check(&manifests, &case.values),
            monitoring::check(&manifests, root)?,
        ]
        .concat();
        problems.extend(found.into_iter().map(|problem| format!("{case}: {problem}")));
    }
    println!("rendered with {} sets of values", cases.len());
    let refused = matrix::refused();
    for (case, word) in &refused {
        let values = folder.path().join("values.yaml");
        fs::write(&values, serde_json::to_vec_pretty(&case.values)?)?;
        match template(root, &tools, case, &values)? {
            Err(refusal) if refusal.contains(word) => {}
            Err(refusal) => problems.push(format!("{case}: it is refused without `{word}`:\n{refusal}")),
            Ok(_) => problems.push(format!("{case}: it must be refused")),
        }
    }
    println!("refused {} sets of values", refused.len());
    problems.extend(monitoring::check_runbooks(root)?);
    problems.extend(guide::check(root, &tools, folder.path(), &rendered)?);
    problems.extend(schemas::validate(&tools, &schemas, &rendered)?);
    problems.dedup();
    match given {
        None => println!("rehearsal: only in `cargo xtask test`, which has servers"),
        // What is wrong already would only be said once more, and worse.
        Some(_) if !problems.is_empty() => println!("rehearsal: not with these problems"),
        Some(given) => {
            let played = rehearsal::run(root, &tools, given);
            problems.extend(played.err().map(|error| format!("rehearsal: {error:#}")));
        }
    }
    for problem in &problems {
        println!("error: {problem}");
    }
    println!("helm: {} problems", problems.len());
    Ok(problems.is_empty())
}

fn lint(root: &Path, tools: &HelmTools, case: &Case, values: &Path) -> Result<Problems> {
    let mut command = tools.helm();
    command.args(["lint", "--strict", CHART]).current_dir(root);
    let output = with_values(&mut command, case, values).output().context("cannot run helm")?;
    let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(match output.status.success() {
        true => Problems::new(),
        false => vec![format!("{case}: helm lint --strict:\n{words}")],
    })
}

/// What Helm would install, or why it does not.
fn template(root: &Path, tools: &HelmTools, case: &Case, values: &Path) -> Result<Result<String, String>> {
    let mut command = tools.helm();
    command.args(["template", RELEASE, CHART, "--namespace", NAMESPACE]).current_dir(root);
    let output = with_values(&mut command, case, values).output().context("cannot run helm")?;
    Ok(match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    })
}

fn with_values<'a>(
    command: &'a mut std::process::Command,
    case: &Case,
    values: &Path,
) -> &'a mut std::process::Command {
    if let Some(size) = case.size {
        command.arg("--values").arg(format!("{CHART}/sizes/{size}.yaml"));
    }
    command.arg("--values").arg(values)
}
