//! SCRAM over TLS, as managed Kafkas want it.

use std::path::Path;
use std::process::Command;

use eventsourcing::SubscriptionState;
use kafka_feed::KafkaOptions;
use service_runtime::config::ConfigReader;
use testkit::kafka::{Brokers, Options};

use crate::harness::*;

const USER: &str = "shop";
const PASSWORD: &str = "correct-horse-battery";

/// Makes a key and a certificate for loopback. Returns the names of a file with both, and of one with the certificate.
fn certificate(folder: &Path) -> (String, String) {
    let file = |name: &str| folder.join(name).display().to_string();
    let (key, certificate, both) = (file("key.pem"), file("certificate.pem"), file("both.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl is on the machine");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    std::fs::write(&both, text(&key) + &text(&certificate)).unwrap();
    (both, certificate)
}

fn options_with(brokers: &Brokers, authority: &str, password: &str) -> KafkaOptions {
    let mut reader = ConfigReader::from_map([
        ("STORELINE_KAFKA_BROKERS", brokers.bootstrap()),
        ("STORELINE_KAFKA_PARTITIONS", PARTITIONS.to_string()),
        ("STORELINE_KAFKA_REPLICATION", "1".into()),
        ("STORELINE_KAFKA_MIN_INSYNC", "1".into()),
        ("STORELINE_KAFKA_SECURITY", "sasl_tls".into()),
        ("STORELINE_KAFKA_CA_FILE", authority.to_owned()),
        ("STORELINE_KAFKA_USERNAME", USER.into()),
        ("STORELINE_KAFKA_PASSWORD", password.to_owned()),
    ]);
    let options = KafkaOptions::read(&mut reader);
    reader.finish(options).unwrap()
}

#[tokio::test]
async fn a_relay_works_over_tls_with_the_right_password_and_says_when_it_is_wrong() {
    let folder = std::env::temp_dir().join(format!("storeline-tls-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let (both, authority) = certificate(&folder);
    let brokers = Brokers::start_with(Options {
        scram: Some((USER.into(), PASSWORD.into())),
        settings: vec![
            "listener.security.protocol.map=CLIENTS:SASL_SSL,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT".into(),
            "ssl.keystore.type=PEM".into(),
            format!("ssl.keystore.location={both}"),
        ],
        ..Options::default()
    })
    .await;
    let database = database().await;
    let replica = Replica::open(database.url()).await;
    replica.write(40).await;

    let wrong = options_with(&brokers, &authority, "wrong-password");
    let _relay = replica.relay(&wrong).await.unwrap();
    let said = state(&replica, "the relay says what is wrong", |state| match state {
        SubscriptionState::Retrying(why) => why.to_lowercase().contains("authentication"),
        _ => false,
    })
    .await;
    let SubscriptionState::Retrying(why) = said.state else { unreachable!("it was recognized") };
    assert!(!why.contains("wrong-password"), "{why}");
    replica.stop().await;

    let right = options_with(&brokers, &authority, PASSWORD);
    let replica = Replica::open(database.url()).await;
    let _relay = replica.relay(&right).await.unwrap();
    caught_up(&replica).await;
    verify(&replica, &right).await;
    replica.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
