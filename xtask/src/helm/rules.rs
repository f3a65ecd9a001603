//! The rules that every pod keeps, and that what names something names something that is there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Problems;
use super::environment::Facts;
use super::manifests::{Manifests, Pod, list, name, text};

pub fn check(manifests: &Manifests, facts: &Facts) -> Problems {
    let mut problems = Problems::new();
    for pod in manifests.pods() {
        let mut found = pod_rules(&pod);
        for container in pod.containers() {
            found.extend(container_rules(&pod, container));
            if pod.is_long_running() {
                found.extend(probes(container, facts));
                found.extend(stops_in_time(manifests, &pod, container, facts));
            }
        }
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", pod.owner)));
    }
    problems.extend(names(manifests));
    problems
}

fn pod_rules(pod: &Pod<'_>) -> Problems {
    let security = &pod.spec["securityContext"];
    let mut problems = Problems::new();
    let mut rule = |kept: bool, problem: &str| {
        if !kept {
            problems.push(problem.to_owned());
        }
    };
    rule(security["runAsNonRoot"] == true, "its pod may run as root");
    rule(security["runAsUser"].as_u64().is_some_and(|user| user > 0), "its pod names no user");
    rule(security["seccompProfile"]["type"] == "RuntimeDefault", "its pod has no seccomp profile");
    rule(pod.spec["automountServiceAccountToken"] == false, "it gets a token of Kubernetes");
    rule(!text(&pod.spec["serviceAccountName"]).is_empty(), "it names no service account");
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        rule(pod.spec[host].is_null(), "it shares something with its node");
    }
    for volume in list(&pod.spec["volumes"]) {
        rule(volume["hostPath"].is_null(), "it mounts a folder of its node");
        let is_bounded = volume["emptyDir"].is_null() || !volume["emptyDir"]["sizeLimit"].is_null();
        rule(is_bounded, "a folder of its has no limit");
    }
    problems
}

fn container_rules(pod: &Pod<'_>, container: &Value) -> Problems {
    let security = &container["securityContext"];
    let mut problems = Problems::new();
    let mut rule = |kept: bool, problem: &str| {
        if !kept {
            problems.push(problem.to_owned());
        }
    };
    rule(security["runAsNonRoot"] == true, "it may run as root");
    rule(security["readOnlyRootFilesystem"] == true, "its root file system can be written");
    rule(security["allowPrivilegeEscalation"] == false, "it may gain privileges");
    rule(security["privileged"] != true, "it is privileged");
    rule(security["capabilities"]["drop"] == serde_json::json!(["ALL"]), "it keeps capabilities");
    rule(security["capabilities"]["add"].is_null(), "it adds capabilities");
    rule(security["seccompProfile"]["type"] == "RuntimeDefault", "it has no seccomp profile");
    let image = text(&container["image"]);
    let (repository, version) = image.rsplit_once([':', '@']).unwrap_or((image, ""));
    rule(!version.is_empty() && version != "latest", "its image has no version");
    rule(!repository.contains("bitnami"), "its image is Bitnami's");
    let resources = &container["resources"];
    rule(!resources["limits"]["memory"].is_null(), "its memory has no limit");
    rule(!resources["requests"]["memory"].is_null(), "it asks for no memory");
    rule(!resources["requests"]["cpu"].is_null(), "it asks for no processor");
    let volumes: BTreeSet<&str> = list(&pod.spec["volumes"]).map(|volume| text(&volume["name"])).collect();
    let claims = list(&pod.spec["volumeClaimTemplates"]).count();
    for mount in list(&container["volumeMounts"]) {
        let known = volumes.contains(text(&mount["name"])) || pod.kind == "StatefulSet" || claims > 0;
        rule(known, "it mounts a volume that is not there");
    }
    problems
}

/// Every kind of probe, at a port that the container has, of a name or path that the program answers to.
fn probes(container: &Value, facts: &Facts) -> Problems {
    let mut problems = Problems::new();
    let ports: Vec<&Value> = list(&container["ports"]).collect();
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let probe = &container[kind];
        let ready = kind == "readinessProbe";
        let (port, right) = if probe["grpc"].is_object() {
            let asked = text(&probe["grpc"]["service"]);
            (&probe["grpc"]["port"], asked == if ready { &facts.readiness } else { &facts.liveness })
        } else if probe["httpGet"].is_object() {
            let asked = text(&probe["httpGet"]["path"]);
            (&probe["httpGet"]["port"], asked == if ready { &facts.ready_path } else { &facts.live_path })
        } else if probe["exec"].is_object() {
            continue;
        } else {
            problems.push(format!("it has no {kind}"));
            continue;
        };
        if !right {
            problems.push(format!("its {kind} asks for something that the program does not answer: {probe}"));
        }
        if !ports.iter().any(|known| known["containerPort"] == *port || known["name"] == *port) {
            problems.push(format!("its {kind} asks at port {port}, which it does not have"));
        }
    }
    problems
}

/// Kubernetes' patience covers the delay before the signal and the program's own limit after it.
fn stops_in_time(manifests: &Manifests, pod: &Pod<'_>, container: &Value, facts: &Facts) -> Problems {
    let Some(limit) = manifests.environment(container).get("STORELINE_DRAIN_LIMIT").cloned() else {
        return Problems::new();
    };
    let Some(limit) = limit.strip_suffix('s').and_then(|seconds| seconds.parse::<u64>().ok()) else {
        return vec![format!("its drain limit {limit} is not in seconds")];
    };
    let delay = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or_default();
    let patience = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or_default();
    let mut problems = Problems::new();
    let mut rule = |kept: bool, problem: &str| {
        if !kept {
            problems.push(problem.to_owned());
        }
    };
    rule(delay > 0, "it stops before others know that it does");
    rule(patience > delay + limit, "it is ended by force before its drain limit");
    rule(limit >= facts.drain_seconds, "its drain limit is shorter than the program's own");
    problems
}

/// What is named must be there: pods behind services, ports, targets, ConfigMaps, accounts.
fn names(manifests: &Manifests) -> Problems {
    let mut problems = Problems::new();
    let pods = manifests.pods();
    let mut seen = BTreeSet::new();
    for document in manifests.all() {
        if !seen.insert(name(document)) {
            problems.push(format!("{} is there twice", name(document)));
        }
    }
    for service in manifests.of_kind("Service") {
        let behind: Vec<&Pod<'_>> = pods
            .iter()
            .filter(|pod| pod.is_long_running() && pod.matches(&service["spec"]["selector"]))
            .collect();
        if behind.len() != 1 {
            problems.push(format!("{}: {} kinds of pods are behind it", name(service), behind.len()));
        }
        for port in list(&service["spec"]["ports"]) {
            let target = &port["targetPort"];
            let known = behind.iter().flat_map(|pod| pod.containers()).any(|container| {
                list(&container["ports"]).any(|own| own["name"] == *target || own["containerPort"] == *target)
            });
            if !known {
                problems.push(format!("{}: nobody has the port {target}", name(service)));
            }
        }
    }
    for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
        for scaler in manifests.of_kind(kind) {
            let target = &scaler["spec"]["scaleTargetRef"];
            match manifests.get(text(&target["kind"]), text(&target["name"])) {
                None => problems.push(format!("{}: its target is not there", name(scaler))),
                Some(target) if !target["spec"]["replicas"].is_null() => {
                    problems.push(format!("{}: its target says itself how many it wants", name(scaler)));
                }
                Some(_) => {}
            }
        }
    }
    for budget in manifests.of_kind("PodDisruptionBudget") {
        let labels = &budget["spec"]["selector"]["matchLabels"];
        if pods.iter().filter(|pod| pod.is_long_running() && pod.matches(labels)).count() != 1 {
            problems.push(format!("{}: it is not about one kind of pods", name(budget)));
        }
    }
    for pod in &pods {
        let account = text(&pod.spec["serviceAccountName"]);
        if account != "default" && manifests.get("ServiceAccount", account).is_none() {
            problems.push(format!("{}: there is no service account {account}", pod.owner));
        }
        for container in pod.containers() {
            for source in list(&container["envFrom"]) {
                if manifests.get("ConfigMap", text(&source["configMapRef"]["name"])).is_none() {
                    problems.push(format!("{}: its ConfigMap is not there", pod.owner));
                }
                if !pod.annotations["checksum/environment"].is_string() {
                    problems.push(format!("{}: changed variables would not make new pods", pod.owner));
                }
            }
        }
    }
    problems
}
