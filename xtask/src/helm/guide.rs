//! What docs/ tells people to run and to write, held against what is run: every command of a guide is run by a test, run or
//! rendered here, or marked as one that needs AWS or a cluster; and every manifest of other people's operators is held
//! against their schemas.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::manifests::text;
use super::tools::HelmTools;
use super::{CHART, Problems};

const GUIDE: &str = "docs/eks.md";
/// Everything that is checked.
const GUIDES: [&str; 3] = [GUIDE, "docs/backup.md", BESIDE];
/// In the heading of a chapter, or behind a command: it needs an account or a cluster, and nobody here runs it.
const ELSEWHERE: [&str; 2] = ["AWS", "Kubernetes"];
/// Blocks that a test runs as they stand, by their tags, and the test.
const RUN_BY: &str = "tests/tests/cluster/restore.rs";
const TAGS: [&str; 7] = [
    "backup-dump",
    "backup-base",
    "restore-dump",
    "restore-base",
    "restore-raise",
    "restore-feeds",
    "restore-audit",
];
/// The values that the guide has people write.
const VALUES: &str = "mine.yaml";
/// And those for what stands in the cluster in place of managed services, put together of all blocks about these.
const BESIDE: &str = "docs/beside.md";
const BESIDE_VALUES: &str = "beside.yaml";
const BESIDE_KEYS: [&str; 3] = ["postgresql:", "kafka:", "redis:"];
/// Kinds whose schemas cannot be had: eksctl's is in no registry that this reaches.
const UNCHECKED_KINDS: [&str; 1] = ["ClusterConfig"];

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// The heading that it stands under.
    chapter: String,
    language: String,
    tag: String,
    text: String,
}

/// The text of the guide's block in `language` that contains `needle`.
pub fn block(root: &Path, language: &str, needle: &str) -> Result<String> {
    let blocks = blocks(&read(root, GUIDE)?);
    let found = blocks.into_iter().find(|block| block.language == language && block.text.contains(needle));
    found.map(|block| block.text).with_context(|| format!("{GUIDE} has no {language} with `{needle}`"))
}

/// Makes every check. `folder` takes what is written; manifests for which there are schemas go to `rendered`.
pub fn check(root: &Path, tools: &HelmTools, folder: &Path, rendered: &Path) -> Result<Problems> {
    let mut problems = Problems::new();
    fs::write(folder.join(VALUES), block(root, "yaml", &format!("# {VALUES}"))?)?;
    fs::write(folder.join(BESIDE_VALUES), beside(root)?)?;
    let test = read(root, RUN_BY)?;
    let (mut rendered_here, mut elsewhere, mut by_tests) = (0, 0, 0);
    for guide in GUIDES {
        for (number, block) in blocks(&read(root, guide)?).into_iter().enumerate() {
            let Block { chapter, language, tag, text } = &block;
            match language.as_str() {
                "sh" if !tag.is_empty() => {
                    by_tests += 1;
                    // Some of the tags are made of two parts there.
                    let named = tag.split('-').all(|part| test.contains(part));
                    if !TAGS.contains(&tag.as_str()) || !named {
                        problems.push(format!("{guide}: {RUN_BY} runs no `{tag}`"));
                    }
                }
                "sh" => {
                    for command in commands(text) {
                        match helm_template(&command, folder) {
                            Some(arguments) => {
                                rendered_here += 1;
                                problems.extend(run(root, tools, guide, &command, &arguments)?);
                            }
                            None if is_elsewhere(chapter, &command) => elsewhere += 1,
                            None => problems.push(format!("{guide}: nobody runs `{command}`")),
                        }
                    }
                }
                "yaml" => problems.extend(manifests(guide, number, text, rendered)?),
                _ => {}
            }
        }
    }
    println!(
        "guides: {by_tests} blocks run by tests, {rendered_here} commands of Helm rendered, {elsewhere} that need a cluster"
    );
    Ok(problems)
}

/// The blocks of values for this chart, as one file.
fn beside(root: &Path) -> Result<String> {
    let blocks = blocks(&read(root, BESIDE)?).into_iter().filter(|block| block.language == "yaml");
    let ours = blocks.filter(|block| BESIDE_KEYS.iter().any(|key| block.text.starts_with(key)));
    Ok(ours.map(|block| block.text).collect())
}

fn read(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
}

/// The fenced blocks of a text, those within lists too.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut chapter = String::new();
    let mut open: Option<(Block, usize)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match &mut open {
            Some((block, _)) if trimmed == "```" => {
                found.push(block.clone());
                open = None;
            }
            Some((block, indent)) => {
                block.text.push_str(line.get(*indent..).unwrap_or(trimmed));
                block.text.push('\n');
            }
            None => {
                if let Some(fence) = trimmed.strip_prefix("```") {
                    let (language, tag) = fence.split_once(' ').unwrap_or((fence, ""));
                    let (language, tag) = (language.to_owned(), tag.to_owned());
                    let block = Block { chapter: chapter.clone(), language, tag, text: String::new() };
                    open = Some((block, line.len() - trimmed.len()));
                } else if let Some(heading) = line.strip_prefix("## ") {
                    heading.clone_into(&mut chapter);
                }
            }
        }
    }
    found
}

/// The commands of a script, each on one line.
fn commands(script: &str) -> Vec<String> {
    let whole = script.replace("\\\n", " ");
    let lines = whole.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Whether the chapter or the command says that it needs more than is here.
fn is_elsewhere(chapter: &str, command: &str) -> bool {
    ELSEWHERE
        .iter()
        .any(|place| chapter.ends_with(&format!("({place})")) || command.ends_with(&format!("# {place}")))
}

/// `helm lint` as it stands, and what renders what `helm install` and `helm upgrade` would bring.
///
/// Files of values that the guide has people write are in `folder`.
fn helm_template(command: &str, folder: &Path) -> Option<Vec<String>> {
    let words: Vec<&str> = command.split(" #").next().unwrap_or_default().split(' ').collect();
    let ["helm", verb, rest @ ..] = words.as_slice() else { return None };
    if !rest.contains(&CHART) {
        return None;
    }
    let mut arguments = match *verb {
        "lint" => vec!["lint".to_owned()],
        "install" | "upgrade" => vec!["template".to_owned()],
        _ => return None,
    };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match *word {
            // How, and not what.
            "--wait" | "--create-namespace" => {}
            "--timeout" => _ = rest.next(),
            VALUES | BESIDE_VALUES => arguments.push(folder.join(word).display().to_string()),
            word => arguments.push(word.to_owned()),
        }
    }
    Some(arguments)
}

fn run(root: &Path, tools: &HelmTools, guide: &str, command: &str, arguments: &[String]) -> Result<Problems> {
    let output = tools.helm().args(arguments).current_dir(root).output().context("cannot run helm")?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(match output.status.success() {
        true => Problems::new(),
        false => vec![format!("{guide}: `{command}`:\n{words}")],
    })
}

/// What a block has people write must be YAML, and manifests what their schemas say.
fn manifests(guide: &str, number: usize, text_of_block: &str, rendered: &Path) -> Result<Problems> {
    let mut problems = Problems::new();
    for (place, document) in text_of_block.split("\n---\n").enumerate() {
        match serde_yaml_ng::from_str::<Value>(document) {
            Err(error) => problems.push(format!("{guide}: no YAML: {error}")),
            // Values have no kind. A manifest without a schema is an error of kubeconform's.
            Ok(manifest)
                if manifest["kind"].is_string() && !UNCHECKED_KINDS.contains(&text(&manifest["kind"])) =>
            {
                let file = format!("{}-{number}-{place}.yaml", guide.replace('/', "-"));
                fs::write(rendered.join(file), document)?;
            }
            Ok(_) => {}
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_chapters_tags_and_without_their_indent() {
        let text = "## One (AWS)\n\n```sh\na \\\n  b\n# c\n```\n## Two\n1. x\n\n   ```sh walk\n   for a\n     b\n   ```\n";
        let found = blocks(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].chapter.as_str(), found[0].tag.as_str()), ("One (AWS)", ""));
        assert_eq!(commands(&found[0].text), ["a b"]);
        assert_eq!((found[1].tag.as_str(), found[1].text.as_str()), ("walk", "for a\n  b\n"));
    }

    #[test]
    fn what_is_not_run_is_marked() {
        assert!(is_elsewhere("Upgrade (AWS)", "helm rollback shop"));
        assert!(is_elsewhere("Upgrade", "helm rollback shop # Kubernetes"));
        assert!(!is_elsewhere("Upgrade", "helm rollback shop"));
    }

    #[test]
    fn what_helm_would_install_is_rendered() {
        let values = Path::new("/tmp");
        let line =
            "helm install shop charts/storeline --values mine.yaml --wait --timeout 15m --set a=b # AWS";
        let arguments =
            ["template", "shop", "charts/storeline", "--values", "/tmp/mine.yaml", "--set", "a=b"];
        assert_eq!(helm_template(line, values).unwrap(), arguments);
        assert_eq!(helm_template("helm lint --strict charts/storeline", values).unwrap()[0], "lint");
        assert_eq!(helm_template("helm rollback shop", values), None);
    }
}
