//! Replicas that come, go, freeze and are replaced while people shop.

use e2e_tests::cluster::{Options, SERVICES};
use testkit::{is_long, kafka};

use crate::scene::{Scene, is_wanted, options, postgres, turn};

/// One that takes orders and one that drives them on, in the ordinary form.
const SOME_OF_THEM: [&str; 2] = ["order", "saga"];

/// Orders that are followed to their end while a replica is frozen: some are in its partitions.
const ROUNDS: usize = 6;

/// Of one of each, a second is started when a test says so.
fn two_of_each() -> Options {
    Options { started: 1, ..options(postgres(), kafka::bootstrap()).replicas(2) }
}

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_request_that_a_client_can_see() {
    let services = if is_long() { &SERVICES[..] } else { &SOME_OF_THEM[..] };
    let mut scene = Scene::start(turn().await, two_of_each()).await;
    for service in services {
        scene.cluster.start_again(service, 2).await.expect("it joins");
        for replica in [1, 2] {
            scene.cluster.gateway_has(service, 2).await;
            scene.cluster.stop(service, replica).await.expect("it stops in order");
            scene.goes_on().await;
            scene.cluster.start_again(service, replica).await.expect("it comes back");
            scene.goes_on().await;
        }
    }
    let seen = scene.settle(&format!("rolling restart of {}", services.join(", "))).await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}

#[tokio::test]
async fn a_second_replica_of_every_service_joins_takes_over_and_leaves() {
    if !is_wanted("second replicas join and leave") {
        return;
    }
    let mut scene = Scene::start(turn().await, two_of_each()).await;
    // Partitions of every topic move at the same time, there and back.
    for service in SERVICES {
        scene.cluster.start_again(service, 2).await.expect("it joins");
    }
    scene.goes_on().await;
    for service in SERVICES {
        scene.cluster.gateway_has(service, 2).await;
        scene.cluster.stop(service, 1).await.expect("it leaves in order");
    }
    // The newcomers do all of it now.
    scene.goes_on().await;
    for service in SERVICES {
        scene.cluster.start_again(service, 1).await.expect("it comes back");
        scene.cluster.gateway_has(service, 2).await;
        scene.cluster.stop(service, 2).await.expect("it leaves in order");
        scene.goes_on().await;
    }
    let seen = scene.settle("second replicas join and leave").await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}

#[tokio::test]
async fn a_replica_that_stood_still_until_another_had_its_work_does_nothing_twice_when_it_goes_on() {
    if !is_wanted("zombies") {
        return;
    }
    let mut scene = Scene::start(turn().await, Options { started: 2, ..two_of_each() }).await;
    for service in SERVICES {
        // One of the two has the leases.
        for replica in [1, 2] {
            scene.cluster.freeze(service, replica).expect("it runs");
            // Orders go all the way only once the frozen one's relay, partitions and tasks are the other's.
            for _ in 0..ROUNDS {
                scene.goes_on().await;
            }
            scene.cluster.thaw(service, replica).expect("it is frozen");
            scene.goes_on().await;
            scene.cluster.ready().await.expect("it finds its place again");
        }
    }
    scene.settle("zombies of each service").await;
}
