//! The binary: what it says of itself and of a wrong configuration, and how it brings its database up to date.

use payment_service::LOG;
use testkit::process::{self, Binary};

const PATH: &str = env!("CARGO_BIN_EXE_payment-service");
const NAME: &str = "payment-service";
/// What it cannot serve without.
const REQUIRED: [&str; 5] = [
    "DATABASE_URL",
    "STORELINE_OPERATOR_TOKENS",
    "STORELINE_SERVICE_TOKENS",
    "STORELINE_KAFKA_BROKERS",
    "STORELINE_PAYMENT_PROVIDER",
];
/// What has a rule beside.
const RULED: [&str; 6] =
    ["BUS", "STORELINE_GRPC", "STORELINE_ADMIN", "STORELINE_DRAIN_LIMIT", "LOG_FORMAT", "GRPC_MAX_CALLS"];

/// With everything that it needs but a database.
fn binary() -> Binary {
    Binary::serving(PATH).set("STORELINE_PAYMENT_PROVIDER", "simulator")
}

#[tokio::test]
async fn every_missing_variable_is_named_at_once() {
    let migrate = ["DATABASE_URL", "STORELINE_MIGRATE_DATABASE_URL"];
    process::assert_names_what_is_missing(PATH, &REQUIRED, &migrate).await;
}

#[tokio::test]
async fn every_wrong_variable_is_named_at_once_and_no_secret_is_shown() {
    process::assert_names_what_is_wrong(PATH, &[&REQUIRED[..], &RULED].concat()).await;
}

#[tokio::test]
async fn it_lists_every_variable_that_its_commands_read() {
    process::assert_describes_itself(PATH, NAME, &REQUIRED).await;
}

#[tokio::test]
async fn a_database_is_migrated_by_its_owner_before_the_service_works_on_it() {
    process::assert_migrates(&binary(), NAME, LOG).await;
}

#[tokio::test]
async fn it_serves_until_it_is_asked_to_stop() {
    process::assert_serves(&binary(), LOG).await;
}
