//! The operator's commands against a cluster, through configuration.

use std::time::Duration;

/// A whole demo, its slowest payments included.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn the_demo_plays_all_outcomes_and_the_audit_finds_the_books_in_order() {
    let cluster = crate::stage().await;
    cluster.run(&["demo"], COMMAND_DEADLINE).await.ok();
    cluster.audit().await;
}
