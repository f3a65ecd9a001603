//! `cargo xtask tidy`: the dependency arrows of the design, checked on the text of manifests and sources. It understands
//! as much of Rust as paths and comments need and no more; what the compiler checks is left to the compiler.

mod manifests;
mod modules;
mod nouns;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use source::Source;

/// The design asks for about 400 lines; from here on a file is worth a second look.
const LONG_FILE_LINES: usize = 500;
/// Folders without sources of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "data", "node_modules"];

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    line: usize,
    problem: String,
    /// What to do instead.
    advice: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}. {}", self.file.display(), self.line, self.problem, self.advice)
    }
}

/// Prints what is wrong below `root`; false when something is.
pub fn run(root: &Path) -> Result<bool> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    let mut findings = Vec::new();
    let mut long = Vec::new();
    for path in &files {
        let text =
            fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {}", path.display()))?;
        if path.ends_with("Cargo.toml") {
            findings.extend(manifests::check(path, &text));
        }
        findings.extend(nouns::check(path, &text));
        if path.extension().is_some_and(|extension| extension == "rs") {
            findings.extend(modules::check(path, &Source::parse(&text)));
            let lines = text.lines().count();
            if lines > LONG_FILE_LINES {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    for finding in &findings {
        println!("error: {finding}");
    }
    for file in &long {
        println!("note: {file}; the design asks for about 400. Split it where a reader would");
    }
    println!("tidy: {} files, {} errors, {} long files", files.len(), findings.len(), long.len());
    Ok(findings.is_empty())
}

/// Manifests, sources and texts below `folder`, as paths relative to `root`, in a stable order.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name.as_str()) {
            collect(root, &path, files)?;
        }
        let wanted = ["rs", "toml", "sql", "md"].iter().any(|kind| name.ends_with(&format!(".{kind}")));
        if path.is_file() && wanted {
            files.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_the_place_the_rule_and_the_way_out() {
        let finding = Finding {
            file: "order-service/src/domain/order.rs".into(),
            line: 7,
            problem: "the domain mentions `sqlx`".into(),
            advice: "Move it.",
        };
        assert_eq!(
            finding.to_string(),
            "order-service/src/domain/order.rs:7: the domain mentions `sqlx`. Move it."
        );
    }
}
