//! The gRPC side as anybody meets it who has grpcurl and no proto file.

use e2e_tests::Finished;
use e2e_tests::tools::grpcurl;
use e2e_tests::trade::{PRICE, order_of, tokens};

const SERVICES: [(&str, &str); 5] = [
    ("product", "shop.product.v1.ProductService"),
    ("inventory", "shop.inventory.v1.InventoryService"),
    ("order", "shop.order.v1.OrderService"),
    ("payment", "shop.payment.v1.PaymentService"),
    ("saga", "shop.saga.v1.SagaService"),
];

const GET_ORDER: &str = "shop.order.v1.OrderService/GetOrder";

fn assert_code(finished: &Finished, code: &str) {
    assert_ne!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains(&format!("Code: {code}")), "{finished:?}");
}

#[tokio::test]
async fn every_service_port_lists_and_describes_its_services_and_is_healthy() {
    let shop = crate::stage().await;
    for (name, service) in SERVICES {
        let address = shop.grpc()[name].as_str();
        let listed = grpcurl(&[address, "list"]).await.ok();
        for expected in [service, "shop.operations.v1.OperationsService", "grpc.health.v1.Health"] {
            assert!(listed.lines().any(|line| line == expected), "{expected} is not at {name}: {listed}");
        }
        let others = SERVICES.iter().filter(|(other, _)| *other != name);
        for (_, other) in others {
            assert!(!listed.contains(other), "{other} is at the port of {name}");
        }
        let described = grpcurl(&[address, "describe", service]).await.ok();
        assert!(described.contains("rpc "), "{described}");
        for asked in ["{}".to_owned(), format!("{{\"service\": \"{service}\"}}")] {
            let health = grpcurl(&["-d", &asked, address, "grpc.health.v1.Health/Check"]).await.ok();
            assert!(health.contains("\"SERVING\""), "{name}: {health}");
        }
    }
}

#[tokio::test]
async fn a_call_for_operators_needs_the_operator_s_token_on_every_port() {
    let shop = crate::stage().await;
    let token = format!("authorization: Bearer {}", shop.secret("operator.token"));
    let service = format!("authorization: Bearer {}", shop.secret("service.token"));
    for (name, _) in SERVICES {
        let address = shop.grpc()[name].as_str();
        let method = "shop.operations.v1.OperationsService/ListSubscriptions";
        let listed = grpcurl(&["-H", &token, address, method]).await.ok();
        assert!(!listed.contains("\"STOPPED\""), "{name}: {listed}");
        assert_code(&grpcurl(&[address, method]).await, "Unauthenticated");
        let wrong = "authorization: Bearer 0123456789abcdef0123456789abcdef";
        assert_code(&grpcurl(&["-H", wrong, address, method]).await, "Unauthenticated");
        assert_code(&grpcurl(&["-H", &service, address, method]).await, "PermissionDenied");
    }
}

#[tokio::test]
async fn an_order_can_be_read_and_watched_over_grpc_by_whoever_holds_its_token() {
    let shop = crate::stage().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 1).await;
    let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    let address = shop.grpc()["order"].as_str();
    let asked = format!("{{\"order_id\": \"{}\"}}", placed.order_id);
    let token = format!("authorization: Bearer {}", placed.token);
    let watch =
        ["-H", token.as_str(), "-d", asked.as_str(), address, "shop.order.v1.OrderService/WatchOrder"];
    let watched = grpcurl(&watch).await.ok();
    assert!(watched.contains("OrderPlaced") && watched.contains("OrderConfirmed"), "{watched}");
    let read = grpcurl(&["-H", &token, "-d", &asked, address, GET_ORDER]).await.ok();
    assert!(read.contains("ORDER_STATUS_CONFIRMED"), "{read}");
    assert_code(&grpcurl(&["-d", &asked, address, GET_ORDER]).await, "Unauthenticated");
    let malformed = r#"{"order_id": "7"}"#;
    assert_code(&grpcurl(&["-H", &token, "-d", malformed, address, GET_ORDER]).await, "InvalidArgument");
}
