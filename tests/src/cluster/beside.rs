//! What a test does with a cluster beside its API and its operator's commands: it looks into the databases, names the
//! topics, and sees which replicas the gateway sends calls to.

use std::time::Duration;

use testkit::eventually;

use super::{Cluster, GATEWAY, START_DEADLINE};
use crate::api::plain_client;
use crate::finish;

/// A statement in a database, on a busy machine.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(60);
/// What the gateway measures of the replicas that it knows.
const REPLICAS: &str = "grpc_client_replicas{";

impl Cluster {
    /// Has PostgreSQL carry out a statement in the database of a service, as its owner, and returns the rows as psql
    /// prints them without decoration.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn sql(&self, service: &str, statement: &str) -> String {
        finish(self.databases.statement(service, statement), STATEMENT_DEADLINE).await.ok().trim().to_owned()
    }

    /// The topic that the events of a service are published on.
    pub fn topic(&self, service: &str) -> String {
        format!("{}shop.{service}.v1", self.environment["STORELINE_KAFKA_TOPIC_PREFIX"])
    }

    /// Waits until every gateway that runs sends calls to so many replicas of a service: whoever takes one away before
    /// another is taken in leaves none.
    ///
    /// # Panics
    /// When one does not in time.
    pub async fn gateway_has(&self, service: &str, replicas: usize) {
        let client = plain_client().build().expect("a client without TLS needs nothing");
        let backend = format!("backend=\"{service}\"");
        for gateway in self.members.iter().filter(|member| member.service() == GATEWAY && member.runs()) {
            let address = format!("http://{}/metrics", gateway.admin());
            let ready = async || {
                let metrics = client.get(&address).send().await.ok()?.text().await.ok()?;
                let of_service = |line: &&str| {
                    line.starts_with(REPLICAS) && line.contains(&backend) && line.contains("state=\"ready\"")
                };
                let (_, ready) = metrics.lines().find(of_service)?.rsplit_once(' ')?;
                (ready.parse() == Ok(replicas)).then_some(())
            };
            let what = format!("the gateway sends calls to {replicas} replicas of {service}");
            eventually(&what, START_DEADLINE, ready).await;
        }
    }
}
