//! Replicas that stop and start under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt;
use service_client::ServiceClient;
use service_runtime::status::{reason, reason_of};
use tonic::{Code, Status};

use crate::support::{Server, asked, call, client, follow, options, read, soon, until};

/// Callers at once.
const CALLERS: usize = 8;
/// Restarts of each replica.
const ROUNDS: usize = 4;

/// Calls without a pause, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<Result<(), Status>>>,
}

impl Load {
    fn begin(client: &ServiceClient, method: &'static str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..CALLERS).map(|_| {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    call(&client, method, asked("", "")).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        Self { callers: callers.collect(), stop, done }
    }

    /// Waits until so many more calls were answered.
    async fn goes_on(&self, more: usize) {
        let before = self.done.load(Ordering::Relaxed);
        until(async || {
            self.done.load(Ordering::Relaxed) >= before + more
                || self.callers.iter().any(|caller| caller.is_finished())
        })
        .await;
    }

    /// Stops it; no call may have failed.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            soon(caller).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_not_even_one_that_must_not_be_repeated() {
    let mut servers = [Server::start("a").await, Server::start("b").await];
    let client = client(&servers.each_ref(), options());
    let load = Load::begin(&client, "Change");
    for _ in 0..ROUNDS {
        for server in &mut servers {
            load.goes_on(100).await;
            server.drain().await;
            load.goes_on(100).await;
            server.restart().await;
            let before = server.calls();
            until(async || server.calls() > before).await;
        }
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_killed_fails_no_read() {
    let mut servers = [Server::start("a").await, Server::start("b").await];
    let client = client(&servers.each_ref(), options());
    let load = Load::begin(&client, "Read");
    for _ in 0..ROUNDS {
        for server in &mut servers {
            load.goes_on(100).await;
            server.kill();
            load.goes_on(100).await;
            server.restart().await;
            let before = server.calls();
            until(async || server.calls() > before).await;
        }
    }
    load.end().await;
}

#[tokio::test]
async fn a_call_waits_for_the_only_replica_to_come_back() {
    let mut server = Server::start("a").await;
    let client = client(&[&server], options());
    read(&client, "").await.unwrap();
    server.drain().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "Change", asked("", "")).await }
    });
    tokio::task::yield_now().await;
    server.restart().await;
    assert_eq!(soon(waiting).await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn a_stream_says_that_its_server_stops_and_is_not_begun_again_behind_its_readers_back() {
    let (mut a, b) = (Server::start("a").await, Server::start("b").await);
    let client = client(&[&a, &b], options());
    let mut stream = loop {
        let mut stream = follow(&client, "").await.unwrap();
        if soon(stream.next()).await.unwrap().unwrap().text == "a" {
            break stream;
        }
    };
    let before = b.calls();
    a.drain().await;
    let end = soon(stream.next()).await.unwrap().unwrap_err();
    assert_eq!((end.code(), reason_of(&end).as_str()), (Code::Unavailable, reason::STOPPING));
    assert_eq!(b.calls(), before);
    let mut again = follow(&client, "end").await.unwrap();
    assert_eq!(soon(again.next()).await.unwrap().unwrap().text, "b");
    assert!(soon(again.next()).await.is_none());
}
