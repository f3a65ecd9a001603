//! Network policies, read as arrows from pods to ports, and held against the arrows of the architecture: each must be there
//! at both of its ends, and no other may be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::manifests::{Manifests, list, name, text};
use super::matrix::{GRPC_CLIENTS, KAFKA, PAYMENTS, POSTGRESQL, REDIS, TRACING};
use super::{Problems, RELEASE};

const GATEWAY: &str = "api-gateway";
/// With the port of each one's gRPC.
const SERVICES: [(&str, u64); 5] = [
    ("product-service", 50051),
    ("inventory-service", 50052),
    ("order-service", 50053),
    ("payment-service", 50054),
    ("saga-orchestrator", 50055),
];
const REST: u64 = 8080;
const ADMIN: u64 = 9464;
const DNS: u64 = 53;
const HTTPS: u64 = 443;
/// Who has its cache or its counters in Redis.
const REDIS_USERS: [&str; 2] = [GATEWAY, "product-service"];
/// Policies about no component: nothing at all, and what a mesh adds.
const WHOLE: [&str; 2] = ["default-deny", "mesh"];

/// From, to, port; whom the arrow belongs to stands first in `Seen`.
type Arrow = (String, String, u64);

/// What policies allow, by the end that they are written at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    ingress: BTreeSet<Arrow>,
    egress: BTreeSet<Arrow>,
}

pub fn check(manifests: &Manifests, values: &Value) -> Problems {
    if values["networkPolicy"]["enabled"] == false {
        let left = manifests.of_kind("NetworkPolicy").count();
        return if left == 0 { Problems::new() } else { vec!["policies are off and there".to_owned()] };
    }
    let mut problems = identities(manifests);
    let mut seen = Seen::default();
    for policy in manifests.of_kind("NetworkPolicy") {
        problems.extend(read(policy, &mut seen));
    }
    let inside = manifests.pods().iter().any(|pod| pod.kind == "StatefulSet");
    problems.extend(denies_by_default(manifests));
    let expected = expected(values, inside);
    for (end, found, wanted) in
        [("ingress", &seen.ingress, &expected.ingress), ("egress", &seen.egress, &expected.egress)]
    {
        for (from, to, port) in found.difference(wanted) {
            problems.push(format!("{end}: {from} -> {to}:{port} is no arrow of the architecture"));
        }
        for (from, to, port) in wanted.difference(found) {
            problems.push(format!("{end}: {from} -> {to}:{port} is missing"));
        }
    }
    problems
}

/// What a mesh allows by identity is what network policies allow by labels, where both know who calls: between the
/// release's own pods. And one policy denies the rest.
fn identities(manifests: &Manifests) -> Problems {
    let policies: Vec<&Value> = manifests.of_kind("AuthorizationPolicy").collect();
    if policies.is_empty() {
        return Problems::new();
    }
    let mut problems = Problems::new();
    if !policies.iter().any(|policy| policy["spec"]["rules"].is_null() && policy["spec"]["action"] == "ALLOW")
    {
        problems.push("no policy of the mesh denies by default".to_owned());
    }
    let mut allowed: BTreeSet<(String, String, String)> = BTreeSet::new();
    for policy in &policies {
        let to = text(&policy["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]);
        for rule in list(&policy["spec"]["rules"]) {
            let sources = list(&rule["from"]).flat_map(|from| list(&from["source"]["principals"]));
            for (_, account) in sources.filter_map(|principal| text(principal).rsplit_once("/sa/")) {
                // Others than the release's accounts are whom the values name.
                if manifests.get("ServiceAccount", account).is_none() {
                    continue;
                }
                for port in list(&rule["to"]).flat_map(|to| list(&to["operation"]["ports"])) {
                    allowed.insert((account.to_owned(), to.to_owned(), text(port).to_owned()));
                }
            }
        }
    }
    let mut known = Seen::default();
    for policy in manifests.of_kind("NetworkPolicy") {
        problems.extend(read(policy, &mut known));
    }
    for (from, to, port) in &known.ingress {
        let account = manifests
            .pods()
            .iter()
            .find(|pod| pod.labels["app.kubernetes.io/component"] == from.as_str() && pod.kind != "Job")
            .map(|pod| text(&pod.spec["serviceAccountName"]).to_owned());
        let port = port.to_string();
        // Who has no pod here comes from outside. REST and metrics are open to whoever the network lets in.
        let Some(account) = account.filter(|_| ![REST, ADMIN].iter().any(|open| open.to_string() == port))
        else {
            continue;
        };
        let arrow = (account, to.clone(), port);
        if !allowed.remove(&arrow) {
            problems.push(format!("mesh: {} may not call {to}:{}", arrow.0, arrow.2));
        }
    }
    problems.extend(
        allowed.iter().map(|(from, to, port)| format!("mesh: {from} may call {to}:{port}, and no pod may")),
    );
    problems
}

/// One policy selects every pod and allows nothing.
fn denies_by_default(manifests: &Manifests) -> Problems {
    let denying = manifests.of_kind("NetworkPolicy").find(|policy| {
        let spec = &policy["spec"];
        let nothing = spec["ingress"].is_null() && spec["egress"].is_null();
        nothing && spec["policyTypes"] == serde_json::json!(["Ingress", "Egress"])
    });
    let Some(denying) = denying else { return vec!["no policy denies by default".to_owned()] };
    let labels = &denying["spec"]["podSelector"]["matchLabels"];
    let pods = manifests.pods();
    let free = pods.iter().filter(|pod| !pod.matches(labels));
    free.map(|pod| format!("{}: no policy is about it", pod.owner)).collect()
}

fn read(policy: &Value, seen: &mut Seen) -> Problems {
    let own = text(&policy["metadata"]["labels"]["app.kubernetes.io/component"]);
    if WHOLE.iter().any(|whole| text(&policy["metadata"]["name"]).ends_with(whole)) {
        return Problems::new();
    }
    let mut problems = Problems::new();
    if policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] != own {
        problems.push(format!("{}: it is about others than its name says", name(policy)));
    }
    for (direction, peers, arrows) in
        [("ingress", "from", &mut seen.ingress), ("egress", "to", &mut seen.egress)]
    {
        for rule in list(&policy["spec"][direction]) {
            if list(&rule[peers]).next().is_none() || list(&rule["ports"]).next().is_none() {
                problems.push(format!("{}: an {direction} rule is open to all", name(policy)));
            }
            for port in list(&rule["ports"]) {
                let port = port["port"].as_u64().unwrap_or_default();
                for other in list(&rule[peers]).map(who) {
                    let own = own.to_owned();
                    let (from, to) = if direction == "egress" { (own, other) } else { (other, own) };
                    arrows.insert((from, to, port));
                }
            }
        }
    }
    problems
}

/// A peer by the name that the architecture knows it by.
fn who(peer: &Value) -> String {
    if let Some(cidr) = peer["ipBlock"]["cidr"].as_str() {
        let known = [
            (POSTGRESQL, "postgresql"),
            (KAFKA, "kafka"),
            (REDIS, "redis"),
            (TRACING, "collector"),
            (GRPC_CLIENTS, "grpc-clients"),
            (PAYMENTS, "payment-provider"),
            ("10.0.0.0/8", "clients"),
            ("169.254.171.0/24", "clients"),
            ("169.254.20.10/32", "dns"),
        ];
        return known.iter().find(|(block, _)| *block == cidr).map_or(cidr, |(_, name)| name).to_owned();
    }
    let labels = &peer["podSelector"]["matchLabels"];
    if labels["app.kubernetes.io/instance"] == RELEASE && labels["app.kubernetes.io/name"] == "storeline" {
        return text(&labels["app.kubernetes.io/component"]).to_owned();
    }
    match text(&peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]) {
        "kube-system" if labels["k8s-app"] == "kube-dns" => "dns".to_owned(),
        "monitoring" => "prometheus".to_owned(),
        _ => peer.to_string(),
    }
}

/// The arrows of the architecture, as far as the values ask for them.
fn expected(values: &Value, inside: bool) -> Seen {
    let mut seen = Seen::default();
    let traced = values["tracing"]["enabled"] == true;
    let redis = values["redis"]["enabled"] != false;
    let routed = values["gatewayApi"]["grpc"]["enabled"] == true;
    let mut out = |from: &str, to: &str, port| {
        seen.egress.insert((from.to_owned(), to.to_owned(), port));
    };
    let mut into = |from: &str, to: &str, port| {
        seen.ingress.insert((from.to_owned(), to.to_owned(), port));
    };
    let programs: Vec<&str> = match inside {
        true => vec!["shop"],
        false => SERVICES.iter().map(|(service, _)| *service).chain([GATEWAY]).collect(),
    };
    for program in &programs {
        out(program, "dns", DNS);
        into("prometheus", program, ADMIN);
        if traced {
            out(program, "collector", 4317);
        }
    }
    out("operator", "dns", DNS);
    let rest = if inside { "shop" } else { GATEWAY };
    into("clients", rest, REST);
    into("operator", rest, REST);
    out("operator", rest, REST);
    for (service, port) in SERVICES {
        let server = if inside { "shop" } else { service };
        into("operator", server, port);
        out("operator", server, port);
        if routed {
            into("grpc-clients", server, port);
        }
        if !inside {
            into(GATEWAY, service, port);
            out(GATEWAY, service, port);
            out(service, "postgresql", 5432);
            out(service, "kafka", 9096);
        }
    }
    if inside {
        out("shop", "postgres", 5432);
        into("shop", "postgres", 5432);
        return seen;
    }
    into("prometheus", "operator", ADMIN);
    if let Some(port) = values["payment"]["peers"][0].is_object().then(|| &values["payment"]["port"]) {
        out("payment-service", "payment-provider", port.as_u64().unwrap_or(HTTPS));
    }
    for job in ["migrate", "operator"] {
        out(job, "dns", DNS);
        out(job, "postgresql", 5432);
    }
    for user in REDIS_USERS.iter().filter(|_| redis) {
        out(user, "redis", 6379);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_is_read_from_either_end() {
        let policy = serde_json::json!({
            "kind": "NetworkPolicy",
            "metadata": { "name": "shop-order-service", "labels": { "app.kubernetes.io/component": "order-service" } },
            "spec": {
                "podSelector": { "matchLabels": { "app.kubernetes.io/component": "order-service" } },
                "ingress": [{ "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } }],
                    "ports": [{ "port": 9464 }] }],
                "egress": [{ "to": [{ "ipBlock": { "cidr": KAFKA } }], "ports": [{ "port": 9096 }] }, { "to": [] }],
            },
        });
        let mut seen = Seen::default();
        assert_eq!(read(&policy, &mut seen).len(), 1, "the last rule is open to all");
        let arrow = |from: &str, to: &str, port| (from.to_owned(), to.to_owned(), port);
        assert_eq!(
            seen.ingress.into_iter().collect::<Vec<_>>(),
            [arrow("prometheus", "order-service", 9464)]
        );
        assert_eq!(seen.egress.into_iter().collect::<Vec<_>>(), [arrow("order-service", "kafka", 9096)]);
    }
}
