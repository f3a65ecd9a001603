//! A database for every service of a cluster, each with an owner, who migrates it, and a role that may append and no
//! more, as in production; and the secrets that the services share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use super::SERVICES;

/// The folder with psql.
const POSTGRES_BIN: &str = "STORELINE_TEST_POSTGRES_BIN";

/// The databases. They go with this value if their server still answers.
#[derive(Debug)]
pub(super) struct Databases {
    superuser: String,
    secrets: Secrets,
    /// By service.
    each: BTreeMap<&'static str, Database>,
}

/// What nobody else may know. Made anew for every cluster.
#[derive(Debug)]
pub(super) struct Secrets {
    pub operator: String,
    pub service: String,
    pub order_tokens: String,
    pub personal_data: String,
}

#[derive(Debug)]
struct Database {
    name: String,
    url: String,
    owner_url: String,
}

impl Databases {
    /// Makes them empty.
    pub(super) async fn make(superuser: &str) -> Result<Self> {
        let (_, place) = superuser.rsplit_once('@').context("the URL of PostgreSQL names no user")?;
        let server = place.split('/').next().unwrap_or_default();
        let cluster = Uuid::new_v4().simple().to_string();
        let mut each = BTreeMap::new();
        let mut statements = Vec::new();
        for service in SERVICES {
            let name = format!("storeline_{}_{service}", &cluster[..12]);
            let password = secret();
            for role in ["owner", "app"] {
                statements.push(format!("CREATE ROLE {name}_{role} LOGIN PASSWORD '{password}'"));
            }
            statements.push(format!("CREATE DATABASE {name} OWNER {name}_owner"));
            let url = |role: &str| format!("postgres://{name}_{role}:{password}@{server}/{name}");
            each.insert(service, Database { url: url("app"), owner_url: url("owner"), name: name.clone() });
        }
        let databases = Self {
            superuser: superuser.to_owned(),
            secrets: Secrets {
                operator: secret(),
                service: secret(),
                order_tokens: secret(),
                personal_data: secret(),
            },
            each,
        };
        let output = tokio::process::Command::from(psql(superuser, &statements)).output().await;
        let output = output.with_context(|| format!("psql does not run; {POSTGRES_BIN} names its folder"))?;
        if !output.status.success() {
            bail!("the databases cannot be made: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(databases)
    }

    /// As the role that may append.
    pub(super) fn url(&self, service: &str) -> String {
        self.of(service).url.clone()
    }

    /// As the role that migrates.
    pub(super) fn owner_url(&self, service: &str) -> String {
        self.of(service).owner_url.clone()
    }

    /// A statement in a service's database as its owner, ready to run; it prints bare rows.
    pub(super) fn statement(&self, service: &str, statement: &str) -> Command {
        let mut command = psql(&self.of(service).owner_url, &[statement.to_owned()]);
        command.args(["--tuples-only", "--no-align"]);
        command
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    fn of(&self, service: &str) -> &Database {
        self.each.get(service).unwrap_or_else(|| panic!("there is no service {service}"))
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        let mut statements = Vec::new();
        for Database { name, .. } in self.each.values() {
            statements.push(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
            statements.extend(["owner", "app"].map(|role| format!("DROP ROLE IF EXISTS {name}_{role}")));
        }
        // The server may be gone already, and what stays behind is a nuisance and no failure.
        psql(&self.superuser, &statements).output().ok();
    }
}

/// Each statement in a transaction of its own.
fn psql(url: &str, statements: &[String]) -> Command {
    let folder = std::env::var_os(POSTGRES_BIN).map(PathBuf::from).unwrap_or_default();
    let mut command = Command::new(folder.join("psql"));
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", url]);
    for statement in statements {
        command.args(["--command", statement]);
    }
    command.stdin(Stdio::null());
    command
}

/// 64 hexadecimal digits.
fn secret() -> String {
    let half = || Uuid::new_v4().simple().to_string();
    half() + &half()
}
