//! The chart, played without a cluster: migrations, programs, `helm test` and the audit as processes of this machine, each
//! with exactly the command, the arguments and the variables of its rendered pod, on databases made with the guide's own
//! SQL and Secrets filled in as the guide lists them. So a variable that was renamed on one side alone fails here, not at
//! somebody's installation.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_servers::kafka::{Brokers, Options};
use local_servers::redis::Redis;
use serde_json::{Value, json};

use super::guide;
use super::manifests::{Manifests, Pod, list, text};
use super::matrix::{Case, KAFKA, POSTGRESQL, REDIS, peer};
use super::tools::HelmTools;
use super::{Given, NAMESPACE, template};
use crate::deploy::Exported;
use crate::rehearsal::{Stage, Start, answer, browse, finish, get, libpq, server_of};
use crate::target_folder;

/// As the chart calls the user by default.
const KAFKA_USER: &str = "storeline";
/// A virtual machine that starts on a busy machine.
const KAFKA_WITHIN: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);
/// With a database each.
const CONTEXTS: [&str; 5] = ["product", "inventory", "order", "payment", "saga"];

/// Keys and contents by the name of a Secret.
type Secrets = BTreeMap<String, BTreeMap<String, String>>;

/// Plays it. An error says what did not work.
pub fn run(root: &Path, tools: &HelmTools, given: &Given<'_>) -> Result<()> {
    let begin = Instant::now();
    let programs = target_folder()?.join("debug");
    let mut stage = Stage::new("chart", &programs)?;
    let password = random()?;
    let scram = Some((KAFKA_USER.to_owned(), password.clone()));
    let mut brokers = Brokers::start(given.servers.kafka.jars(), Options { scram, ..Options::default() })?;
    let redis = Redis::start(given.servers.redis.program())?;
    let manifests = render(root, tools, stage.folder(), &brokers.bootstrap())?;
    let secrets = make_secrets(root, given, &password, &redis.url())?;
    wait_for(&mut brokers)?;

    let pods = manifests.pods();
    let starts = |kind: &str| {
        let of_kind = pods.iter().filter(|pod| pod.kind == kind);
        let starts = of_kind.map(|pod| Ok((pod, start_of(&manifests, pod, &secrets, stage.folder())?)));
        starts.collect::<Result<Vec<_>>>()
    };
    let (jobs, programs, tests, audits) =
        (starts("Job")?, starts("Deployment")?, starts("Pod")?, starts("CronJob")?);
    for (pod, start) in &programs {
        stage.listen(start)?;
        every_port_is_listened_on(&stage, pod, start)?;
    }
    name_services(&mut stage, &manifests, &programs)?;
    for (_, job) in &jobs {
        stage.run_to_end(job)?;
    }
    let mut processes = Vec::new();
    for (pod, start) in &programs {
        processes.push((pod, start, stage.spawn(start)?));
    }
    for (pod, start, process) in &mut processes {
        let probe = &containers(pod)[0]["readinessProbe"];
        stage.wait_until_well(start, process, begin, || ask(&stage, pod, start, probe, given.grpcurl))?;
    }
    // `helm test`, and then what the CronJob would do.
    for (_, test) in &tests {
        stage.run_to_end(test)?;
    }
    for (pod, audit) in &audits {
        take_metrics(root, &mut stage, pod, audit)?;
    }
    let (_, gateway) = programs
        .iter()
        .find(|(_, start)| start.environment.contains_key("STORELINE_HTTP"))
        .context("nobody serves REST")?;
    browse(stage.listening_at(gateway, "STORELINE_HTTP").context("it serves REST")?)?;
    let counts = [jobs.len(), programs.len(), tests.len(), audits.len()];
    if counts.contains(&0) {
        bail!("the chart has jobs, programs, tests and audits: {counts:?}");
    }
    println!("rehearsal of the chart: {counts:?} pods in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Runs an audit, and takes its metrics as Prometheus would, for which it waits.
fn take_metrics(root: &Path, stage: &mut Stage<'_>, pod: &Pod<'_>, audit: &Start) -> Result<()> {
    let begin = Instant::now();
    stage.listen(audit)?;
    every_port_is_listened_on(stage, pod, audit)?;
    let port = container_port(pod, &json!("admin"))?;
    let address = stage.at(&audit.name, &port).context("every port is listened on")?.to_owned();
    let mut process = stage.spawn(audit)?;
    let taken = std::cell::RefCell::new(String::new());
    stage.wait_until_well(audit, &mut process, begin, || {
        let metrics = get(&address, "/metrics").unwrap_or_default();
        let is_there = !metrics.is_empty();
        taken.replace(metrics);
        Ok(if is_there { Ok(()) } else { Err("it shows no result".to_owned()) })
    })?;
    stage.wait_until_over(audit, &mut process, begin)?;
    let problems = Exported::read(root)?.check_scrape("the audit", &taken.into_inner());
    match problems.is_empty() {
        true => Ok(()),
        false => bail!("{}", problems.join("\n")),
    }
}

/// As somebody installs it for the first time, whose Kafka speaks without TLS: what stands for outside is real.
fn render(root: &Path, tools: &HelmTools, folder: &Path, brokers: &str) -> Result<Manifests> {
    let values = json!({
        "payment": { "provider": "simulator" },
        "postgresql": { "peers": [peer(POSTGRESQL)] },
        "kafka": {
            "brokers": brokers.split(',').collect::<Vec<_>>(), "peers": [peer(KAFKA)],
            "security": "sasl_plaintext", "username": KAFKA_USER,
            "partitions": 3, "replication": 1, "minInsync": 1,
        },
        "redis": { "peers": [peer(REDIS)] },
    });
    let case = Case { name: "rehearsal".to_owned(), size: Some("small"), values, linted: false };
    let path = folder.join("values.yaml");
    fs::write(&path, serde_json::to_vec_pretty(&case.values)?)?;
    match template(root, tools, &case, &path)? {
        Ok(text) => Manifests::parse(&text),
        Err(refusal) => bail!("helm template:\n{refusal}"),
    }
}

fn wait_for(brokers: &mut Brokers) -> Result<()> {
    let begin = Instant::now();
    while !brokers.is_ready()? {
        if begin.elapsed() > KAFKA_WITHIN {
            bail!("Kafka was not ready after {} s:\n{}", KAFKA_WITHIN.as_secs(), brokers.log(0)?);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// What the container of a pod would run, with its Secrets as files.
fn start_of(manifests: &Manifests, pod: &Pod<'_>, secrets: &Secrets, folder: &Path) -> Result<Start> {
    let owner = &pod.owner;
    let [container] = containers(pod)[..] else { bail!("{owner} has not one container") };
    let elsewhere = list(&container["env"]).any(|variable| !variable["valueFrom"].is_null())
        || list(&container["envFrom"]).any(|source| source["configMapRef"].is_null());
    if elsewhere {
        bail!("{owner}: a variable comes neither from the pod nor from a ConfigMap");
    }
    let name = owner.replace('/', "-").to_lowercase();
    let mut mounts = Vec::new();
    for mount in list(&container["volumeMounts"]) {
        let volume = list(&pod.spec["volumes"]).find(|volume| volume["name"] == mount["name"]);
        let volume = volume.with_context(|| format!("{owner} mounts a volume that it has not"))?;
        let Some(secret) = volume["secret"]["secretName"].as_str() else { continue };
        let known =
            secrets.get(secret).with_context(|| format!("{owner}: nobody makes the Secret {secret}"))?;
        let here = folder.join(format!("{name}-{}", text(&mount["name"])));
        fs::create_dir_all(&here)?;
        for (key, file) in items(&volume["secret"], known) {
            let content = known.get(&key).with_context(|| format!("{owner}: {secret} has no key {key}"))?;
            fs::write(here.join(file), content)?;
        }
        mounts.push((text(&mount["mountPath"]).to_owned(), here));
    }
    let words = list(&container["command"]).chain(list(&container["args"]));
    Ok(Start {
        name,
        words: words.map(|word| text(word).to_owned()).collect(),
        environment: manifests.environment(container),
        mounts,
    })
}

/// The keys of a Secret that are mounted, each with its file: all, unless some are named.
fn items(volume: &Value, known: &BTreeMap<String, String>) -> Vec<(String, String)> {
    match volume["items"].is_array() {
        true => list(&volume["items"])
            .map(|item| (text(&item["key"]).to_owned(), text(&item["path"]).to_owned()))
            .collect(),
        false => known.keys().map(|key| (key.clone(), key.clone())).collect(),
    }
}

fn containers<'a>(pod: &'a Pod<'_>) -> Vec<&'a Value> {
    pod.containers().collect()
}

fn every_port_is_listened_on(stage: &Stage<'_>, pod: &Pod<'_>, start: &Start) -> Result<()> {
    for port in list(&containers(pod)[0]["ports"]) {
        let number = port["containerPort"].to_string();
        if stage.at(&start.name, &number).is_none() {
            bail!("{}: no variable has its program listen on {number}", pod.owner);
        }
    }
    Ok(())
}

/// The names by which programs find each other become the addresses of those behind them.
fn name_services(stage: &mut Stage<'_>, manifests: &Manifests, programs: &[(&Pod<'_>, Start)]) -> Result<()> {
    for service in manifests.of_kind("Service") {
        let name = text(&service["metadata"]["name"]);
        let behind = programs.iter().find(|(pod, _)| pod.matches(&service["spec"]["selector"]));
        let (pod, start) = behind.with_context(|| format!("nobody is behind the Service {name}"))?;
        for port in list(&service["spec"]["ports"]) {
            let number = container_port(pod, &port["targetPort"])?;
            let here = stage.at(&start.name, &number).context("every port is listened on")?.to_owned();
            for host in [name.to_owned(), format!("{name}.{NAMESPACE}.svc.cluster.local.")] {
                stage.replace(format!("{host}:{}", port["port"]), here.clone());
            }
        }
    }
    Ok(())
}

/// The number of a port that is named, or numbered.
fn container_port(pod: &Pod<'_>, port: &Value) -> Result<String> {
    let found = list(&containers(pod)[0]["ports"])
        .find(|known| known["name"] == *port || known["containerPort"] == *port)
        .map(|known| known["containerPort"].to_string());
    found.with_context(|| format!("{} has no port {port}", pod.owner))
}

/// Asks as the kubelet would.
fn ask(
    stage: &Stage<'_>,
    pod: &Pod<'_>,
    start: &Start,
    probe: &Value,
    grpcurl: &Path,
) -> Result<std::result::Result<(), String>> {
    let at = |port: &Value| -> Result<String> {
        let number = container_port(pod, port)?;
        Ok(stage.at(&start.name, &number).context("every port is listened on")?.to_owned())
    };
    if probe["httpGet"].is_object() {
        let address = at(&probe["httpGet"]["port"])?;
        return Ok(get(&address, text(&probe["httpGet"]["path"]))
            .map(|_| ())
            .map_err(|error| format!("{error:#}")));
    }
    let address = at(&probe["grpc"]["port"])?;
    let asked = json!({ "service": probe["grpc"]["service"] }).to_string();
    let mut command = Command::new(grpcurl);
    command.args(["-plaintext", "-d", &asked, &address, "grpc.health.v1.Health/Check"]);
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(if said.contains("\"SERVING\"") { Ok(()) } else { Err(said) })
}

/// Databases with the guide's SQL, and what the guide puts into each Secret.
fn make_secrets(root: &Path, given: &Given<'_>, kafka: &str, redis: &str) -> Result<Secrets> {
    let url = given.servers.postgres.url();
    let (_, server) = server_of(&url)?;
    let sql = guide::block(root, "sql", "CREATE ROLE order_owner")?;
    let mut secrets = Secrets::new();
    let (operator, service, mut put) =
        (random()?, random()?, |secret: String, key: &str, content: String| {
            secrets.entry(secret).or_default().insert(key.to_owned(), content);
        });
    put("shop-operator".to_owned(), "operator.token", operator.clone());
    put("shop-api-gateway".to_owned(), "redis.url", redis.to_owned());
    put("shop-product-service".to_owned(), "redis.url", redis.to_owned());
    put("shop-order-service".to_owned(), "order-token.keys", random()?);
    put("shop-order-service".to_owned(), "personal-data.keys", random()?);
    for context in CONTEXTS {
        let (owner, app) = (random()?, random()?);
        make_database(given, context, &sql, [&owner, &app])?;
        let url = |role: &str, password: &str| {
            format!("postgres://{context}_{role}:{password}@{server}/storeline_{context}")
        };
        let program =
            if context == "saga" { "saga-orchestrator".to_owned() } else { format!("{context}-service") };
        let (own, migrate) = (format!("shop-{program}"), format!("shop-{program}-migrate"));
        put(own.clone(), "database.url", url("app", &app));
        put(own.clone(), "operator.tokens", operator.clone());
        put(own.clone(), "service.tokens", service.clone());
        put(own, "kafka.password", kafka.to_owned());
        put(migrate.clone(), "database.url", url("app", &app));
        put(migrate, "owner.url", url("owner", &owner));
        put("shop-operator".to_owned(), &format!("{context}.url"), url("app", &app));
    }
    Ok(secrets)
}

/// Runs the guide's SQL for one service, with passwords of its owner and of its app in place of the dots. What the
/// rehearsal of the composition left on the same server goes first.
fn make_database(given: &Given<'_>, context: &str, sql: &str, passwords: [&str; 2]) -> Result<()> {
    let psql = || -> Result<Command> {
        let mut command = Command::new(given.servers.postgres.programs().join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres"]);
        command.envs(libpq(&given.servers.postgres.url())?);
        Ok(command)
    };
    let mut clean = psql()?;
    for statement in [
        format!("DROP DATABASE IF EXISTS storeline_{context} WITH (FORCE)"),
        format!("DROP ROLE IF EXISTS {context}_owner, {context}_app"),
    ] {
        clean.args(["--command", &statement]);
    }
    finish(&mut clean)?;
    let [owner, app] = passwords;
    let sql = sql
        .replace("order_", &format!("{context}_"))
        .replace("storeline_order", &format!("storeline_{context}"));
    let sql = sql.replacen("'...'", &format!("'{owner}'"), 1).replacen("'...'", &format!("'{app}'"), 1);
    let script = std::env::temp_dir().join(format!("storeline-guide-{}-{context}.sql", std::process::id()));
    fs::write(&script, sql)?;
    let made = answer(psql()?.arg("--file").arg(&script))?;
    fs::remove_file(&script)?;
    made.map_err(|said| anyhow::anyhow!("the guide's SQL for {context}: {said}"))
}

/// 64 hexadecimal digits.
fn random() -> Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use local_servers::Folder;

    use super::*;

    const RENDERED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: shop-a }
data: { STORELINE_GRPC: '0.0.0.0:50051' }
---
kind: Deployment
metadata: { name: shop-a }
spec:
  template:
    spec:
      containers:
        - name: a
          command: [a-service]
          args: [serve]
          envFrom: [{ configMapRef: { name: shop-a } }]
          env: [{ name: TOKEN_FILE, value: /run/secrets/storeline/token }]
          ports: [{ name: grpc, containerPort: 50051 }]
          volumeMounts: [{ name: secrets, mountPath: /run/secrets/storeline }]
      volumes:
        - name: secrets
          secret: { secretName: shop-a, items: [{ key: token, path: token }] }
";

    fn started(rendered: &str, key: &str) -> Result<(Start, Folder)> {
        let folder = Folder::new("chart-test")?;
        let secrets = [("shop-a".to_owned(), [(key.to_owned(), "t".to_owned())].into())].into();
        let manifests = Manifests::parse(rendered)?;
        let pods = manifests.pods();
        Ok((start_of(&manifests, &pods[0], &secrets, folder.path())?, folder))
    }

    #[test]
    fn a_pod_becomes_its_words_its_variables_and_its_secrets_as_files() {
        let (start, _folder) = started(RENDERED, "token").unwrap();
        assert_eq!(start.words, ["a-service", "serve"]);
        let set: Vec<(&str, &str)> =
            start.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let token = ("TOKEN_FILE", "/run/secrets/storeline/token");
        assert_eq!(set, [("STORELINE_GRPC", "0.0.0.0:50051"), token]);
        let [(there, here)] = start.mounts.as_slice() else { panic!("{:?}", start.mounts) };
        assert_eq!(there, "/run/secrets/storeline");
        assert_eq!(fs::read_to_string(here.join("token")).unwrap(), "t");
    }

    #[test]
    fn what_nobody_would_fill_in_and_what_nobody_listens_on_is_told() {
        assert!(started(RENDERED, "tokens").is_err(), "a key that is not in the Secret");
        let from_secret =
            RENDERED.replace("value: /run/secrets/storeline/token", "valueFrom: { secretKeyRef: {} }");
        assert!(started(&from_secret, "token").is_err(), "a variable from a Secret");
        for (rendered, good) in [
            (RENDERED.to_owned(), true),
            (RENDERED.replace("containerPort: 50051", "containerPort: 50052"), false),
            (RENDERED.replace("0.0.0.0:50051", "127.0.0.1:50051"), false),
        ] {
            let (start, _folder) = started(&rendered, "token").unwrap();
            let mut stage = Stage::new("chart-test", Path::new("/bin")).unwrap();
            stage.listen(&start).unwrap();
            let manifests = Manifests::parse(&rendered).unwrap();
            let listened = every_port_is_listened_on(&stage, &manifests.pods()[0], &start);
            assert_eq!(listened.is_ok(), good, "{rendered}");
        }
    }
}
