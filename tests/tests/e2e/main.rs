//! What the shop promises, tried from the outside on the real binary. One program for all, so that tests that leave
//! the shop running share one. Those that need nothing but its sides run over a cluster, too: see the test target
//! `cluster`.

mod bulk;
mod crashes;
mod crowds;
mod faults;
mod grpc;
mod imports;
mod kafka;
mod metrics;
mod orders;
mod outcomes;
mod prices;
mod privacy;
mod process;
mod quotas;
mod rebuilds;
mod rest;
mod roles;

use e2e_tests::Shop;

/// What the tests run on that run on a cluster, too.
async fn stage() -> &'static Shop {
    Shop::shared().await
}
