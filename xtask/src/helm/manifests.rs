//! What Helm printed, as documents that can be asked: which pods there are, and what each container is given.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

/// Everything of one rendering.
pub struct Manifests(Vec<Value>);

/// A pod that something makes, with the name of what makes it.
pub struct Pod<'a> {
    pub owner: String,
    pub kind: &'a str,
    pub labels: &'a Value,
    pub annotations: &'a Value,
    pub spec: &'a Value,
}

impl Manifests {
    pub fn parse(text: &str) -> Result<Self> {
        let mut documents = Vec::new();
        // What stands within texts of several lines is indented.
        for document in text.split("\n---\n") {
            let value: Value = serde_yaml_ng::from_str(document.strip_prefix("---\n").unwrap_or(document))?;
            if !value.is_null() {
                documents.push(value);
            }
        }
        Ok(Self(documents))
    }

    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |document| document["kind"] == kind)
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
    }

    pub fn pods(&self) -> Vec<Pod<'_>> {
        let mut pods = Vec::new();
        for document in &self.0 {
            let kind = text(&document["kind"]);
            let template = match kind {
                "Pod" => document,
                "Deployment" | "StatefulSet" | "Job" => &document["spec"]["template"],
                "CronJob" => &document["spec"]["jobTemplate"]["spec"]["template"],
                _ => continue,
            };
            pods.push(Pod {
                owner: name(document),
                kind,
                labels: &template["metadata"]["labels"],
                annotations: &template["metadata"]["annotations"],
                spec: &template["spec"],
            });
        }
        pods
    }

    /// The variables of a container, those of its ConfigMaps too.
    pub fn environment(&self, container: &Value) -> BTreeMap<String, String> {
        let mut set = BTreeMap::new();
        for source in list(&container["envFrom"]) {
            let Some(map) = self.get("ConfigMap", text(&source["configMapRef"]["name"])) else { continue };
            for (name, value) in map["data"].as_object().into_iter().flatten() {
                set.insert(name.clone(), text(value).to_owned());
            }
        }
        for variable in list(&container["env"]) {
            set.insert(text(&variable["name"]).to_owned(), text(&variable["value"]).to_owned());
        }
        set
    }
}

impl Pod<'_> {
    /// It is there until somebody takes it away.
    pub fn is_long_running(&self) -> bool {
        matches!(self.kind, "Deployment" | "StatefulSet")
    }

    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        list(&self.spec["initContainers"]).chain(list(&self.spec["containers"]))
    }

    /// Whether a selector's labels are among the pod's.
    pub fn matches(&self, labels: &Value) -> bool {
        labels.as_object().is_some_and(|labels| {
            !labels.is_empty() && labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
        })
    }
}

/// `Kind/name` of a document.
pub fn name(document: &Value) -> String {
    format!("{}/{}", text(&document["kind"]), text(&document["metadata"]["name"]))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
