//! What a signal from outside does. It is a test binary of its own, since signals reach a whole process.

#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use service_runtime::{Readiness, Shutdown};

#[tokio::test]
async fn sigterm_stops_a_process_after_its_work_has_ended() {
    let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
    shutdown.on_signals().unwrap();
    let stop = shutdown.stop_working();
    let (ended, mut has_ended) = tokio::sync::oneshot::channel();
    shutdown.spawn_worker("work", async move {
        stop.cancelled().await;
        ended.send(()).map_err(|()| "nobody waits")
    });
    assert!(
        Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap().success()
    );
    shutdown.run(&readiness, Duration::from_secs(30)).await.unwrap();
    has_ended.try_recv().unwrap();
    assert!(!readiness.is_ready());
}
