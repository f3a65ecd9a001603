//! The distributed shop on real Kafka, Redis and PostgreSQL. First the tests of the all-in-one that need nothing but its
//! sides, word for word, on a cluster that they share; then clusters of a test's own, in which something dies, freezes,
//! comes and goes, or is made worse by hand while people shop, each with the audit at the end.

#[path = "../e2e/crowds.rs"]
mod crowds;
#[path = "../e2e/grpc.rs"]
mod grpc;
#[path = "../e2e/orders.rs"]
mod orders;
#[path = "../e2e/outcomes.rs"]
mod outcomes;
#[path = "../e2e/rest.rs"]
mod rest;
#[path = "../e2e/roles.rs"]
mod roles;

mod kafka;
mod operator;
mod replicas;
mod restore;
mod scene;
mod services;
mod stores;
mod topics;
mod traces;

use e2e_tests::cluster::Cluster;

/// What the tests run on that run on the all-in-one, too.
async fn stage() -> &'static Cluster {
    scene::shared().await
}
