//! With which values the chart is rendered: every size, every flag on and off alone and with all others, every mesh and
//! every way to Kafka; and which values it must refuse, each with a word of the reason.

use std::fmt;

use serde_json::{Value, json};

/// One set of values.
pub struct Case {
    pub name: String,
    /// A file of sizes/ that comes first.
    pub size: Option<&'static str>,
    pub values: Value,
    pub linted: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.name)
    }
}

/// Where the outside world is in every rendering, so that arrows to it can be told apart.
pub const POSTGRESQL: &str = "10.1.0.0/16";
pub const KAFKA: &str = "10.2.0.0/16";
pub const REDIS: &str = "10.3.0.0/16";
pub const TRACING: &str = "10.4.0.0/16";
pub const GRPC_CLIENTS: &str = "10.5.0.0/16";
pub const PAYMENTS: &str = "10.6.0.0/16";

const SIZES: [&str; 3] = ["trial", "small", "large"];
pub const MESHES: [&str; 4] = ["none", "istio-ambient", "linkerd", "vpc-lattice"];
const SECURITY: [&str; 4] = ["plaintext", "tls", "sasl_plaintext", "sasl_tls"];

/// What sizes leave to whoever installs.
fn base() -> Value {
    json!({
        "payment": { "provider": "simulator" },
        "postgresql": { "peers": [peer(POSTGRESQL)] },
        "kafka": { "brokers": ["b-1.kafka.example:9096", "b-2.kafka.example:9096"], "peers": [peer(KAFKA)] },
        "redis": { "peers": [peer(REDIS)] },
        "tracing": { "endpoint": "http://collector.example:4317", "peers": [peer(TRACING)] },
        "autoscaling": { "keda": { "prometheus": "http://prometheus.example:9090" } },
        "gatewayApi": { "className": "istio", "grpc": { "from": [peer(GRPC_CLIENTS)] } },
        "secrets": { "external": { "store": "aws" } },
    })
}

pub fn peer(cidr: &str) -> Value {
    json!({ "ipBlock": { "cidr": cidr } })
}

/// Each switch of the chart: how it is put on and off.
fn flags(size: &str) -> Vec<(&'static str, Value, Value)> {
    let enabled = |path: &str, with: Value| {
        let on = overlaid(nested(path, json!({ "enabled": true })), &nested(path, with));
        (on, nested(path, json!({ "enabled": false })))
    };
    let flag = |name, path: &str, with: Value| {
        let (on, off) = enabled(path, with);
        (name, on, off)
    };
    let mut flags = vec![
        flag("redis", "redis", json!({})),
        flag("external", "secrets.external", json!({})),
        flag("policies", "networkPolicy", json!({})),
        flag("tracing", "tracing", json!({})),
        flag("monitor", "monitoring.serviceMonitor", json!({})),
        flag("dashboards", "monitoring.dashboards", json!({})),
        flag(
            "ingress",
            "ingress",
            json!({ "certificateArn": "arn:aws:acm:eu-west-1:1:certificate/a", "host": "shop.example" }),
        ),
        flag("routes", "gatewayApi", json!({ "create": true, "hostnames": ["shop.example"] })),
        flag("grpc", "gatewayApi.grpc", json!({ "hostnames": ["grpc.shop.example"] })),
        flag("autoscaling", "autoscaling", json!({})),
        flag("keda", "autoscaling.keda", json!({})),
        (
            "scheduling",
            json!({ "scheduling": { "nodeSelector": { "a": "b" }, "priorityClassName": "high",
            "tolerations": [{ "key": "a", "operator": "Exists" }] }, "image": { "pullSecrets": [{ "name": "r" }] },
            "logFilter": "info", "drainSeconds": 60, "fullnameOverride": "storefront" }),
            json!({}),
        ),
    ];
    if size != "trial" {
        flags.push(flag(
            "rules",
            "monitoring.prometheusRule",
            json!({ "runbooks": "https://git.example/runbooks/" }),
        ));
        flags.push(flag("audit", "audit", json!({})));
        flags.push((
            "provider",
            json!({ "payment": { "peers": [peer(PAYMENTS)], "port": 8443 } }),
            json!({}),
        ));
        flags.push(("database-ca", json!({ "postgresql": { "caConfigMap": "rds-ca" } }), json!({})));
        flags.push((
            "redis-ca",
            json!({ "redis": { "caConfigMap": "cache-ca", "keyPrefix": "eu:" } }),
            json!({}),
        ));
        flags.push(("restored", json!({ "migration": { "raiseIncarnation": true } }), json!({})));
        flags.push(("names", json!({ "services": { "order-service": { "existingSecret": "mine",
            "existingMigrateSecret": "mine-too", "replicas": 1, "env": { "GRPC_MAX_CALLS": 100 },
            "podAnnotations": { "a": "b" }, "serviceAccount": { "annotations": { "eks.amazonaws.com/role-arn": "arn" } } } },
            "kafka": { "caConfigMap": "brokers-ca", "topicPrefix": "eu.", "groupProtocol": "consumer" } }), json!({})));
    }
    flags
}

/// Every set of values that must render.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        let mut add = |name: &str, values: Value, linted| {
            let values = overlaid(base(), &values);
            cases.push(Case { name: format!("{size}-{name}"), size: Some(size), values, linted });
        };
        let flags = flags(size);
        let all = |on: bool| {
            flags.iter().fold(json!({}), |values, flag| overlaid(values, if on { &flag.1 } else { &flag.2 }))
        };
        add("default", json!({}), true);
        add("all-on", all(true), true);
        add("all-off", all(false), true);
        for (name, on, off) in &flags {
            add(&format!("only-{name}"), overlaid(all(false), on), false);
            add(&format!("without-{name}"), overlaid(all(true), off), false);
        }
        for mesh in MESHES {
            let lattice =
                json!({ "gatewayApi": { "enabled": true, "create": true, "grpc": { "enabled": false } } });
            let values =
                json!({ "mesh": { "provider": mesh, "callers": ["cluster.local/ns/ingress/sa/gateway"] } });
            let with = if mesh == "vpc-lattice" { overlaid(all(true), &lattice) } else { all(true) };
            add(&format!("mesh-{mesh}"), overlaid(with, &values), false);
        }
        for security in SECURITY {
            add(&format!("kafka-{security}"), json!({ "kafka": { "security": security } }), false);
        }
    }
    cases
}

/// Every set of values that must be refused, with a word of what is said then.
pub fn refused() -> Vec<(Case, &'static str)> {
    let cases = [
        ("a name that nobody knows", json!({ "replicaCount": 3 }), "replicaCount"),
        ("a service that is not there", json!({ "services": { "cart-service": {} } }), "cart-service"),
        (
            "a service's unknown value",
            json!({ "services": { "order-service": { "replica": 1 } } }),
            "replica",
        ),
        ("a number in words", json!({ "serviceDefaults": { "replicas": "two" } }), "replicas"),
        ("no replicas", json!({ "serviceDefaults": { "replicas": 0 } }), "replicas"),
        ("no payment provider", json!({ "payment": { "provider": "" } }), "payment.provider"),
        ("a payment provider that is not there", json!({ "payment": { "provider": "free" } }), "provider"),
        ("App Mesh", json!({ "mesh": { "provider": "app-mesh" } }), "provider"),
        ("an image of Bitnami's", json!({ "image": { "repository": "bitnami/storeline" } }), "repository"),
        ("the newest image, whichever that is", json!({ "image": { "tag": "latest" } }), "tag"),
        ("no brokers", json!({ "kafka": { "brokers": [] } }), "kafka.brokers"),
        ("a broker without a port", json!({ "kafka": { "brokers": ["kafka"] } }), "brokers"),
        ("groups that divide themselves", json!({ "kafka": { "groupProtocol": "self" } }), "groupProtocol"),
        ("SCRAM without a user", json!({ "kafka": { "username": "" } }), "kafka.username"),
        ("more in sync than there are", json!({ "kafka": { "minInsync": 4 } }), "kafka.minInsync"),
        ("a database anywhere", json!({ "postgresql": { "peers": [] } }), "postgresql.peers"),
        ("brokers anywhere", json!({ "kafka": { "peers": [] } }), "kafka.peers"),
        ("Redis anywhere", json!({ "redis": { "peers": [] } }), "redis.peers"),
        ("a peer that is none", json!({ "redis": { "peers": [{}] } }), "peers"),
        ("a variable in small letters", json!({ "serviceDefaults": { "env": { "a-b": "c" } } }), "a-b"),
        (
            "lag without Prometheus",
            json!({ "autoscaling": { "enabled": true, "keda": { "enabled": true, "prometheus": "" } } }),
            "autoscaling.keda.prometheus",
        ),
        ("Lattice without routes", json!({ "mesh": { "provider": "vpc-lattice" } }), "gatewayApi.enabled"),
        (
            "the all-in-one with the services' alerts",
            json!({ "allInOne": { "enabled": true } }),
            "prometheusRule",
        ),
        ("routes to nowhere", json!({ "gatewayApi": { "enabled": true } }), "gatewayApi.parentRefs"),
        (
            "external secrets from nowhere",
            json!({ "secrets": { "external": { "enabled": true, "store": "" } } }),
            "store",
        ),
        ("a drain of no time", json!({ "drainSeconds": 0 }), "drainSeconds"),
    ];
    let case = |(name, values, word): (&str, Value, &'static str)| {
        let values = overlaid(base(), &values);
        (Case { name: name.to_owned(), size: Some("small"), values, linted: false }, word)
    };
    cases.into_iter().map(case).collect()
}

/// `a.b` with `value` as `{ a: { b: value } }`.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| json!({ key: value }))
}

/// `over` on top of `under`, as Helm puts values files on top of each other.
fn overlaid(mut under: Value, over: &Value) -> Value {
    if let (Value::Object(below), Value::Object(above)) = (&mut under, over) {
        for (key, value) in above {
            let merged = match below.remove(key) {
                Some(known) => overlaid(known, value),
                None => value.clone(),
            };
            below.insert(key.clone(), merged);
        }
        return under;
    }
    over.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_on_top_of_each_other_key_by_key() {
        let under = json!({ "a": { "b": 1, "c": [1] }, "d": 2 });
        let over = json!({ "a": { "c": [2] }, "e": {} });
        assert_eq!(overlaid(under, &over), json!({ "a": { "b": 1, "c": [2] }, "d": 2, "e": {} }));
        assert_eq!(nested("a.b", json!(1)), json!({ "a": { "b": 1 } }));
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut names: Vec<String> = cases().iter().map(ToString::to_string).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
