//! Kafka between the services: a relay that copies a service's log into a topic, and feeds that read topics. The log stays
//! the truth, and positions stay in the databases; of Kafka nothing is asked but order within a partition and that what
//! it acknowledged is kept.

pub mod client;
mod feed;
pub mod options;
pub mod record;
pub mod relay;
pub mod topics;

pub use feed::KafkaFeed;
pub use options::KafkaOptions;
pub use relay::Relay;
