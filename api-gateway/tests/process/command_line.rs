//! What the program says when it is started.

use crate::support::{Gateway, Server, command, soon, until};

#[tokio::test]
async fn a_start_without_configuration_names_every_variable_and_fails() {
    let output = soon(command(&[("STORELINE_HTTP", "8080".to_owned())]).output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for name in
        ["PRODUCT_ADDRESS", "INVENTORY_ADDRESS", "ORDER_ADDRESS", "PAYMENT_ADDRESS", "SAGA_ADDRESS", "HTTP"]
    {
        assert!(said.contains(&format!("STORELINE_{name} must be")), "{said}");
    }
}

#[tokio::test]
async fn the_configuration_is_listed_for_people_and_programs() {
    let output = soon(command(&[]).args(["config", "--json"]).output()).await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let variables = listed["variables"].as_array().unwrap();
    let named = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(named("STORELINE_PRODUCT_ADDRESS")["required"], true);
    assert_eq!(named("STORELINE_HTTP")["default"], "127.0.0.1:8080");
    assert_eq!(named("STORELINE_HTTP")["commands"], serde_json::json!(["serve", "healthcheck"]));
    let text = soon(command(&[]).arg("config").output()).await.unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains("STORELINE_DNS_SERVERS\n"));
}

#[tokio::test]
async fn the_healthcheck_tells_by_its_exit_code_whether_the_gateway_is_ready_and_a_signal_stops_it() {
    let server = Server::start().await;
    let mut gateway = Gateway::start(&[&server]).await;
    let variables = [("STORELINE_HTTP", gateway.http.to_string())];
    let check = async |arguments: &[&str]| {
        let output = soon(command(&variables).arg("healthcheck").args(arguments).output()).await.unwrap();
        output.status.code()
    };
    assert_eq!((check(&[]).await, check(&["--live"]).await), (Some(0), Some(0)));
    let id = gateway.child.id().unwrap().to_string();
    let signalled = soon(tokio::process::Command::new("kill").args(["-TERM", &id]).status()).await.unwrap();
    assert!(signalled.success());
    assert_eq!(soon(gateway.child.wait()).await.unwrap().code(), Some(0));
    until(async || check(&["--live"]).await == Some(1)).await;
}
