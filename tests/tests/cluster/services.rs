//! Services and the gateway die while people shop.

use e2e_tests::cluster::{GATEWAY, SERVICES};
use testkit::{is_long, kafka, say};

use crate::scene::{Scene, options, postgres, turn};

/// One that takes orders, one that drives them on, and what is in front of all.
const SOME_OF_THEM: [&str; 3] = ["order", "saga", GATEWAY];

#[tokio::test]
async fn whatever_is_killed_under_load_all_that_was_acknowledged_comes_to_its_end() {
    let all: Vec<&str> = SERVICES.into_iter().chain([GATEWAY]).collect();
    // In the long form each of two replicas, whose work is the other's until it is back.
    let (victims, replicas) = if is_long() { (all.as_slice(), 2) } else { (&SOME_OF_THEM[..], 1) };
    let mut scene =
        Scene::start(turn().await, options(postgres(), kafka::bootstrap()).replicas(replicas)).await;
    for victim in victims {
        for replica in 1..=replicas {
            scene.cluster.kill(victim, replica).expect("it runs");
            if replicas > 1 {
                scene.goes_on().await;
            }
            scene.cluster.start_again(victim, replica).await.expect("it comes back");
            scene.goes_on().await;
        }
        say(format!("{} orders, {victim} was killed and is back", scene.shoppers.placed()));
    }
    let what = format!("kill -9 of {} x {replicas}", victims.join(", "));
    scene.settle(&what).await;
}
