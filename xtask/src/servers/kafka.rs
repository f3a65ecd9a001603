//! Apache Kafka from Maven Central, kept in the cache folder, and one broker for the run. Tests that stop brokers start
//! their own with the same jars.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_servers::kafka::{Brokers, Options};

use crate::tools::{find_on_path, first_line};
use crate::{apt, maven};

/// Pinned: a newer release is announced whose tools are missing.
const VERSION: &str = "4.3.1";
/// The broker's jar, last to be missed.
const SERVER_JAR: &str = "kafka_2.13-4.3.1.jar";
const START_DEADLINE: Duration = Duration::from_secs(300);
const START_PAUSE: Duration = Duration::from_millis(100);
/// The oldest Java that Kafka's broker runs on.
const OLDEST_JAVA: u32 = 17;

/// What Maven is to fetch: broker and controller, the command line tools without what else comes with them, and
/// messages on standard error.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.storeline</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>VERSION</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-api</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;

/// A running broker; stopped and removed on drop.
pub struct Kafka {
    jars: PathBuf,
    brokers: Brokers,
}

impl Kafka {
    /// Finds or installs Java, finds or fetches the jars, starts a broker and waits until it serves.
    pub fn provide() -> Result<Self> {
        let jars = Self::find_or_fetch()?;
        let mut brokers = Brokers::start(&jars, Options { long_lived: true, ..Options::default() })?;
        let begin = Instant::now();
        while !brokers.is_ready()? {
            if begin.elapsed() > START_DEADLINE {
                bail!("Kafka was not ready after {} s:\n{}", START_DEADLINE.as_secs(), brokers.log(0)?);
            }
            thread::sleep(START_PAUSE);
        }
        println!("            throwaway broker on {}", brokers.bootstrap());
        Ok(Self { jars, brokers })
    }

    /// Finds or installs Java, finds or fetches the jars, and returns their folder.
    pub fn find_or_fetch() -> Result<PathBuf> {
        let java = java()?;
        println!("java        {} ({})", first_line(&java, "-version"), java.display());
        let jars = jars()?;
        println!("kafka       {VERSION} ({})", jars.display());
        Ok(jars)
    }

    /// Host and port of the broker.
    pub fn bootstrap(&self) -> String {
        self.brokers.bootstrap()
    }

    /// The folder with the jars.
    pub fn jars(&self) -> &Path {
        &self.jars
    }

    /// What runs.
    pub fn version(&self) -> String {
        format!("Apache Kafka {VERSION}")
    }
}

fn java() -> Result<PathBuf> {
    if let Some(found) = usable_java() {
        return Ok(found);
    }
    apt::install(
        &["openjdk-17-jre-headless"],
        "on macOS `brew install openjdk@17`; put its `java` on the PATH",
    )?;
    usable_java().context("Java was installed, but the java on the PATH is none of version 17 or newer")
}

fn usable_java() -> Option<PathBuf> {
    find_on_path("java").filter(|java| major(&first_line(java, "-version")) >= OLDEST_JAVA)
}

/// From a line such as `openjdk version "17.0.19" 2026-04-21`.
fn major(line: &str) -> u32 {
    let version = line.split('"').nth(1).unwrap_or_default();
    version.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0)
}

/// The folder with all jars, which is there as a whole or not at all.
fn jars() -> Result<PathBuf> {
    let home = env::var_os("HOME").context("HOME is not set, so there is no place to keep Kafka")?;
    let cache = Path::new(&home).join(".cache/storeline");
    let folder = cache.join(format!("kafka-{VERSION}"));
    if folder.join(SERVER_JAR).is_file() {
        return Ok(folder);
    }
    println!("  fetching Apache Kafka {VERSION} into {} (once, 45 MiB)", folder.display());
    let unfinished = cache.join(format!("kafka-{VERSION}.{}", std::process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    let fetched = maven::fetch(&POM.replace("VERSION", VERSION), &unfinished).and_then(|()| {
        // Another run may have been quicker, and what it has is as good.
        if folder.join(SERVER_JAR).is_file() {
            return Ok(());
        }
        if !unfinished.join(SERVER_JAR).is_file() {
            bail!("Maven fetched no {SERVER_JAR}");
        }
        fs::remove_dir_all(&folder).ok();
        fs::rename(&unfinished, &folder).context("the jars cannot be put in their place")
    });
    fs::remove_dir_all(&unfinished).ok();
    fetched?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_from_its_first_line() {
        assert_eq!(major("openjdk version \"17.0.19\" 2026-04-21"), 17);
        assert_eq!(major("java version \"1.8.0_392\""), 1);
        assert_eq!(major("openjdk version \"25\" 2025-09-16"), 25);
        assert_eq!(major("version unknown"), 0);
    }
}
