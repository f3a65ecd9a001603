//! What a working shop tells Prometheus is what deploy/metrics.txt lists, by which dashboards and alerts are checked.

use std::collections::{BTreeMap, BTreeSet};

use e2e_tests::Shop;
use e2e_tests::trade::{PRICE, order_of, tokens};
use testkit::{SOON, eventually};

const LISTED: &str = include_str!("../../../deploy/metrics.txt");
/// The section of what each working shop exports; others hold what shows seldom, or in processes of their own only.
const ALWAYS: &str = "load";
/// What a histogram's name ends in; its labels are those of its counts.
const COUNTS: &str = "_count";

/// Name of a metric with its kind and its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

#[tokio::test]
async fn a_working_shop_exports_what_is_listed_and_nothing_else() {
    let shop = Shop::shared().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 2).await;
    let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    api.ended(&placed).await;
    api.get(&format!("/v1/products/{}", goods.product_id)).ok().await;

    let listed = listed();
    let wanted: BTreeSet<&String> = listed[ALWAYS].keys().collect();
    let exported = eventually("everything that is listed is exported", SOON, async || {
        let exported = scrape(shop).await;
        let missing: Vec<_> = wanted.iter().filter(|name| !exported.contains_key(**name)).collect();
        if !missing.is_empty() {
            eprintln!("still missing: {missing:?}");
        }
        missing.is_empty().then_some(exported)
    })
    .await;
    for (name, metric) in &exported {
        let listed = listed.values().find_map(|section| section.get(name));
        assert_eq!(listed, Some(metric), "deploy/metrics.txt about {name}");
    }
}

/// The list, by section.
fn listed() -> BTreeMap<String, Metrics> {
    let mut sections = BTreeMap::<String, Metrics>::new();
    let mut section = String::new();
    for line in LISTED.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
            continue;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().expect("a line has a name");
        let kind = words.next().expect("a line has a kind");
        sections.entry(section.clone()).or_default().insert(name, (kind, words.collect()));
    }
    sections
}

async fn scrape(shop: &Shop) -> Metrics {
    let client = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let answer = client.get(format!("http://{}/metrics", shop.admin())).send().await.expect("it answers");
    let text = answer.text().await.expect("it is text");
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').expect("a name and a kind");
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            continue;
        }
        let Some((series, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let name = name.strip_suffix(COUNTS).filter(|name| metrics.contains_key(*name)).unwrap_or(name);
        if let Some((_, known)) = metrics.get_mut(name) {
            known.extend(label_names(labels));
        }
    }
    metrics
}

/// `a="x",b="y,z=\"1\"}"` has the labels a and b.
fn label_names(labels: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = labels;
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(',').to_owned());
        let mut escaped = false;
        let end = value.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        rest = end.and_then(|end| value.get(end + 1..)).unwrap_or_default();
    }
    names
}

#[test]
fn labels_are_read_whatever_their_values_hold() {
    assert_eq!(label_names(r#"a="x",b="y,z=\"1\"",le="+Inf"}"#), ["a", "b", "le"]);
    assert_eq!(label_names(""), Vec::<String>::new());
}
