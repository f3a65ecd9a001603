//! Which replica a call goes to.

use std::collections::HashSet;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::support::{Server, client, client_of, options, own_ip, read, until};

#[tokio::test]
async fn calls_go_to_every_replica() {
    let servers = [Server::start("a").await, Server::start("b").await, Server::start("c").await];
    let client = client(&servers.each_ref(), options());
    let mut names = HashSet::new();
    until(async || {
        names.insert(read(&client, "").await.unwrap());
        names.len() == servers.len()
    })
    .await;
}

#[tokio::test]
async fn calls_that_hang_are_shared_out_between_replicas() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let client = client(&[&a, &b], options());
    until(async || read(&client, "").await.unwrap() == "b").await;
    // Calls that hang at one of the two, wherever they went.
    let hanging: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { read(&client, "wait").await })
        })
        .collect();
    for _ in 0..20 {
        tokio::select! {
            () = a.one_waits() => {}
            () = b.one_waits() => {}
        }
    }
    let held = [a.calls(), b.calls()];
    assert!(held.iter().all(|calls| *calls > 0), "the less busy of two is chosen: {held:?}");
    for server in [&a, &b] {
        server.handlers.go_on.add_permits(20);
    }
    for call in hanging {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_replica_that_is_not_ready_is_left_alone_and_taken_back() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let client = client(&[&a, &b], options());
    until(async || read(&client, "").await.unwrap() == "a").await;
    let database = a.readiness.component("database");
    let mut in_a_row = 0;
    until(async || {
        in_a_row = if read(&client, "").await.unwrap() == "b" { in_a_row + 1 } else { 0 };
        in_a_row == 100
    })
    .await;
    database.ready();
    until(async || read(&client, "").await.unwrap() == "a").await;
}

#[tokio::test]
async fn a_replica_that_fails_again_and_again_is_ejected_while_others_answer() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let mut options = options();
    options.eject_after = 3;
    options.ejection = (Duration::from_secs(3600), Duration::from_secs(3600));
    let client = client(&[&a, &b], options);
    until(async || read(&client, "").await.unwrap() == "a" && b.calls() > 0).await;
    let mut calls = a.calls();
    let mut quiet = 0;
    until(async || {
        assert_eq!(read(&client, "bare at a").await.unwrap(), "b");
        quiet = if a.calls() == calls { quiet + 1 } else { 0 };
        calls = a.calls();
        quiet == 100
    })
    .await;
}

#[tokio::test]
async fn what_takes_connections_and_says_nothing_gets_no_calls() {
    let silent = TcpListener::bind((own_ip(), 0)).await.unwrap();
    let b = Server::start("b").await;
    let mut options = options();
    options.health_timeout = Duration::from_millis(50);
    let addresses = vec![silent.local_addr().unwrap().into(), b.address.into()];
    let names = service_client::Names::new(&[([127, 0, 0, 1], 1).into()]).unwrap();
    let client = client_of(addresses, &names, options);
    for _ in 0..100 {
        assert_eq!(read(&client, "").await.unwrap(), "b");
    }
}
