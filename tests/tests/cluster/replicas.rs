//! Replicas that are replaced while people shop.

use e2e_tests::cluster::{Options, SERVICES};
use testkit::kafka;

use crate::scene::{SOME, Scene, is_wanted, options, postgres};

fn two_of_each() -> Options {
    options(postgres(), kafka::bootstrap()).replicas(2)
}

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_request_that_a_client_can_see() {
    if !is_wanted("rolling restart") {
        return;
    }
    let mut scene = Scene::start_with(two_of_each()).await;
    for service in SERVICES {
        for replica in [1, 2] {
            scene.cluster.stop(service, replica).await.expect("it stops in order");
            scene.cluster.start_again(service, replica).await.expect("it comes back");
            scene.shoppers.more(SOME).await;
        }
    }
    let seen = scene.settle("rolling restart").await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}
