//! What can happen to a topic while people shop: it is read once more from its beginning, deleted and made anew, or
//! written to by somebody who is no relay. What stands in it is written by hand here, as anybody could.

use std::time::Duration;

use e2e_tests::cluster::{Cluster, SERVICES};
use e2e_tests::trade::{Goods, ORDER_DEADLINE, PRICE, Placed, order_of, tokens, unique};
use e2e_tests::{Api, text};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use testkit::{SOON, eventually, kafka, say};

use crate::scene::{Scene, is_wanted, options, postgres, set_price, turn};

/// A command that asks the running services.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
/// As in the configuration of clusters.
const PARTITIONS: i32 = 4;
/// No protobuf message begins so.
const NONSENSE: &[u8] = &[0xff; 7];
/// What the victim of a poison message costs when the price that is parked behind it has come.
const DEARER: i64 = PRICE + 100;
/// Pieces of it.
const PIECES: i64 = 10;
/// Has a service read all that it follows from the beginning of the topics. What it has seen is passed over.
const READ_AGAIN: &str = "UPDATE eventsourcing.checkpoints SET resume = NULL WHERE resume IS NOT NULL";
/// Those whose effects are commands; the others have theirs where their positions are.
const REACTORS: &str = "(subscription LIKE '%.saga-requests' OR subscription LIKE 'saga.%-events')";

#[tokio::test]
async fn topics_that_are_read_again_from_the_beginning_have_no_effect_a_second_time() {
    if !is_wanted("topics replayed from the beginning") {
        return;
    }
    let mut scene = Scene::start(turn().await, options(postgres(), kafka::bootstrap())).await;
    // First under load, then with nothing else in the way of counting.
    for service in SERVICES {
        replay(&mut scene.cluster, service).await;
        scene.goes_on().await;
    }
    let seen = scene.come_to_rest().await;
    let before = (events(&scene.cluster).await, places(&scene.cluster).await);
    for service in SERVICES {
        replay(&mut scene.cluster, service).await;
    }
    eventually("everything is handled once more", SOON, async || {
        let now = places(&scene.cluster).await;
        assert_eq!(now.len(), before.1.len(), "{now:?}");
        now.iter().zip(&before.1).all(|(now, before)| now >= before).then_some(())
    })
    .await;
    assert_eq!(events(&scene.cluster).await, before.0, "what was done is not done again");
    scene.close("topics replayed from the beginning", &seen).await;
}

/// Has a service read its topics again, and its reactors handle what is in them again.
async fn replay(cluster: &mut Cluster, service: &str) {
    cluster.stop(service, 1).await.expect("it stops in order");
    let handle_again = format!("UPDATE eventsourcing.checkpoints SET position = 0 WHERE {REACTORS}");
    cluster.sql(service, READ_AGAIN).await;
    cluster.sql(service, &handle_again).await;
    cluster.start_again(service, 1).await.expect("it comes back");
}

/// How many events each log has.
async fn events(cluster: &Cluster) -> Vec<i64> {
    let mut counts = Vec::new();
    for service in SERVICES {
        counts.push(number(&cluster.sql(service, "SELECT count(*) FROM eventlog.events").await));
    }
    counts
}

/// The positions of all reactors in all partitions.
async fn places(cluster: &Cluster) -> Vec<i64> {
    let sql = format!(
        "SELECT position FROM eventsourcing.checkpoints WHERE {REACTORS} ORDER BY subscription, log, partition"
    );
    let mut places = Vec::new();
    for service in SERVICES {
        places.extend(cluster.sql(service, &sql).await.lines().map(number));
    }
    places
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

#[tokio::test]
async fn a_topic_that_is_deleted_or_written_to_by_others_is_refused_loudly_and_filled_again_by_command() {
    if !is_wanted("topics deleted and made anew") {
        return;
    }
    let scene = Scene::start(turn().await, options(postgres(), kafka::bootstrap())).await;
    let hand = Hand::new();
    for service in ["order", "saga"] {
        let topic = scene.cluster.topic(service);
        hand.make_anew(&topic).await;
        let said = relay_stops(&scene.cluster, &topic).await;
        assert!(said.contains("made anew") && said.contains("refill"), "{said}");
        let said = subscription_stops(&scene.cluster, service).await;
        assert!(said.contains("made anew"), "{said}");
        say(format!("{topic}: {said}"));
        refill(&scene, service).await;
    }
    // The relay of this one has nothing to object to.
    hand.record(&scene.cluster.topic("inventory"), "stock-x", OwnedHeaders::new(), b"hello").await;
    let said = subscription_stops(&scene.cluster, "inventory").await;
    assert!(said.contains("somebody else than the relay"), "{said}");
    refill(&scene, "inventory").await;
    scene.settle("topics deleted, and written to by others").await;
}

/// Waits until the relay of a topic has stopped, and returns why.
async fn relay_stops(cluster: &Cluster, topic: &str) -> String {
    eventually(&format!("the relay of {topic} stops"), SOON, async || {
        let relays = lines(cluster, &["relay", "--json"]).await;
        let relay = relays.into_iter().find(|relay| relay["topic"] == topic)?;
        (relay["state"] == "STOPPED").then(|| text(&relay, "/error"))
    })
    .await
}

/// Waits until a subscription to the events of a service has stopped, and returns why.
async fn subscription_stops(cluster: &Cluster, service: &str) -> String {
    eventually(&format!("a subscription to {service} stops"), SOON, async || {
        let followers = followers(cluster, service).await;
        let stopped = followers.into_iter().find(|it| it["state"] == "STOPPED")?;
        Some(text(&stopped, "/error"))
    })
    .await
}

/// The subscriptions of other services to the events of one.
async fn followers(cluster: &Cluster, service: &str) -> Vec<Value> {
    let mut all = lines(cluster, &["feeds", "--json"]).await;
    all.retain(|it| it["log"] == service && it["service"] != service);
    all
}

/// What an operator does then: the topic is filled again, whoever follows it begins again, and orders end.
async fn refill(scene: &Scene, service: &str) {
    let (cluster, topic) = (&scene.cluster, scene.cluster.topic(service));
    cluster.run(&["relay", "refill", service], COMMAND_DEADLINE).await.ok();
    let head = eventually(&format!("{topic} is filled again"), SOON, async || {
        let relays = lines(cluster, &["relay", "--json"]).await;
        let relay = relays.into_iter().find(|relay| relay["topic"] == topic.as_str())?;
        let obeyed = relay["state"] == "RUNNING" && relay["wanted"] == "";
        relay["head"].as_i64().filter(|_| obeyed)
    })
    .await;
    // Some partitions may find out later than others.
    eventually(&format!("whoever follows {topic} has come to {head}"), ORDER_DEADLINE, async || {
        let mut have_all = true;
        for follower in followers(cluster, service).await {
            let (of, name) = (text(&follower, "/service"), text(&follower, "/subscription"));
            if follower["state"] == "STOPPED" {
                let go_on = ["feeds", "go-on", of.as_str(), name.as_str(), "--from-beginning"];
                // By the time that it is told it may try again by itself.
                cluster.run(&go_on, COMMAND_DEADLINE).await;
            }
            have_all &= follower["state"] == "RUNNING" && follower["checkpoint"].as_i64() >= Some(head);
        }
        have_all.then_some(())
    })
    .await;
    scene.goes_on().await;
}

#[tokio::test]
async fn a_message_that_nobody_can_decode_is_parked_with_its_key_alone_until_an_operator_settles_it() {
    if !is_wanted("a poison message") {
        return;
    }
    let mut scene = Scene::start(turn().await, options(postgres(), kafka::bootstrap())).await;
    let api = scene.api();
    let goods = api.goods(PRICE, PIECES).await;
    scene.others.push(api.place(&order_of(&goods, 1, tokens::SUCCESS)).await);

    let key = format!("product-{}", goods.product_id);
    let poison = put_poison_into_the_catalogue(&mut scene.cluster, &key).await;
    let behind = set_price(&api, &goods, DEARER).await;
    say(format!("poison at position {poison} of {key}, a price at {behind} behind it"));
    let parked = eventually("the message and what follows it are parked", SOON, async || {
        let parked = lines(&scene.cluster, &["parked", "--json"]).await;
        (parked.len() >= 2).then_some(parked)
    })
    .await;
    assert!(parked.iter().all(|it| it["key"] == key.as_str() && it["service"] == "order"), "{parked:?}");
    assert_eq!(parked[0]["position"].to_string(), poison, "{parked:?}");
    assert_ne!(parked[0]["error"], "", "{parked:?}");
    assert_eq!((parked.len(), &parked[1]["error"]), (2, &json!("")), "{parked:?}");

    // Everybody else shops on, and these goods are sold as they were.
    scene.goes_on().await;
    scene.others.push(api.place(&order_of(&goods, 1, tokens::SUCCESS)).await);
    let report = scene.cluster.audit().await;
    let findings = report["findings"].as_array().expect("it has findings");
    let noticed = findings.iter().find(|finding| finding["check"] == "messages-parked");
    assert_eq!(noticed.expect("it looks at parked messages")["failed"], 2, "{report}");

    let subscription = text(&parked[0], "/subscription");
    let settle = ["parked", "discard", "order", subscription.as_str(), poison.as_str()];
    scene.cluster.run(&settle, COMMAND_DEADLINE).await.ok();
    scene.cluster.run(&["parked", "redrive", "order", &subscription, &key], COMMAND_DEADLINE).await.ok();
    scene.others.push(buy_at(&api, &goods, DEARER).await);
    assert_eq!(lines(&scene.cluster, &["parked", "--json"]).await, Vec::<Value>::new());
    scene.settle("a poison message").await;
}

/// Writes a record that looks like an event of a product and is none. Returns its position, which no event has.
async fn put_poison_into_the_catalogue(cluster: &mut Cluster, key: &str) -> String {
    // As long as nobody relays, nothing of a later position is in the topic.
    cluster.stop("product", 1).await.expect("it stops in order");
    let position = cluster.sql("product", "SELECT nextval('eventlog.events_position_seq')").await;
    let incarnation = cluster.sql("product", "SELECT incarnation FROM eventlog.identity").await;
    let headers = [
        ("content-type", "application/protobuf"),
        ("ce_specversion", "1.0"),
        ("ce_id", "018f0000-0000-7000-8000-000000000000"),
        ("ce_source", "/shop/product"),
        ("ce_type", "shop.product.v1.ProductPriceChanged"),
        ("ce_time", "2026-01-31T12:00:00Z"),
        ("ce_subject", key),
        ("ce_streamversion", "2"),
        ("ce_position", position.as_str()),
        ("ce_incarnation", incarnation.as_str()),
        ("ce_log", "product"),
        ("ce_correlationid", "nobody"),
    ];
    let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    Hand::new().record(&cluster.topic("product"), key, headers, NONSENSE).await;
    cluster.start_again("product", 1).await.expect("it comes back");
    cluster.gateway_has("product", 1).await;
    position
}

/// Buys a piece once the order service has this price.
async fn buy_at(api: &Api, goods: &Goods, cents: i64) -> Placed {
    let order = order_of(&Goods { price: cents, ..goods.clone() }, 1, tokens::SUCCESS);
    eventually("the order service has the price", ORDER_DEADLINE, async || {
        let answer = api.post("/v1/orders", &order).key(&unique("order")).send().await;
        if answer.status == 200 {
            return Some(Placed::from_answer(&answer));
        }
        assert!(answer.status == 503 || answer.refused(422)["reason"] == "PRICE_CHANGED", "{answer}");
        None
    })
    .await
}

/// What an operator's command prints as JSON, a line each.
async fn lines(cluster: &Cluster, command: &[&str]) -> Vec<Value> {
    let printed = cluster.run(command, COMMAND_DEADLINE).await.ok();
    printed.lines().map(|line| serde_json::from_str(line).expect("it prints JSON")).collect()
}

/// Somebody with a client of Kafka.
struct Hand {
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
}

impl Hand {
    fn new() -> Self {
        let mut config = ClientConfig::new();
        // Partitions are chosen as Kafka's own Java client does it.
        config.set("bootstrap.servers", kafka::bootstrap()).set("partitioner", "murmur2_random");
        Self {
            admin: config.create().expect("the admin client starts"),
            producer: config.create().expect("the producer starts"),
        }
    }

    /// Deletes a topic, and makes it again unless somebody is faster.
    async fn make_anew(&self, topic: &str) {
        let deleted = self.admin.delete_topics(&[topic], &AdminOptions::new()).await;
        assert!(deleted.expect("Kafka answers").iter().all(Result::is_ok), "{topic} was there");
        eventually("the topic is made anew", SOON, async || {
            let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
            let made = self.admin.create_topics([&new], &AdminOptions::new()).await.ok()?;
            match made.first()? {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Some(()),
                Err(_) => None,
            }
        })
        .await;
    }

    async fn record(&self, topic: &str, key: &str, headers: OwnedHeaders, data: &[u8]) {
        let record = FutureRecord::to(topic).key(key).payload(data).headers(headers);
        self.producer.send(record, SOON).await.expect("Kafka takes it");
    }
}
