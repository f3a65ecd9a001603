//! A relay in a process of its own: this test binary, started once more by tests that freeze and kill it.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use kafka_feed::KafkaOptions;
use testkit::eventually;

use crate::harness::{PARTITIONS, Replica};

const DATABASE: &str = "STORELINE_TEST_RELAY_DATABASE";
const BROKERS: &str = "STORELINE_TEST_RELAY_BROKERS";
const PREFIX: &str = "STORELINE_TEST_RELAY_PREFIX";
/// Longest wait for the end of one that was told to end.
const END_DEADLINE: Duration = Duration::from_secs(300);

/// A running one. It ends with this value.
pub struct RelayProcess {
    child: Child,
}

impl RelayProcess {
    /// `fault` names where it is to die, as in `relay.stored:2`.
    pub fn start(database_url: &str, options: &KafkaOptions, fault: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this is a program"));
        command.args(["--exact", "child::runs_a_relay_when_it_is_started_for_that", "--nocapture"]);
        command.env(DATABASE, database_url).env(BROKERS, &options.brokers).env(PREFIX, &options.topic_prefix);
        match fault {
            Some(fault) => command.env(testkit::fault::VARIABLE, fault),
            None => command.env_remove(testkit::fault::VARIABLE),
        };
        // It ends when this process does, which closes the pipe, however it ends.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { child: child.expect("the relay starts") }
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the process ends", END_DEADLINE, || {
            std::future::ready(child.try_wait().expect("it is a child of ours"))
        })
        .await
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("there is a kill").success());
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn runs_a_relay_when_it_is_started_for_that() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let (brokers, prefix) = (std::env::var(BROKERS).unwrap(), std::env::var(PREFIX).unwrap());
    let options = KafkaOptions { partitions: PARTITIONS, ..KafkaOptions::single_broker(brokers, prefix) };
    let replica = Replica::open(&database).await;
    let _relay = replica.relay(&options).await.unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    replica.stop().await;
}
