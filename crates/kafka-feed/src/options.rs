//! How Kafka is reached, and how topics are made: read from the environment, checked as a whole before anything is
//! connected. What producers and consumers set beyond that, they set themselves.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use service_runtime::Secret;
use service_runtime::config::{ConfigReader, ConfigValue};

/// Most partitions of a topic.
const MAX_PARTITIONS: u16 = 1000;
/// Most replicas of a partition.
const MAX_REPLICATION: u16 = 9;
/// Longest prefix of topics and groups, in bytes; Kafka's limit for a topic's name is 249.
const MAX_PREFIX_BYTES: usize = 100;

/// Names of the variables.
pub mod variables {
    pub const BROKERS: &str = "STORELINE_KAFKA_BROKERS";
    pub const TOPIC_PREFIX: &str = "STORELINE_KAFKA_TOPIC_PREFIX";
    pub const PARTITIONS: &str = "STORELINE_KAFKA_PARTITIONS";
    pub const REPLICATION: &str = "STORELINE_KAFKA_REPLICATION";
    pub const MIN_INSYNC: &str = "STORELINE_KAFKA_MIN_INSYNC";
    pub const GROUP_PROTOCOL: &str = "STORELINE_KAFKA_GROUP_PROTOCOL";
    pub const SECURITY: &str = "STORELINE_KAFKA_SECURITY";
    pub const CA_FILE: &str = "STORELINE_KAFKA_CA_FILE";
    pub const SASL_MECHANISM: &str = "STORELINE_KAFKA_SASL_MECHANISM";
    pub const USERNAME: &str = "STORELINE_KAFKA_USERNAME";
    pub const PASSWORD: &str = "STORELINE_KAFKA_PASSWORD";
}

/// How Kafka is reached.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port` of brokers to begin with, separated by commas.
    pub brokers: String,
    /// Before every topic's and group's name; empty for none.
    pub topic_prefix: String,
    /// Partitions of every topic.
    pub partitions: u16,
    /// Replicas of every partition.
    pub replication: u16,
    /// Replicas that must have a record before it is acknowledged.
    pub min_insync: u16,
    pub group_protocol: GroupProtocol,
    pub transport: Transport,
    /// Who we are; without it anybody may do everything.
    pub sasl: Option<Sasl>,
}

/// How the members of a consumer group divide partitions. All members of a group should have the same; Kafka lets a group
/// change while they are replaced one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members agree, by cooperative rebalancing; every broker knows it.
    #[default]
    Classic,
    /// The broker decides (KIP-848), from Kafka 4.0 on. How long a silent member stays is the broker's setting.
    Consumer,
}

impl ConfigValue for GroupProtocol {
    const RULE: &'static str = "classic or consumer";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "classic" => Some(Self::Classic),
            "consumer" => Some(Self::Consumer),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Classic => "classic".to_owned(),
            Self::Consumer => "consumer".to_owned(),
        }
    }

    fn stand_in() -> Self {
        Self::default()
    }
}

/// What the bytes travel on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Plaintext,
    /// TLS; the brokers' certificates are checked against the file, or else against the system's authorities.
    Tls {
        ca_file: Option<String>,
    },
}

/// How we prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// One of [`SASL_MECHANISMS`].
    pub mechanism: String,
    pub username: String,
    pub password: Secret,
}

/// Mechanisms that are supported. None of them needs a library beyond OpenSSL.
pub const SASL_MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

const SECURITY: [&str; 4] = ["plaintext", "tls", "sasl_plaintext", "sasl_tls"];

impl KafkaOptions {
    pub const PARTITIONS: u16 = 12;
    pub const REPLICATION: u16 = 3;
    pub const MIN_INSYNC: u16 = 2;

    /// For brokers that are reached in the clear by anybody, with one replica of everything: for tests and laptops.
    pub fn single_broker(brokers: impl Into<String>, topic_prefix: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: topic_prefix.into(),
            partitions: Self::PARTITIONS,
            replication: 1,
            min_insync: 1,
            group_protocol: GroupProtocol::default(),
            transport: Transport::Plaintext,
            sasl: None,
        }
    }

    /// Reads the variables of [`variables`]; problems are kept by the reader.
    pub fn read(reader: &mut ConfigReader) -> Self {
        let brokers = reader
            .var::<String>(
                variables::BROKERS,
                "Kafka brokers to begin with, host:port, several separated by commas",
            )
            .check("host:port, several separated by commas", |list| list.split(',').all(is_address))
            .required();
        let topic_prefix = reader
            .var::<String>(variables::TOPIC_PREFIX, "stands before the names of topics and consumer groups")
            .check("letters, digits, dots, dashes and underscores, at most 100", |prefix| is_prefix(prefix))
            .optional()
            .unwrap_or_default();
        let partitions = reader
            .var(variables::PARTITIONS, "partitions of every topic, which never change")
            .range(1..=MAX_PARTITIONS)
            .default(Self::PARTITIONS);
        let replication = reader
            .var(variables::REPLICATION, "replicas of every partition of a topic")
            .range(1..=MAX_REPLICATION)
            .default(Self::REPLICATION);
        let min_insync = reader
            .var(variables::MIN_INSYNC, "replicas that have a record before it counts as written")
            .range(1..=MAX_REPLICATION)
            .default(Self::MIN_INSYNC);
        if min_insync > replication {
            let rule = format!("must not be more than {} ({replication})", variables::REPLICATION);
            reader.problem(variables::MIN_INSYNC, rule);
        }
        let group_protocol = reader
            .var(variables::GROUP_PROTOCOL, "how consumer groups divide partitions; consumer needs Kafka 4")
            .default(GroupProtocol::default());
        let (transport, sasl) = read_security(reader);
        Self { brokers, topic_prefix, partitions, replication, min_insync, group_protocol, transport, sasl }
    }

    /// The topic of a bounded context, such as `product`.
    pub fn topic(&self, context: &str) -> String {
        format!("{}shop.{context}.v1", self.topic_prefix)
    }

    /// What every client of Kafka needs, whichever it is. `client` names it in Kafka's logs and quotas.
    pub fn client_config(&self, client: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("bootstrap.servers", &self.brokers).set("client.id", client);
        // A record or an answer does not wait for more of them to fill a packet.
        config.set("socket.nagle.disable", "true").set("socket.keepalive.enable", "true");
        // A broker that is back is found soon; librdkafka's own limit is 10 s.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "2000");
        let tls = match &self.transport {
            Transport::Plaintext => false,
            Transport::Tls { ca_file } => {
                if let Some(file) = ca_file {
                    config.set("ssl.ca.location", file);
                }
                true
            }
        };
        if let Some(Sasl { mechanism, username, password }) = &self.sasl {
            config.set("sasl.mechanisms", mechanism);
            config.set("sasl.username", username).set("sasl.password", password.expose());
        }
        let protocol = match (tls, self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        config
    }
}

/// What belongs together is asked for together: half of it is a problem, and so is a part that would be ignored.
fn read_security(reader: &mut ConfigReader) -> (Transport, Option<Sasl>) {
    let security = reader
        .var::<String>(
            variables::SECURITY,
            "how brokers are reached: plaintext, tls, sasl_plaintext, sasl_tls",
        )
        .check("one of plaintext, tls, sasl_plaintext, sasl_tls", |one| SECURITY.contains(&one.as_str()))
        .default("plaintext".to_owned());
    let ca_file = reader
        .var::<String>(
            variables::CA_FILE,
            "PEM file of the authority of the brokers' certificates, if not one of the system's",
        )
        .check("a file that can be read", |path| std::fs::File::open(path).is_ok())
        .optional();
    let mechanism = reader
        .var::<String>(variables::SASL_MECHANISM, "how this process proves who it is to the brokers")
        .check("one of SCRAM-SHA-512, SCRAM-SHA-256, PLAIN", |one| SASL_MECHANISMS.contains(&one.as_str()))
        .default(SASL_MECHANISMS[0].to_owned());
    let username = reader.var::<String>(variables::USERNAME, "who this process is to the brokers").optional();
    let password = reader.var::<Secret>(variables::PASSWORD, "password of that user").optional();

    let tls = matches!(security.as_str(), "tls" | "sasl_tls");
    if ca_file.is_some() && !tls {
        let rule = format!("is of no use unless {} is tls or sasl_tls", variables::SECURITY);
        reader.problem(variables::CA_FILE, rule);
    }
    let transport = if tls { Transport::Tls { ca_file } } else { Transport::Plaintext };
    let sasl = if security.starts_with("sasl_") {
        for (name, missing) in
            [(variables::USERNAME, username.is_none()), (variables::PASSWORD, password.is_none())]
        {
            if missing {
                reader.problem(name, format!("must be set when {} is {security}", variables::SECURITY));
            }
        }
        Some(Sasl {
            mechanism,
            username: username.unwrap_or_default(),
            password: password.unwrap_or_default(),
        })
    } else {
        for (name, given) in
            [(variables::USERNAME, username.is_some()), (variables::PASSWORD, password.is_some())]
        {
            if given {
                let rule =
                    format!("is of no use unless {} is sasl_plaintext or sasl_tls", variables::SECURITY);
                reader.problem(name, rule);
            }
        }
        None
    };
    (transport, sasl)
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.trim().rsplit_once(':') else { return false };
    // Nothing that would be a protocol or a user with a password.
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_prefix(prefix: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    prefix.len() <= MAX_PREFIX_BYTES && prefix.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKERS: (&str, &str) = (variables::BROKERS, "kafka-1:9092, kafka-2:9092");

    fn options(values: &[(&'static str, &str)]) -> Result<KafkaOptions, Vec<String>> {
        let mut reader = ConfigReader::from_map(values.iter().copied());
        let options = KafkaOptions::read(&mut reader);
        let problems = |errors: service_runtime::config::ConfigErrors| {
            errors.problems().iter().map(|problem| problem.name.to_string()).collect()
        };
        reader.finish(options).map_err(problems)
    }

    #[test]
    fn brokers_are_all_that_must_be_told() {
        let options = options(&[BROKERS]).unwrap();
        assert_eq!((options.partitions, options.replication, options.min_insync), (12, 3, 2));
        assert_eq!(options.topic("product"), "shop.product.v1");
        assert_eq!(options.client_config("x").get("security.protocol"), Some("plaintext"));
        assert_eq!(self::options(&[]).unwrap_err(), [variables::BROKERS]);
    }

    #[test]
    fn a_prefix_stands_before_every_topic() {
        let options = options(&[BROKERS, (variables::TOPIC_PREFIX, "staging.")]).unwrap();
        assert_eq!(options.topic("order"), "staging.shop.order.v1");
    }

    #[test]
    fn scram_over_tls_reaches_the_client_and_the_password_nothing_else() {
        let options = options(&[
            BROKERS,
            (variables::SECURITY, "sasl_tls"),
            (variables::USERNAME, "shop"),
            (variables::PASSWORD, "correct-horse"),
        ])
        .unwrap();
        let config = options.client_config("x");
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "shop"),
            ("sasl.password", "correct-horse"),
        ] {
            assert_eq!(config.get(name), Some(value));
        }
        assert!(!format!("{options:?}").contains("correct-horse"));
    }

    #[test]
    fn every_wrong_or_missing_part_is_named_at_once() {
        let problems = options(&[
            (variables::BROKERS, "http://me:secret@kafka"),
            (variables::TOPIC_PREFIX, "my shop/"),
            (variables::PARTITIONS, "0"),
            (variables::REPLICATION, "2"),
            (variables::MIN_INSYNC, "3"),
            (variables::GROUP_PROTOCOL, "zookeeper"),
            (variables::SECURITY, "sasl_plaintext"),
            (variables::CA_FILE, "/nowhere/ca.pem"),
            (variables::SASL_MECHANISM, "GSSAPI"),
            (variables::USERNAME, "shop"),
        ])
        .unwrap_err();
        assert_eq!(
            problems,
            [
                variables::BROKERS,
                variables::TOPIC_PREFIX,
                variables::PARTITIONS,
                variables::MIN_INSYNC,
                variables::GROUP_PROTOCOL,
                variables::CA_FILE,
                variables::SASL_MECHANISM,
                variables::PASSWORD,
            ]
        );
    }

    #[test]
    fn what_would_be_ignored_is_a_problem() {
        let problems =
            options(&[BROKERS, (variables::USERNAME, "shop"), (variables::PASSWORD, "p")]).unwrap_err();
        assert_eq!(problems, [variables::USERNAME, variables::PASSWORD]);
        let problems = options(&[BROKERS, (variables::CA_FILE, "/dev/null")]).unwrap_err();
        assert_eq!(problems, [variables::CA_FILE]);
    }
}
