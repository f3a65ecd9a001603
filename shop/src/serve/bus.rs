//! What the services of one process follow each other by: their logs, or, to have all of the distributed shop in one
//! process, Kafka. Kafka's client takes minutes to compile, so it is in here only if it was asked for.

use eventsourcing::{EventLog, IntegrationFeed};
#[cfg(feature = "kafka")]
use kafka_feed::{KafkaFeed, KafkaOptions, Relay};
use service_runtime::config::ConfigReader;
use service_runtime::{Readiness, Shutdown};

const LOG: &str = "log";
const KAFKA: &str = "kafka";

/// Chosen by configuration.
#[derive(Debug)]
pub enum Bus {
    /// Feeds are the logs themselves.
    Log,
    /// A relay for each log, and feeds that read topics.
    #[cfg(feature = "kafka")]
    Kafka(KafkaOptions),
}

impl Bus {
    /// Reads `BUS`, and the variables of Kafka if that is chosen.
    pub fn read(reader: &mut ConfigReader) -> Self {
        let kind: String = reader
            .var("BUS", "what services follow each other by: their logs, or topics of Kafka")
            .check("one of log, kafka", |bus: &String| [LOG, KAFKA].contains(&bus.as_str()))
            .default(LOG.to_owned());
        if kind == KAFKA { Self::read_kafka(reader) } else { Self::Log }
    }

    #[cfg(feature = "kafka")]
    fn read_kafka(reader: &mut ConfigReader) -> Self {
        Self::Kafka(KafkaOptions::read(reader))
    }

    #[cfg(not(feature = "kafka"))]
    fn read_kafka(reader: &mut ConfigReader) -> Self {
        reader.problem(
            "BUS",
            "cannot be kafka, which this program was built without: build it with `--features kafka`",
        );
        Self::Log
    }

    /// How others follow a log, of which `own` is the service's own feed.
    #[cfg_attr(not(feature = "kafka"), expect(clippy::unused_async, reason = "Kafka has to be asked"))]
    pub async fn connect(
        &self,
        own: IntegrationFeed,
        log: &EventLog,
        shutdown: &Shutdown,
        readiness: &Readiness,
    ) -> anyhow::Result<IntegrationFeed> {
        match self {
            Self::Log => {
                let _ = (log, shutdown, readiness);
                Ok(own)
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => {
                let name = own.log().to_owned();
                Relay::start(own, log, options, shutdown, readiness).await?;
                Ok(KafkaFeed::new(options, &name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(values: &[(&str, &str)]) -> Vec<String> {
        let mut reader = ConfigReader::from_map(values.iter().copied());
        let bus = Bus::read(&mut reader);
        let errors = reader.finish(bus).err();
        errors.iter().flat_map(|errors| errors.problems()).map(|p| format!("{} {}", p.name, p.rule)).collect()
    }

    #[test]
    fn logs_are_the_bus_unless_told_otherwise() {
        assert!(problems(&[]).is_empty());
        assert!(problems(&[("BUS", "log")]).is_empty());
        assert_eq!(problems(&[("BUS", "rabbits")]).len(), 1);
    }

    #[cfg(not(feature = "kafka"))]
    #[test]
    fn kafka_is_refused_by_a_program_without_it_with_what_to_do() {
        let [problem] = &problems(&[("BUS", "kafka")])[..] else { panic!("one problem") };
        assert!(problem.contains("--features kafka"), "{problem}");
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn kafka_needs_its_brokers() {
        assert!(problems(&[("BUS", "kafka"), ("STORELINE_KAFKA_BROKERS", "broker:9092")]).is_empty());
        let missing = problems(&[("BUS", "kafka")]);
        assert!(missing.iter().any(|problem| problem.contains("STORELINE_KAFKA_BROKERS")), "{missing:?}");
    }
}
