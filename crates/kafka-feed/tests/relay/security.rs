//! SCRAM over TLS, as managed Kafkas want it.

use std::path::Path;

use eventsourcing::SubscriptionState;
use kafka_feed::KafkaOptions;
use service_runtime::config::ConfigReader;
use testkit::kafka::{Brokers, Options};
use testkit::tls::Certificates;

use crate::harness::*;

const USER: &str = "shop";
const PASSWORD: &str = "correct-horse-battery";

fn options_with(brokers: &Brokers, authority: &Path, password: &str) -> KafkaOptions {
    let mut reader = ConfigReader::from_map([
        ("STORELINE_KAFKA_BROKERS", brokers.bootstrap()),
        ("STORELINE_KAFKA_PARTITIONS", PARTITIONS.to_string()),
        ("STORELINE_KAFKA_REPLICATION", "1".into()),
        ("STORELINE_KAFKA_MIN_INSYNC", "1".into()),
        ("STORELINE_KAFKA_SECURITY", "sasl_tls".into()),
        ("STORELINE_KAFKA_CA_FILE", authority.display().to_string()),
        ("STORELINE_KAFKA_USERNAME", USER.into()),
        ("STORELINE_KAFKA_PASSWORD", password.to_owned()),
    ]);
    let options = KafkaOptions::read(&mut reader);
    reader.finish(options).unwrap()
}

#[tokio::test]
async fn a_relay_works_over_tls_with_the_right_authority_and_password_and_says_which_is_wrong() {
    let folder = std::env::temp_dir().join(format!("storeline-tls-{}", uuid::Uuid::new_v4().simple()));
    let [ours, others] = ["ours", "others"].map(|name| {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Certificates::make(&folder)
    });
    let both = folder.join("both.pem");
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    std::fs::write(&both, text(&ours.key) + &text(&ours.certificate)).unwrap();
    let brokers = Brokers::start_with(Options {
        scram: Some((USER.into(), PASSWORD.into())),
        settings: vec![
            "listener.security.protocol.map=CLIENTS:SASL_SSL,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT".into(),
            "ssl.keystore.type=PEM".into(),
            format!("ssl.keystore.location={}", both.display()),
        ],
        ..Options::default()
    })
    .await;
    let database = database().await;
    let replica = Replica::open(database.url()).await;
    replica.write(40).await;

    for (authority, password, word) in
        [(&ours.authority, "wrong-password", "authentication"), (&others.authority, PASSWORD, "certificate")]
    {
        let replica = Replica::open(database.url()).await;
        let _relay = replica.relay(&options_with(&brokers, authority, password)).await.unwrap();
        let said = state(&replica, "the relay says what is wrong", |state| match state {
            SubscriptionState::Retrying(why) => why.to_lowercase().contains(word),
            _ => false,
        })
        .await;
        let SubscriptionState::Retrying(why) = said.state else { unreachable!("it was recognized") };
        assert!(!why.contains(password), "{why}");
        replica.stop().await;
    }

    let right = options_with(&brokers, &ours.authority, PASSWORD);
    let _relay = replica.relay(&right).await.unwrap();
    caught_up(&replica).await;
    verify(&replica, &right).await;
    replica.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
