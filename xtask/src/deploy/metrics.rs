//! What the programs export, as deploy/metrics.txt lists it, and which of it an expression of Prometheus names. Whether an
//! expression is right is promtool's business; here only names of metrics and labels are found in it. That the list is
//! what a running shop exports, an end-to-end test compares.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{FOLDER, Problems};

/// Functions of Prometheus stand before a parenthesis; these words need not.
const WORDS: [&str; 25] = [
    "sum",
    "min",
    "max",
    "avg",
    "count",
    "group",
    "topk",
    "bottomk",
    "quantile",
    "stddev",
    "stdvar",
    "count_values",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
    "nan",
];
/// Before a list of labels in parentheses.
const LABEL_LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Labels that Prometheus gives to everything that it scrapes.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];
/// What Prometheus knows by itself.
const PROMETHEUS: [(&str, &[&str]); 3] =
    [("up", &[]), ("scrape_duration_seconds", &[]), ("ALERTS", &["alertname", "alertstate", "severity"])];

/// The section of the list whose metrics show only when something fails, or is asked for.
const SELDOM: &str = "[seldom]";
/// The section of those that other people's programs export.
const ELSEWHERE: &str = "[elsewhere]";

/// The metrics that there are, with their labels.
pub struct Exported {
    /// By the name that the sources give it, without the parts of a histogram, with kind and labels.
    sources: BTreeMap<String, (String, BTreeSet<String>)>,
    /// Those that a system under load exports.
    expected: BTreeSet<String>,
    series: BTreeMap<String, BTreeSet<String>>,
}

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Each metric with the labels that its selectors ask for.
    pub metrics: BTreeMap<String, BTreeSet<String>>,
    /// Labels that results are grouped or matched by.
    pub grouped: BTreeSet<String>,
}

impl Exported {
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FOLDER).join("metrics.txt");
        Self::parse(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, labels) in PROMETHEUS {
            series.insert(name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect());
        }
        let (mut sources, mut expected) = (BTreeMap::new(), BTreeSet::new());
        let mut section = "";
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with('[') {
                section = line;
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, kind, labels @ ..] = words.as_slice() else {
                bail!("metrics.txt: `{line}` is not a name, a kind and labels")
            };
            let mut labels: BTreeSet<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            if section != ELSEWHERE {
                sources.insert((*name).to_owned(), ((*kind).to_owned(), labels.clone()));
            }
            if ![SELDOM, ELSEWHERE].contains(&section) {
                expected.insert((*name).to_owned());
            }
            match *kind {
                "counter" | "gauge" => _ = series.insert((*name).to_owned(), labels),
                "histogram" => {
                    series.insert(format!("{name}_sum"), labels.clone());
                    series.insert(format!("{name}_count"), labels.clone());
                    labels.insert("le".to_owned());
                    series.insert(format!("{name}_bucket"), labels);
                }
                other => bail!("metrics.txt: {other} of {name} is no kind of metric"),
            }
        }
        Ok(Self { sources, expected, series })
    }

    /// What `expression` names and nobody exports. `place` begins each problem.
    pub fn check(&self, place: &str, expression: &str) -> Problems {
        let names = Names::of(expression);
        let mut problems = Problems::new();
        let mut known: BTreeSet<&str> = TARGET_LABELS.into();
        for (metric, labels) in &names.metrics {
            let Some(exported) = self.series.get(metric) else {
                problems.push(format!("{place}: nobody exports {metric} (deploy/metrics.txt)"));
                continue;
            };
            known.extend(exported.iter().map(String::as_str));
            for label in labels {
                if !exported.contains(label) && !TARGET_LABELS.contains(&label.as_str()) {
                    problems.push(format!("{place}: {metric} has no label {label}"));
                }
            }
        }
        if names.metrics.is_empty() {
            problems.push(format!("{place}: no metric is named in `{expression}`"));
        }
        for label in names.grouped.iter().filter(|label| !known.contains(label.as_str())) {
            problems.push(format!("{place}: no metric in it has a label {label}"));
        }
        problems
    }

    /// Compares the list with what all programs of a system export, both ways: each of them, by its name, with the text at
    /// its /metrics.
    pub fn compare(&self, scrapes: &[(&str, String)]) -> Problems {
        let mut problems = Problems::new();
        let mut missing = self.expected.clone();
        for (program, text) in scrapes {
            let known = scraped(text);
            missing.retain(|name| !known.contains_key(name));
            problems.extend(self.check_scrape(program, text));
        }
        problems.extend(missing.iter().map(|name| format!("deploy/metrics.txt: no program exports {name}")));
        problems
    }

    /// What one program exports and the list does not have, or has otherwise.
    pub fn check_scrape(&self, program: &str, text: &str) -> Problems {
        let others =
            scraped(text).into_iter().filter(|(name, metric)| self.sources.get(name) != Some(metric));
        others
            .map(|(name, metric)| format!("deploy/metrics.txt about {name}: {program} exports {metric:?}"))
            .collect()
    }

    /// Each metric of the list must stand as a text in the sources, since some show only when something fails.
    pub fn check_sources(&self, root: &Path) -> Result<Problems> {
        let mut missing: BTreeSet<&String> = self.sources.keys().collect();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_dir() && !["target", ".git", "data", "tests", "xtask"].contains(&name.as_str()) {
                    folders.push(path);
                } else if name.ends_with(".rs") {
                    let text = fs::read_to_string(&path)?;
                    missing.retain(|metric| !text.contains(&format!("\"{metric}\"")));
                }
            }
        }
        Ok(missing.iter().map(|metric| format!("deploy/metrics.txt: no source names {metric}")).collect())
    }
}

impl Names {
    /// Reads an expression.
    pub fn of(expression: &str) -> Self {
        let mut names = Self::default();
        let mut rest = expression.trim_start();
        let mut metric: Option<String> = None;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' | '\'' | '`' => quoted(rest),
                '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
                '{' => {
                    let end = closing(rest);
                    if let Some(metric) = metric.take() {
                        names.metrics.entry(metric).or_default().extend(matched_labels(&rest[1..end]));
                    }
                    (end + 1).min(rest.len())
                }
                _ if first.is_ascii_digit() || first == '$' => 1 + word(&rest[1..]),
                _ if first.is_ascii_alphabetic() || first == '_' || first == ':' => {
                    let name = &rest[..word(rest)];
                    let after = rest[name.len()..].trim_start();
                    metric = None;
                    if LABEL_LISTS.contains(&name) && after.starts_with('(') {
                        let end = after.find(')').unwrap_or(after.len());
                        let labels =
                            after[1..end].split(',').map(str::trim).filter(|label| !label.is_empty());
                        names.grouped.extend(labels.map(str::to_owned));
                        rest = &after[end..];
                        continue;
                    }
                    if !after.starts_with('(') && !WORDS.contains(&name.to_lowercase().as_str()) {
                        names.metrics.entry(name.to_owned()).or_default();
                        metric = Some(name.to_owned());
                    }
                    name.len()
                }
                _ => first.len_utf8(),
            };
            rest = rest[length..].trim_start();
        }
        names
    }
}

/// Kind and labels of what stands in a scrape; those of a histogram are those of its counts.
fn scraped(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|declared| declared.split_once(' '))
        {
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let name = &line[..word(line)];
        let name = name.strip_suffix("_count").filter(|name| metrics.contains_key(*name)).unwrap_or(name);
        if let Some((_, labels)) = metrics.get_mut(name)
            && let Some(start) = line.find('{')
        {
            let rest = &line[start..];
            labels.extend(matched_labels(&rest[1..closing(rest)]));
        }
    }
    metrics
}

/// Bytes of the word at the beginning of `text`.
fn word(text: &str) -> usize {
    let ends = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':');
    text.find(ends).unwrap_or(text.len())
}

/// Bytes of the quoted text at the beginning of `text`, with its quotes.
fn quoted(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'`' => escaped = true,
            _ if byte == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the brace at the beginning of `text` is closed; quoted braces do not count.
fn closing(text: &str) -> usize {
    let mut index = 1;
    while index < text.len() {
        match text.as_bytes()[index] {
            b'}' => return index,
            b'"' | b'\'' | b'`' => index += quoted(&text[index..]),
            _ => index += 1,
        }
    }
    text.len()
}

fn matched_labels(matchers: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    let mut rest = matchers.trim_start_matches([' ', ',', '\n']);
    while !rest.is_empty() {
        let label = &rest[..word(rest)];
        labels.insert(label.to_owned());
        let Some(value) = rest.find(['"', '\'', '`']) else { break };
        rest = rest[value + quoted(&rest[value..])..].trim_start_matches([' ', ',', '\n']);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported() -> Exported {
        Exported::parse("# comment\n[load]\nhits_total counter log\nwait_seconds histogram queue\n").unwrap()
    }

    #[test]
    fn names_of_metrics_and_labels_are_found() {
        let names = Names::of(
            r#"histogram_quantile(0.99, sum by (le, log) (rate(a_bucket{log=~"x|}y", job!='z'}[5m] offset 1h)))
               / on (job) group_left () topk(3, b{} > 1e3) or vector(0) unless c{d="$e"}"#,
        );
        let found: Vec<(&str, Vec<&str>)> = (names.metrics.iter())
            .map(|(name, labels)| (name.as_str(), labels.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(found, [("a_bucket", vec!["job", "log"]), ("b", vec![]), ("c", vec!["d"])]);
        assert_eq!(names.grouped.iter().map(String::as_str).collect::<Vec<_>>(), ["job", "le", "log"]);
    }

    #[test]
    fn a_scrape_is_compared_both_ways() {
        let good = "# HELP x\n# TYPE hits_total counter\nhits_total{log=\"a}\"} 1\n\n# TYPE wait_seconds histogram\n\
                    wait_seconds_bucket{queue=\"a\",le=\"1\"} 1\nwait_seconds_count{queue=\"a\"} 1\n";
        assert_eq!(exported().compare(&[("a", good.to_owned())]), Problems::new());
        for wrong in [
            good.replace("log=", "logs="),
            good.replace("hits_total", "hit_total"),
            good.replace(" counter", " gauge"),
            format!("{good}# TYPE more gauge\nmore 1\n"),
        ] {
            assert!(!exported().compare(&[("a", wrong.clone())]).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn what_is_exported_passes() {
        for good in [
            "rate(hits_total{log=\"order\", job=\"a\"}[1m])",
            "sum by (le, queue) (rate(wait_seconds_bucket[1m]))",
            "sum(up)",
        ] {
            assert_eq!(exported().check("here", good), Problems::new(), "{good}");
        }
    }

    #[test]
    fn what_nobody_exports_is_a_problem() {
        for wrong in [
            "hit_total",
            "hits_total{logs=\"order\"}",
            "sum by (queue) (hits_total)",
            "wait_seconds",
            "sum by (le) (wait_seconds_sum)",
            "vector(1)",
        ] {
            assert_eq!(exported().check("here", wrong).len(), 1, "{wrong}");
        }
    }
}
