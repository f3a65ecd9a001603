//! What the shop does with input that no honest client sends: every field of every request of every RPC, on both ways
//! in, with values of every wrong kind. The fields come from the descriptors and their rules from a table, so that a
//! field without a rule fails. Each refusal must have the documented status, reason and field and repeat nothing of
//! what was sent; no event may be written, nothing may panic, and no secret may be in the log.
//!
//! It does not try what a rule allows; that is for the tests of the services.

mod cases;
mod expectations;
mod rules;
mod schema;
mod stage;
mod whole;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e_tests::trade::unique;
use e2e_tests::{Shop, tools};
use futures::StreamExt;
use prost::Message;
use serde_json::json;
use tonic::Code;

use cases::{Case, Expect, credential, grpc};
use rules::{CARDS, Rule};
use schema::{Field, Rpc};
use stage::{Stage, Unchanged};
use wire::{Answer, Outcome, Send, Wire, rest};

/// Requests under way at once.
const AT_ONCE: usize = 8;
/// So many cases that went wrong are shown.
const SHOWN: usize = 60;
/// Whose logs may not grow.
const LOGS: [&str; 5] = ["product", "inventory", "order", "payment", "saga"];

/// The rule of each field of a request.
fn ruled(rpc: &Rpc) -> Vec<(Field, Rule)> {
    let rule =
        |path: &str| expectations::RULES.iter().find(|(known, _)| *known == path).map(|(_, rule)| *rule);
    let fields = rpc.fields().into_iter();
    fields
        .map(|field| (rule(&field.path).unwrap_or(Rule::Flag), field))
        .map(|(rule, field)| (field, rule))
        .collect()
}

#[test]
fn every_field_of_every_request_has_a_rule_and_every_rule_a_field() {
    let fields: BTreeSet<String> =
        schema::rpcs().iter().flat_map(Rpc::fields).map(|field| field.path).collect();
    let rules: BTreeSet<String> = expectations::RULES.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(rules.len(), expectations::RULES.len(), "a field has two rules");
    let unruled: Vec<_> = fields.difference(&rules).collect();
    assert!(unruled.is_empty(), "say in expectations.rs which rule these fields have: {unruled:#?}");
    let gone: Vec<_> = rules.difference(&fields).collect();
    assert!(gone.is_empty(), "these rules are of no field: {gone:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_request_is_refused_by_its_name_and_leaves_no_trace() {
    let shop = Shop::start_with(e2e_tests::Ports::Free, &[("LOG_FILTER", "debug")]).await;
    let wire = Wire::to(&shop);
    let stage = stage::set(&shop).await;
    let rpcs = schema::rpcs();
    let mut all = Vec::new();
    for rpc in &rpcs {
        assert!(
            stage.bases.contains_key(&rpc.name),
            "say in stage.rs what a good request to {} is",
            rpc.name
        );
        let fields = ruled(rpc);
        all.extend(fields.iter().flat_map(|(field, rule)| cases::of_field(rpc, field, rule, &stage)));
        all.extend(whole::of_rpc(rpc, &fields, &stage));
    }
    all.push(unknown_method());
    all.extend(drafts(&rpcs));

    let heads = heads(&shop).await;
    let begun = Instant::now();
    let wrong = failures(&wire, &all).await;
    let took = begun.elapsed();
    testkit::say(tally(&rpcs, &all, took));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), all.len(), first_of(&wrong));
    assert_eq!(self::heads(&shop).await, heads, "(log, events): something was written");

    good_requests_are_accepted_and_their_keys_are_bound_to_them(&shop, &wire, &stage, &rpcs).await;
    nothing_broke_and_nothing_is_told(&shop, &stage).await;
    shop.audit().await;
}

fn unknown_method() -> Case {
    let (port, path) = ("order", "/shop.order.v1.OrderService/NoSuchMethod".to_owned());
    let send = Send::Grpc { port, path, streams: false, message: Vec::new(), headers: Vec::new() };
    let expect = Expect::new(&[], &[Code::Unimplemented], "UNKNOWN_METHOD");
    Case { about: "NoSuchMethod".to_owned(), kind: "unknown method", send, expect, unspoken: None }
}

/// Drafts are for operators; the list that they are in is for everybody.
fn drafts(rpcs: &[Rpc]) -> Vec<Case> {
    let list = rpcs.iter().find(|rpc| rpc.name.ends_with(".ListProducts")).expect("products are listed");
    let (message, expect) =
        (json!({"status": 1}), Expect::new(&[403], &[Code::PermissionDenied], "ROLE_REQUIRED"));
    let bytes = list.message(&message).expect("it is a message").encode_to_vec();
    let route = list.route.as_ref().expect("it has a route");
    let sends = [rest(route, &message, Vec::new()), grpc(list, bytes, Vec::new())];
    let about = "drafts without a credential".to_owned();
    let case = |send| Case {
        about: about.clone(),
        kind: "credential",
        send,
        expect: expect.clone(),
        unspoken: None,
    };
    sends.map(case).into()
}

/// Sends all cases and says what went wrong.
async fn failures(wire: &Wire, all: &[Case]) -> Vec<String> {
    let answers = futures::stream::iter(all).map(|case| async move { (case, wire.send(&case.send).await) });
    let answers: Vec<(&Case, Answer)> = answers.buffer_unordered(AT_ONCE).collect().await;
    let mut wrong: Vec<String> =
        answers.into_iter().filter_map(|(case, answer)| failure(case, &answer)).collect();
    wrong.sort();
    wrong
}

fn failure(case: &Case, answer: &Answer) -> Option<String> {
    let told_back = case.unspoken.as_ref().is_some_and(|text| answer.text.contains(text));
    let complaint = if told_back { Some("repeats what was sent") } else { case.expect.complaint(answer) }?;
    let text: String = answer.text.chars().take(400).collect();
    let Answer { outcome, reason, fields, .. } = answer;
    let Expect { http, grpc, reason: wanted, field, .. } = &case.expect;
    Some(format!(
        "{complaint}: {} [{}]\n  got    {outcome:?} {reason} {fields:?}\n  wanted {http:?} {grpc:?} {wanted:?} {field:?}\n  {text}\n",
        case.about, case.kind,
    ))
}

fn first_of(wrong: &[String]) -> String {
    wrong[..wrong.len().min(SHOWN)].join("")
}

/// How many events of a log follow from a client's command at once. What another service does about them comes later,
/// with commands that are not a client's.
async fn written_for_clients(shop: &Shop, log: &str) -> String {
    let statement = "SELECT count(*) FROM eventlog.events \
                      WHERE command_id IN (SELECT command_id FROM eventlog.command_results WHERE expires)";
    tools::ask(shop, log, statement).await
}

/// How many events each log has, by its last position.
async fn heads(shop: &Shop) -> BTreeMap<&'static str, String> {
    let mut heads = BTreeMap::new();
    for log in LOGS {
        let statement = "SELECT coalesce(max(position), 0), count(*) FROM eventlog.events";
        heads.insert(log, tools::ask(shop, log, statement).await);
    }
    heads
}

/// The requests that the bad ones are made of are good: their RPCs take them. Sent again with the same key they get
/// the same answer, and another request does not get it.
async fn good_requests_are_accepted_and_their_keys_are_bound_to_them(
    shop: &Shop,
    wire: &Wire,
    stage: &Stage,
    rpcs: &[Rpc],
) {
    let mut wrong = Vec::new();
    for rpc in rpcs {
        let base = &stage.bases[&rpc.name];
        let mut message = base.message.clone();
        if rpc.is_mutation() {
            message["requestId"] = json!(unique("key"));
        }
        let first = both(wire, stage, rpc, &message).await;
        let expected = match base.unchanged {
            Unchanged::Accepted => "",
            Unchanged::Refused(reason) => reason,
        };
        for answer in &first {
            let accepted = matches!(answer.outcome, Outcome::Http(200) | Outcome::Grpc(Code::Ok));
            if answer.reason != expected || accepted != expected.is_empty() {
                wrong.push(format!("{}: {answer:?}\n", rpc.name));
            }
        }
        let Some((pointer, value)) = base.another.clone().filter(|_| rpc.is_mutation()) else {
            assert!(!rpc.is_mutation(), "say in stage.rs how else a good request to {} could be", rpc.name);
            continue;
        };
        if !first[1..].iter().all(|answer| answer.replayed) || first[0].replayed {
            wrong.push(format!("{}: only a repeat is marked as one: {first:?}\n", rpc.name));
        }
        let before = written_for_clients(shop, rpc.port).await;
        *message.pointer_mut(pointer).expect("the base has it") = value;
        let reused = Expect {
            field: Some("request_id".to_owned()),
            ..Expect::new(&[422], &[Code::InvalidArgument], "REQUEST_ID_REUSED")
        };
        for answer in both(wire, stage, rpc, &message).await {
            if let Some(complaint) = reused.complaint(&answer) {
                wrong.push(format!("{} with a used key, {complaint}: {answer:?}\n", rpc.name));
            }
        }
        if written_for_clients(shop, rpc.port).await != before {
            wrong.push(format!("{} with a used key wrote events\n", rpc.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join(""));
}

/// Over REST, then over gRPC.
async fn both(wire: &Wire, stage: &Stage, rpc: &Rpc, message: &serde_json::Value) -> Vec<Answer> {
    let mut answers = Vec::new();
    if let Some(route) = &rpc.route {
        answers.push(wire.send(&rest(route, message, credential(rpc, stage))).await);
    }
    let bytes = rpc.message(message).expect("a base is a message").encode_to_vec();
    answers.push(wire.send(&grpc(rpc, bytes, credential(rpc, stage))).await);
    answers
}

async fn nothing_broke_and_nothing_is_told(shop: &Shop, stage: &Stage) {
    let metrics = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let metrics = metrics.get(format!("http://{}/metrics", shop.admin())).send().await.expect("it answers");
    let metrics = metrics.text().await.expect("it is text");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let broken = line.contains("panics") || line.contains("\"INTERNAL\"") || line.contains("\"UNKNOWN\"");
        let broken = broken || line.contains("http_status=\"500\"");
        assert!(!broken || line.ends_with(" 0"), "{line}");
    }
    let log = shop.log();
    let lines = || log.lines().filter(|line| line.contains("panicked") || line.contains("Z ERROR "));
    assert_eq!(lines().next(), None, "the log has errors");
    let secrets = stage.secrets.iter().map(String::as_str).chain(CARDS).chain([whole::GARBAGE]);
    for secret in secrets {
        assert!(!log.contains(secret), "the log holds {secret:?}");
    }
    let cards = CARDS.map(str::to_owned);
    let files = tools::files_with(&shop.data(), &cards).await;
    assert_eq!(files, Vec::<String>::new(), "a card number is stored");
}

fn tally(rpcs: &[Rpc], all: &[Case], took: Duration) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|case| *kinds.entry(case.kind).or_default() += 1);
    let fields = expectations::RULES.len();
    let routes = rpcs.iter().filter(|rpc| rpc.route.is_some()).count();
    let over_rest = all.iter().filter(|case| matches!(case.send, Send::Rest { .. })).count();
    let mut text = format!(
        "bad input: {} RPCs, {routes} of them with a REST route, {fields} fields, {} cases ({over_rest} over REST) in {:.1} s\n",
        rpcs.len(),
        all.len(),
        took.as_secs_f64(),
    );
    for (kind, cases) in kinds {
        text.push_str(&format!("  {cases:>6}  {kind}\n"));
    }
    text
}
