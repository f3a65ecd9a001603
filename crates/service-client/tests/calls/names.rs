//! Names that stand for other replicas from time to time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use service_client::{Address, Names};
use service_runtime::config::ConfigValue;

use crate::support::dns::{DnsServer, Says};
use crate::support::{Server, client_of, options, own_ip, read, until};

fn v4(server: &Server) -> Ipv4Addr {
    match server.address.ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip}"),
    }
}

#[tokio::test]
async fn replicas_come_and_go_with_the_answers_of_dns_and_no_call_fails() {
    let a = Server::start("a").await;
    let b = Server::start_at("b", SocketAddr::new(own_ip(), a.address.port())).await;
    let dns = DnsServer::start(Says::Addresses(vec![v4(&a)], 0)).await;
    let names = Names::new(&[dns.address]).unwrap();
    let address = Address::parse(&format!("calls.service.consul.:{}", a.address.port())).unwrap();
    let client = client_of(vec![address], &names, options());
    assert_eq!(read(&client, "").await.unwrap(), "a");

    dns.now_says(Says::Addresses(vec![v4(&a), v4(&b)], 0));
    until(async || read(&client, "").await.unwrap() == "b").await;

    dns.now_says(Says::Addresses(vec![v4(&b)], 0));
    let mut in_a_row = 0;
    until(async || {
        in_a_row = if read(&client, "").await.unwrap() == "b" { in_a_row + 1 } else { 0 };
        in_a_row == 100
    })
    .await;
}

#[tokio::test]
async fn replicas_stay_known_while_dns_is_silent_or_denies_the_name() {
    let a = Server::start("a").await;
    let dns = DnsServer::start(Says::Addresses(vec![v4(&a)], 0)).await;
    let names = Names::new(&[dns.address]).unwrap();
    let address = Address::parse(&format!("calls.service.consul.:{}", a.address.port())).unwrap();
    let client = client_of(vec![address], &names, options());
    assert_eq!(read(&client, "").await.unwrap(), "a");
    for says in [Says::NoSuchName, Says::Nothing, Says::Addresses(vec![], 0)] {
        dns.now_says(says);
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            assert_eq!(read(&client, "").await.unwrap(), "a");
        }
    }
}

#[tokio::test]
async fn an_answer_is_good_for_its_time_to_live() {
    let dns = DnsServer::start(Says::Addresses(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST], 600)).await;
    let names = Names::new(&[dns.address]).unwrap();
    let (addresses, good_for) = names.look_up("calls.service.consul.").await.unwrap();
    assert_eq!(addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    assert!(good_for > Duration::from_secs(500) && good_for <= Duration::from_secs(600), "{good_for:?}");
    dns.now_says(Says::NoSuchName);
    let error = names.look_up("calls.service.consul.").await.unwrap_err();
    assert!(error.to_string().contains("calls.service.consul"), "{error}");
}
