//! The schemas that manifests are held against: Kubernetes' own from PyPI, those of custom resources from the Go modules of
//! whoever defines them, or from their generator, made into JSON schemas that refuse what they do not name. Kept in our cache folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::tools::HelmTools;
use super::{Problems, strimzi};
use crate::deploy::pip_install;
use crate::tools::{cache_folder, go};

const KUBERNETES: &str = "kubernetes-validate==1.37.0";
/// The oldest that the chart says it works with, what EKS has as its standard, and the newest that there are schemas of.
const VERSIONS: [&str; 3] = ["1.30.0", "1.34.0", "1.37.0"];
/// Raised when what is made of the sources below changes.
const EDITION: u32 = 4;

/// A module with the folder of its definitions.
const MODULES: [(&str, &str); 6] = [
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases"),
    ("github.com/external-secrets/external-secrets@v1.3.2", "config/crds/bases"),
    ("sigs.k8s.io/gateway-api@v1.4.0", "config/crd/standard"),
    ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd-full"),
    ("github.com/cloudnative-pg/cloudnative-pg@v1.27.0", "config/crd/bases"),
    ("istio.io/api@v1.27.0", "kubernetes"),
];
/// What of them the chart uses, and the guide.
const KINDS: [&str; 13] = [
    "ScaledObject",
    "ExternalSecret",
    "Gateway",
    "HTTPRoute",
    "GRPCRoute",
    "ServiceMonitor",
    "PodMonitor",
    "Cluster",
    "Kafka",
    "KafkaNodePool",
    "KafkaUser",
    "AuthorizationPolicy",
    "PrometheusRule",
];
/// How often a module is asked for: the module proxy may be gone for a moment.
const DOWNLOAD_ATTEMPTS: usize = 3;

/// Finds or makes all schemas; in the folder is one for each version of Kubernetes, and `custom`.
pub fn provide() -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("kubernetes-schemas-1.37.0-{EDITION}"));
    if folder.is_dir() {
        println!("schemas     Kubernetes {} ({})", VERSIONS.join(", "), folder.display());
        return Ok(folder);
    }
    // Complete or not there at all.
    let making = folder.with_extension(format!("making-{}", std::process::id()));
    fs::remove_dir_all(&making).ok();
    fs::create_dir_all(&making).with_context(|| format!("cannot create {}", making.display()))?;
    kubernetes(&making)?;
    let scratch = making.join("scratch");
    let mut folders = vec![strimzi::definitions(&scratch)?];
    for (module, definitions) in MODULES {
        folders.push(download(module)?.join(definitions));
    }
    custom(&folders, &making.join("custom"))?;
    fs::remove_dir_all(&scratch)?;
    match fs::rename(&making, &folder) {
        Err(error) if !folder.is_dir() => bail!("cannot make {}: {error}", folder.display()),
        _ => Ok(folder),
    }
}

fn kubernetes(folder: &Path) -> Result<()> {
    let package = folder.join("package");
    pip_install(KUBERNETES, &package, "put its schemas into the folder named above")?;
    for version in VERSIONS {
        let source =
            package.join(format!("kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"));
        let target = folder.join(version);
        fs::create_dir_all(&target)?;
        for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
            let path = entry?.path();
            let text =
                fs::read_to_string(&path)?.replace("\"/api/_definitions.json#", "\"_definitions.json#");
            let mut schema: Value = serde_json::from_str(&text)?;
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("$id");
            }
            let name = path.file_name().context("a file has a name")?;
            fs::write(target.join(name), serde_json::to_vec(&schema)?)?;
        }
    }
    fs::remove_dir_all(&package)?;
    Ok(())
}

/// Makes schemas of all definitions in `folders`.
fn custom(folders: &[PathBuf], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut missing: Vec<&str> = KINDS.into();
    for definitions in folders {
        for entry in
            fs::read_dir(definitions).with_context(|| format!("cannot read {}", definitions.display()))?
        {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            for document in fs::read_to_string(&path)?.split("\n---\n") {
                let Ok(definition) = serde_yaml_ng::from_str::<Value>(document) else { continue };
                let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default();
                if missing.contains(&kind) {
                    missing.retain(|wanted| *wanted != kind);
                    write_schemas(&definition, kind, folder)?;
                }
            }
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => bail!("nobody defines {}", missing.join(", ")),
    }
}

/// A schema for each version of a kind.
fn write_schemas(definition: &Value, kind: &str, folder: &Path) -> Result<()> {
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        close(&mut schema);
        // Every object has them, whether its definition says so or not.
        for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
            if schema["properties"][name].is_null() {
                schema["properties"][name] = json!({ "type": kind });
            }
        }
        let name = file_name(kind, group, version["name"].as_str().unwrap_or_default());
        fs::write(folder.join(name), serde_json::to_vec(&schema)?)?;
    }
    Ok(())
}

/// As kubeconform looks for it: kind, first part of the group, version.
fn file_name(kind: &str, group: &str, version: &str) -> String {
    let group = group.split('.').next().unwrap_or_default();
    format!("{}-{group}-{version}.json", kind.to_lowercase())
}

/// Where the files of a Go module are.
fn download(module: &str) -> Result<PathBuf> {
    let mut words = String::new();
    for _ in 0..DOWNLOAD_ATTEMPTS {
        let output = Command::new(go()?)
            .args(["mod", "download", "-json", module])
            .current_dir(std::env::temp_dir())
            .output()
            .context("cannot run go")?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if let (true, Some(folder)) = (output.status.success(), said["Dir"].as_str()) {
            println!("  schemas of {module}");
            return Ok(PathBuf::from(folder));
        }
        words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    }
    bail!("`go mod download {module}` failed:\n{words}")
}

/// Makes a definition of OpenAPI 3 a JSON schema as strict as the server with strict validation: what is not named is
/// refused, unless it says that anything goes.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                map.remove("anyOf");
                map.insert("type".to_owned(), json!(["integer", "string"]));
            }
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.values_mut().for_each(close);
                if !open && !map.contains_key("additionalProperties") {
                    map.insert("additionalProperties".to_owned(), Value::Bool(false));
                }
            }
            for key in ["items", "additionalProperties"] {
                if let Some(inner) = map.get_mut(key) {
                    close(inner);
                }
            }
            // Conditions say more of what is described beside them, and refuse nothing by leaving it out.
            map.retain(|key, _| !key.starts_with("x-") && key != "default" && key != "nullable");
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

/// Has kubeconform hold everything in `rendered` against each version's schemas.
pub fn validate(tools: &HelmTools, schemas: &Path, rendered: &Path) -> Result<Problems> {
    let mut problems = Problems::new();
    for version in VERSIONS {
        let location = |folder: &str| {
            format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.join(folder).display())
        };
        let output = tools
            .kubeconform()
            .args(["-strict", "-summary", "-schema-location", &location(version)])
            .args(["-schema-location", &location("custom")])
            .arg(rendered)
            .output()
            .context("cannot run kubeconform")?;
        let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        println!("Kubernetes {version}: {}", words.lines().last().unwrap_or_default());
        if !output.status.success() {
            problems.push(format!("kubeconform -strict, Kubernetes {version}:\n{}", words.trim_end()));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_definition_does_not_name_is_refused_unless_anything_goes() {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "spec": {
                    "properties": { "port": { "x-kubernetes-int-or-string": true, "anyOf": [] } },
                },
                "free": { "properties": {}, "x-kubernetes-preserve-unknown-fields": true },
                "labels": { "additionalProperties": { "type": "string" } },
            },
        });
        close(&mut schema);
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["spec"]["additionalProperties"], false);
        assert_eq!(
            schema["properties"]["spec"]["properties"]["port"],
            json!({ "type": ["integer", "string"] })
        );
        assert!(schema["properties"]["free"].get("additionalProperties").is_none());
        assert_eq!(schema["properties"]["labels"]["additionalProperties"], json!({ "type": "string" }));
    }

    #[test]
    fn schemas_are_named_as_kubeconform_looks_for_them() {
        assert_eq!(file_name("HTTPRoute", "gateway.networking.k8s.io", "v1"), "httproute-gateway-v1.json");
    }
}
