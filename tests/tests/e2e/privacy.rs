//! Who shops is nobody's business but the shopper's and the operator's: personal data stands nowhere in the clear, and a
//! person can be forgotten without the books going wrong.

use std::time::Duration;

use e2e_tests::tools::{disguises, dump, files_with, grpcurl};
use e2e_tests::trade::{PRICE, Placed, order_of, tokens, unique};
use e2e_tests::{Api, Ports, Shop, text};
use serde_json::{Value, json};

const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
const MAIL: &str = "wilhelmina.quastenflosse@personal-mail.example";
const RECIPIENT: &str = "Wilhelmina Quastenflosse";
const STREET: &str = "Kranichsteinpfad 4711";
const CITY: &str = "Oberkrumbach am Weiher";
const POSTAL_CODE: &str = "QX7 98W";
const NOTE: &str = "the key lies under the garden gnome";
const FREE_TEXT_REASON: &str = "my sister Kunigunde has bought the same already";

fn person() -> Value {
    json!({
        "email": MAIL,
        "shippingAddress": {
            "recipient": RECIPIENT, "lines": [STREET], "postalCode": POSTAL_CODE, "city": CITY, "countryCode": "DE",
        },
        "deliveryNote": NOTE,
    })
}

fn secrets() -> Vec<String> {
    [MAIL, RECIPIENT, STREET, CITY, POSTAL_CODE, NOTE, FREE_TEXT_REASON].map(str::to_owned).to_vec()
}

fn assert_silent(about: &str, text: &str, secrets: &[String]) {
    let text = text.to_lowercase();
    for secret in secrets {
        let found = disguises(secret).into_iter().find(|disguise| text.contains(&disguise.to_lowercase()));
        assert_eq!(found, None, "{about} holds {secret:?}");
    }
}

/// The one of a customer among the orders of [`shop_around`].
const OF_CUSTOMER: usize = 1;

/// An order whose way in is HTTP/2, with log lines of its own.
async fn place_over_grpc(shop: &Shop) -> Placed {
    let goods = shop.api().goods(PRICE, 1).await;
    let mut order = order_of(&goods, 1, tokens::SUCCESS);
    order["contact"] = person();
    let method = "shop.order.v1.OrderService/PlaceOrder";
    let answer = grpcurl(&["-d", &order.to_string(), &shop.grpc()["order"], method]).await.ok();
    let answer: Value = serde_json::from_str(&answer).expect("grpcurl prints JSON");
    let placed = Placed {
        order_id: text(&answer, "/order/orderId"),
        token: text(&answer, "/accessToken"),
        position: text(&answer, "/position"),
    };
    shop.api().ended(&placed).await;
    placed
}

/// Orders of every kind of end, one as a customer, the others as guests.
async fn shop_around(api: &Api, customer: &str) -> Vec<Placed> {
    let goods = api.goods(PRICE, 3).await;
    let order = |quantity: i64, token: &str| {
        let mut order = order_of(&goods, quantity, token);
        order["contact"] = person();
        order
    };
    let mut of_customer = order(1, tokens::SUCCESS);
    of_customer["customerId"] = json!(customer);
    let mut placed = Vec::new();
    for order in
        [order(1, tokens::SUCCESS), of_customer, order(1, tokens::DECLINED), order(9, tokens::SUCCESS)]
    {
        let order = api.place(&order).await;
        api.ended(&order).await;
        placed.push(order);
    }
    let cancelled = api.place(&order(1, tokens::SUCCESS)).await;
    api.ended(&cancelled).await;
    let path = format!("/v1/orders/{}:cancel", cancelled.order_id);
    let reason = json!({"reason": FREE_TEXT_REASON});
    api.post(&path, &reason).bearer(&cancelled.token).key(&unique("cancel")).ok().await;
    api.order_with_status(&cancelled, "ORDER_STATUS_CANCELLED").await;
    placed.push(cancelled);

    // What is refused leaves traces, too.
    let mut at_another_price = order(1, tokens::SUCCESS);
    at_another_price["expectedTotal"]["minorUnits"] = json!("1");
    let key = unique("refused");
    for _ in 0..2 {
        api.post("/v1/orders", &at_another_price).key(&key).refused(422).await;
    }
    let mut malformed = order(1, tokens::SUCCESS);
    malformed["contact"]["shippingAddress"]["countryCode"] = json!("ZZZ");
    let problem = api.post("/v1/orders", &malformed).key(&unique("malformed")).refused(400).await;
    assert_silent("a problem", &problem.to_string(), &secrets());
    placed
}

#[tokio::test]
async fn personal_data_is_in_no_dump_no_file_no_log_line_and_no_event_and_a_person_can_be_forgotten() {
    let shop = Shop::start_with(Ports::Free, &[("LOG_FILTER", "trace")]).await;
    let api = shop.api();
    let customer = unique("customer");
    let mut placed = shop_around(&api, &customer).await;
    placed.push(place_over_grpc(&shop).await);
    for order in &placed {
        assert_eq!(api.order(order).await["contact"], person(), "the shopper sees it");
    }
    let mut hidden = secrets();
    hidden.extend(placed.iter().map(|order| order.token.clone()));
    hidden.extend([shop.secret("operator.token"), shop.secret("service.token")]);

    let stored = dump(&shop).await;
    assert!(stored.contains(&placed[0].order_id), "the dump holds the orders");
    assert_silent("the dump", &stored, &hidden);
    let events = shop.run(&["events", "--json"], COMMAND_DEADLINE).await.ok();
    assert!(events.contains(&placed[0].order_id), "the events are about the orders");
    assert_silent("an event", &events, &hidden);
    assert!(shop.log().contains("DEBUG"), "the log holds all that it can");
    assert_silent("the log", &shop.log(), &hidden);
    let known = files_with(&shop.data().join("postgres"), std::slice::from_ref(&placed[0].order_id)).await;
    assert!(!known.is_empty(), "an order is found in the files of the database");
    // Write-ahead log, temporary files, PostgreSQL's own log: nothing may pass by there.
    assert_eq!(files_with(&shop.data(), &secrets()).await, Vec::<String>::new());
    assert_eq!(files_with(&shop.data().join("postgres"), &hidden).await, Vec::<String>::new());

    let read = |order: &Placed| api.get(&format!("/v1/orders/{}", order.order_id)).operator();
    let mut known = Vec::new();
    for order in &placed {
        known.push(read(order).send().await.header("etag").to_owned());
    }
    shop.run(&["forget", "--customer", &customer], COMMAND_DEADLINE).await.ok();
    for guest in placed.iter().enumerate().filter(|(place, _)| *place != OF_CUSTOMER).map(|(_, order)| order)
    {
        shop.run(&["forget", "--order", &guest.order_id], COMMAND_DEADLINE).await.ok();
    }
    for (order, etag) in placed.iter().zip(&known) {
        assert!(!etag.is_empty(), "an order that was read has a tag");
        // Whoever has it from before must not be told that it is still so.
        let order = read(order).header("if-none-match", etag).ok().await;
        assert_eq!(order["order"]["personForgotten"], true, "{order}");
        assert!(order["order"].get("contact").is_none_or(Value::is_null), "{order}");
        assert_silent("a forgotten order", &order.to_string(), &secrets());
    }
    let listed = api.list("/v1/orders", "", "orders").await;
    assert_silent("the list of orders", &json!(listed).to_string(), &secrets());
    for order in &placed {
        let path = format!("/v1/orders/{}/history", order.order_id);
        let history = api.get(&path).operator().ok().await;
        assert_silent("the history of a forgotten order", &history.to_string(), &secrets());
    }
    assert_silent("the log", &shop.log(), &hidden);
    shop.audit().await;
}
