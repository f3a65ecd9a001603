//! Replicas that come, go, freeze and are replaced while people shop.

use std::time::{Duration, Instant};

use e2e_tests::cluster::{GATEWAY, Options, SERVICES};
use e2e_tests::trade::ORDER_DEADLINE;
use testkit::{eventually, is_long, kafka, say};

use crate::scene::{Scene, is_wanted, options, postgres, turn};

/// One that takes orders, one that drives them on, and what is in front of all, in the ordinary form.
const SOME_OF_THEM: [&str; 3] = ["order", "saga", GATEWAY];

/// How long replicas stand still, which is longer than the sessions of consumers and of leases.
const FROZEN: Duration = Duration::from_secs(20);
/// Orders that are followed to their end while replicas are frozen: some are in their partitions.
const ROUNDS: usize = 6;

/// Of one of each, a second is started when a test says so.
fn two_of_each() -> Options {
    Options { started: 1, ..options(postgres(), kafka::bootstrap()).replicas(2) }
}

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_request_that_a_client_can_see() {
    let all: Vec<&str> = SERVICES.into_iter().chain([GATEWAY]).collect();
    let services = if is_long() { all.as_slice() } else { &SOME_OF_THEM[..] };
    let mut scene = Scene::start(turn().await, two_of_each()).await;
    for service in services {
        scene.cluster.start_again(service, 2).await.expect("it joins");
        for replica in [1, 2] {
            if *service != GATEWAY {
                scene.cluster.gateway_has(service, 2).await;
            }
            scene.cluster.stop(service, replica).await.expect("it stops in order");
            scene.goes_on().await;
            scene.cluster.start_again(service, replica).await.expect("it comes back");
            scene.goes_on().await;
        }
        say(format!("{} orders, the replicas of {service} are new", scene.shoppers.placed()));
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
    say(format!("{} orders, all of it done by the second replicas", scene.shoppers.placed()));
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
async fn replicas_that_stood_still_until_others_had_their_work_do_nothing_twice_when_they_go_on() {
    if !is_wanted("zombies") {
        return;
    }
    let mut scene = Scene::start(turn().await, Options { started: 2, ..two_of_each() }).await;
    // One of the two has the leases, and each has some of the partitions.
    for replica in [1, 2] {
        for service in SERVICES {
            scene.cluster.freeze(service, replica).expect("it runs");
        }
        let begun = Instant::now();
        eventually("they stood still for long", ORDER_DEADLINE, async || {
            (begun.elapsed() > FROZEN).then_some(())
        })
        .await;
        // Orders go all the way only once relays, partitions and tasks of the frozen ones are the others'.
        for _ in 0..ROUNDS {
            scene.goes_on().await;
        }
        say(format!("{} orders, the last ones without replicas {replica}", scene.shoppers.placed()));
        for service in SERVICES {
            scene.cluster.thaw(service, replica).expect("it is frozen");
        }
        scene.goes_on().await;
        scene.cluster.ready().await.expect("they find their places again");
    }
    scene.settle("zombies of each service").await;
}
