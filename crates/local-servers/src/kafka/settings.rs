//! The server.properties of a broker: small, quick to notice that another is gone, and everything kept until the end.

use super::Brokers;

/// So many lines of a log say why a broker ended.
pub(super) const LOG_TAIL: usize = 40;
/// What every broker has. Sessions are as short as a busy machine allows; clients may ask for short ones, too.
const COMMON: [&str; 15] = [
    "process.roles=broker,controller",
    "controller.listener.names=CONTROLLER",
    "inter.broker.listener.name=BROKERS",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "share.coordinator.state.topic.num.partitions=4",
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "group.consumer.min.session.timeout.ms=1000",
    "group.consumer.min.heartbeat.interval.ms=200",
    "log.cleaner.dedupe.buffer.size=8388608",
    "auto.create.topics.enable=false",
    // How long until the others take a broker for dead.
    "broker.session.timeout.ms=4000",
    "broker.heartbeat.interval.ms=500",
    "log.segment.delete.delay.ms=1000",
];
/// The topics of Kafka itself that are replicated as far as there are brokers.
const INTERNAL: [&str; 3] = ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"];

impl Brokers {
    pub(super) fn server_properties(&self, broker: usize) -> String {
        let ports = self.ports[broker];
        let voters: Vec<_> = (self.ports.iter().enumerate())
            .map(|(other, ports)| format!("{}@127.0.0.1:{}", other + 1, ports.controllers))
            .collect();
        let clients = format!("CLIENTS://127.0.0.1:{}", ports.clients);
        let brokers = format!("BROKERS://127.0.0.1:{}", ports.brokers);
        let data = self.folder.path().join(format!("data-{}", broker + 1));
        let security = if self.options.scram.is_some() { "SASL_PLAINTEXT" } else { "PLAINTEXT" };
        let replicas = self.ports.len().min(3);
        let mut lines: Vec<String> = COMMON.iter().map(|&line| line.to_owned()).collect();
        lines.extend([
            format!("node.id={}", broker + 1),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("listeners={clients},{brokers},CONTROLLER://127.0.0.1:{}", ports.controllers),
            format!("advertised.listeners={clients},{brokers}"),
            format!(
                "listener.security.protocol.map=CLIENTS:{security},BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            format!("log.dirs={}", data.display()),
        ]);
        if self.options.scram.is_some() {
            let login = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            lines.push("sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned());
            lines.push(format!("listener.name.clients.scram-sha-512.sasl.jaas.config={login}"));
        }
        for topic in INTERNAL {
            lines.push(format!("{topic}.replication.factor={replicas}"));
            if topic != "offsets.topic" {
                lines.push(format!("{topic}.min.isr={}", replicas.div_ceil(2)));
            }
        }
        // The last of two lines counts.
        lines.extend(self.options.settings.iter().cloned());
        lines.join("\n") + "\n"
    }
}
