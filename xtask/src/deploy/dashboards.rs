//! Grafana's dashboards, made of tables: a panel is three lines to read and to review here and forty in Grafana's JSON,
//! which `cargo xtask dashboards` writes to deploy/grafana/dashboards. Nothing is ever read back from a Grafana.

mod feeds;
mod infrastructure;
mod sagas;
mod service;
mod shop;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::metrics::{Exported, Names};
use super::tools::DeployTools;
use super::{FOLDER, Problems, prometheus};

const DASHBOARDS: &[Dashboard] =
    &[shop::DASHBOARD, sagas::DASHBOARD, feeds::DASHBOARD, service::DASHBOARD, infrastructure::DASHBOARD];

/// Grafana's grid.
const COLUMNS: u64 = 24;
const PANEL_HEIGHT: u64 = 8;
const STAT_HEIGHT: u64 = 4;
/// What Grafana puts in place of its variables when promtool reads a query.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$service", "any")];

/// One page.
pub struct Dashboard {
    /// Its file and its address in Grafana.
    name: &'static str,
    title: &'static str,
    about: &'static str,
    /// The reader chooses one service; queries name it `$service`.
    by_service: bool,
    rows: &'static [Row],
}

/// Panels under a heading, from left to right.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

struct Panel {
    title: &'static str,
    /// Shown when the reader points at the title: how to read it.
    about: &'static str,
    kind: Kind,
    /// As Grafana calls it.
    unit: &'static str,
    queries: &'static [Query],
}

enum Kind {
    /// Lines over time, this many panels beside each other.
    Lines(u64),
    /// One number, red from this on.
    Number(f64),
    /// One number that is neither good nor bad.
    Plain,
}

/// Shortens the tables. A gauge that every replica reports of the same database is asked for as its maximum.
const fn panel(
    kind: Kind,
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    queries: &'static [Query],
) -> Panel {
    Panel { title, about, kind, unit, queries }
}

/// An expression, and how its series are called.
struct Query(&'static str, &'static str);

/// Compares the files with the tables, and the queries with what is exported.
pub fn check(root: &Path, tools: &DeployTools, exported: &Exported) -> Result<Problems> {
    let mut problems = Problems::new();
    let mut expressions = BTreeMap::new();
    let mut files = files(root)?;
    for dashboard in DASHBOARDS {
        let path = path(root, dashboard);
        if fs::read_to_string(&path).ok() != Some(dashboard.render()?) {
            problems
                .push(format!("{} is not what its table says: run `cargo xtask dashboards`", path.display()));
        }
        files.retain(|file| *file != path);
        for (place, Query(expression, legend)) in dashboard.queries() {
            problems.extend(exported.check(&place, expression));
            problems.extend(unknown_legend(&place, expression, legend));
            let plain = VARIABLES
                .iter()
                .fold((*expression).to_owned(), |text, (variable, value)| text.replace(variable, value));
            expressions.insert(place, plain);
        }
    }
    for file in files {
        problems.push(format!("{} has no table", file.display()));
    }
    problems.extend(prometheus::check_expressions(tools, &expressions)?);
    println!("dashboards: {}", DASHBOARDS.len());
    Ok(problems)
}

pub fn write(root: &Path) -> Result<()> {
    for dashboard in DASHBOARDS {
        let path = path(root, dashboard);
        fs::write(&path, dashboard.render()?).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn path(root: &Path, dashboard: &Dashboard) -> PathBuf {
    root.join(FOLDER).join("grafana/dashboards").join(format!("{}.json", dashboard.name))
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join(FOLDER).join("grafana/dashboards");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

/// A legend shows labels that the query leaves.
fn unknown_legend(place: &str, expression: &str, legend: &str) -> Problems {
    let grouped = Names::of(expression).grouped;
    let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let unknown = labels.filter(|label| !grouped.contains(*label));
    unknown.map(|label| format!("{place}: the legend shows {label}, by which nothing is grouped")).collect()
}

impl Dashboard {
    /// Its queries, each with the place that problems name.
    fn queries(&self) -> impl Iterator<Item = (String, &Query)> {
        self.rows.iter().flat_map(|row| row.panels).flat_map(|panel| {
            panel.queries.iter().enumerate().map(|(index, query)| {
                (format!("dashboard {}: {} #{}", self.name, panel.title, index + 1), query)
            })
        })
    }

    /// Grafana's JSON.
    fn render(&self) -> Result<String> {
        let mut panels = Vec::new();
        let (mut x, mut y) = (0, 0);
        for row in self.rows {
            panels.push(json!({
                "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
            }));
            y += 1;
            let mut height = 0;
            for panel in row.panels {
                let (width, tall) = panel.size(row.panels.len());
                if x + width > COLUMNS {
                    (x, y) = (0, y + height);
                }
                height = tall;
                let mut rendered = panel.render();
                rendered["gridPos"] = json!({ "x": x, "y": y, "w": width, "h": tall });
                panels.push(rendered);
                x += width;
            }
            (x, y) = (0, y + height);
        }
        for (id, panel) in panels.iter_mut().enumerate() {
            panel["id"] = json!(id + 1);
        }
        let variables = if self.by_service { vec![service_variable()] } else { Vec::new() };
        let dashboard = json!({
            "uid": format!("storeline-{}", self.name),
            "title": self.title,
            "description": self.about,
            "tags": ["storeline"],
            "editable": false,
            "schemaVersion": 39,
            "refresh": "10s",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "templating": { "list": variables },
            "links": [{ "type": "dashboards", "tags": ["storeline"], "asDropdown": true, "title": "Storeline", "keepTime": true }],
            "panels": panels,
        });
        Ok(serde_json::to_string_pretty(&dashboard)? + "\n")
    }
}

impl Panel {
    /// Width and height on the grid.
    fn size(&self, in_row: usize) -> (u64, u64) {
        match self.kind {
            Kind::Lines(beside) => (COLUMNS / beside, PANEL_HEIGHT),
            Kind::Number(_) | Kind::Plain => (COLUMNS / (in_row.max(1) as u64), STAT_HEIGHT),
        }
    }

    fn render(&self) -> Value {
        let targets: Vec<Value> = (self.queries.iter().zip('A'..))
            .map(|(Query(expression, legend), id)| {
                json!({ "refId": id.to_string(), "expr": expression, "legendFormat": legend, "datasource": source() })
            })
            .collect();
        let steps = match self.kind {
            Kind::Number(bad) => {
                json!([{ "color": "green", "value": null }, { "color": "red", "value": bad }])
            }
            Kind::Plain | Kind::Lines(_) => json!([{ "color": "blue", "value": null }]),
        };
        let (kind, options) = match self.kind {
            Kind::Lines(_) => (
                "timeseries",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                }),
            ),
            Kind::Number(_) | Kind::Plain => (
                "stat",
                json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "value", "graphMode": "area" }),
            ),
        };
        json!({
            "type": kind,
            "title": self.title,
            "description": self.about,
            "datasource": source(),
            "targets": targets,
            "options": options,
            "fieldConfig": {
                "defaults": { "unit": self.unit, "min": 0, "thresholds": { "mode": "absolute", "steps": steps } },
                "overrides": [],
            },
        })
    }
}

/// Provisioned in deploy/grafana/provisioning.
fn source() -> Value {
    json!({ "type": "prometheus", "uid": "prometheus" })
}

fn service_variable() -> Value {
    let query = "label_values(process_resident_memory_bytes, job)";
    json!({
        "name": "service", "label": "Service", "type": "query", "datasource": source(),
        "definition": query, "query": { "query": query, "refId": "service" }, "refresh": 2, "sort": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_stand_beside_each_other_and_never_over_each_other() {
        for dashboard in DASHBOARDS {
            let json: Value = serde_json::from_str(&dashboard.render().unwrap()).unwrap();
            let mut taken = std::collections::BTreeSet::new();
            for panel in json["panels"].as_array().unwrap() {
                let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                assert!(at("x") + at("w") <= COLUMNS, "{panel}");
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "{}: {panel}", dashboard.name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_legend_may_show_what_the_query_groups_by() {
        assert_eq!(unknown_legend("here", "sum by (log) (a)", "{{log}} p99"), Problems::new());
        assert_eq!(unknown_legend("here", "sum by (log) (a)", "{{job}}").len(), 1);
    }
}
