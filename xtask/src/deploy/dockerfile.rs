//! The Dockerfile: linted, and compared with the workspace. Of its text only the names of packages, features and programs
//! are understood.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::tools::DeployTools;
use super::{Problems, verdict};
use crate::cargo;

/// What puts the image together, within the Dockerfile.
const IMAGE_FILES: &str = "deploy/image-files.sh /image target/release";

/// What the Dockerfile says that it makes.
pub struct Image {
    packages: BTreeSet<String>,
    features: BTreeSet<String>,
    /// On the PATH of the image.
    pub programs: BTreeSet<String>,
}

pub fn lint(root: &Path, tools: &DeployTools) -> Result<Problems> {
    verdict("hadolint Dockerfile", tools.hadolint().arg("Dockerfile").current_dir(root))
}

impl Image {
    pub fn read(root: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(root.join("Dockerfile")).context("cannot read Dockerfile")?)
    }

    /// An image with these programs, for tests.
    #[cfg(test)]
    pub fn of(programs: &[&str]) -> Self {
        let programs = programs.iter().map(|program| (*program).to_owned()).collect();
        Self { packages: BTreeSet::new(), features: BTreeSet::new(), programs }
    }

    fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\\\n", " ");
        let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
        let words = |text: &str, end: &str| -> Vec<String> {
            text.split(end).next().unwrap_or_default().split([' ', ',', '\n']).map(str::to_owned).collect()
        };
        let named = |mark: &str, end: &str| {
            after(mark)
                .map(|rest| words(rest, end))
                .with_context(|| format!("the Dockerfile has no `{mark}`"))
        };
        let packages = named("PROGRAMS=\"", "\"")?;
        let features = named("FEATURES=\"", "\"")?;
        let programs = named(IMAGE_FILES, "\n")?;
        let plain = |words: Vec<String>| {
            words.into_iter().filter(|word| !word.is_empty() && word != "--package").collect()
        };
        Ok(Self { packages: plain(packages), features: plain(features), programs: plain(programs) })
    }

    /// Compares it with the workspace's manifests, and what goes to the build with its members.
    pub fn check(&self, root: &Path) -> Result<Problems> {
        let metadata = metadata()?;
        let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
        let mut problems = Problems::new();
        let mut programs = BTreeSet::new();
        for name in &self.packages {
            let Some(package) = packages.iter().find(|package| package["name"] == name.as_str()) else {
                problems.push(format!("Dockerfile: there is no package {name}"));
                continue;
            };
            let targets = package["targets"].as_array().into_iter().flatten();
            programs.extend(
                targets
                    .filter(|target| target["kind"][0] == "bin")
                    .filter_map(|target| target["name"].as_str().map(str::to_owned)),
            );
        }
        for feature in &self.features {
            let (package, name) = feature.split_once('/').unwrap_or(("", feature));
            let there = packages.iter().any(|p| p["name"] == package && !p["features"][name].is_null());
            if !there {
                problems.push(format!("Dockerfile: there is no feature {feature}"));
            }
        }
        for missing in self.programs.difference(&programs) {
            problems.push(format!("Dockerfile: no package that it builds has a program {missing}"));
        }
        let ignored = fs::read_to_string(root.join(".dockerignore")).context("cannot read .dockerignore")?;
        let let_in: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
        for package in packages {
            let manifest = package["manifest_path"].as_str().unwrap_or_default();
            let member = manifest.strip_prefix(&*root.to_string_lossy()).unwrap_or(manifest);
            let folder = member.trim_start_matches('/').split('/').next().unwrap_or_default();
            if !let_in.contains(folder) {
                problems
                    .push(format!(".dockerignore: {folder} is a part of the workspace and must be let in"));
            }
        }
        Ok(problems)
    }
}

fn metadata() -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked", "--offline"])
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_features_and_programs_are_read_over_lines() {
        let image = Image::parse(
            "ENV PROGRAMS=\"--package shop \\\n  --package order-service\" \\\n FEATURES=\"shop/kafka,order-service/process\"\n\
             RUN sh deploy/image-files.sh /image target/release shop \\\n   order-service\nUSER 1:1\n",
        )
        .unwrap();
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&image.packages), "order-service shop");
        assert_eq!(names(&image.features), "order-service/process shop/kafka");
        assert_eq!(names(&image.programs), "order-service shop");
    }
}
