//! A shop with something of everything in it, and for each RPC a request that is right, of which the bad ones are made:
//! only what a case changes can be the reason for its refusal.

use std::collections::BTreeMap;

use e2e_tests::trade::{Goods, Placed, contact, order_of, tokens, unique};
use e2e_tests::{Api, Shop, text};
use serde_json::{Value, json};

/// A SKU that some product has.
pub const TAKEN_SKU: &str = "TAKEN-SKU";
/// More than any order of the stage costs, in cents.
pub const EXPENSIVE: i64 = 1_000_000;
const PRICE: i64 = 1_250;
/// Whose orders the stage has.
const CUSTOMER: &str = "customer-of-the-stage";

/// What the shop says when a request is sent as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    Accepted,
    /// Nothing on the stage is in the state that it wants; the reason of the refusal.
    Refused(&'static str),
}

/// A request that is right.
#[derive(Debug, Clone)]
pub struct Base {
    pub message: Value,
    pub unchanged: Unchanged,
    /// The JSON pointer of a member and another value that is right, too; for those with a request id.
    pub another: Option<(&'static str, Value)>,
}

/// Everything that cases are made of.
pub struct Stage {
    pub bases: BTreeMap<String, Base>,
    /// A page token of each list that has two pages.
    pub page_tokens: BTreeMap<String, String>,
    /// A position of each log that answers carried, by the name of its service's port.
    pub positions: BTreeMap<&'static str, String>,
    /// The access token of an order that no base is about.
    pub foreign_token: String,
    pub operator: String,
    pub service: String,
    /// What must not be in any log line.
    pub secrets: Vec<String>,
}

/// Puts everything on the stage and waits until nothing moves.
pub async fn set(shop: &Shop) -> Stage {
    let api = shop.api();
    let brand = unique("Brand");
    let taken = goods(&api, TAKEN_SKU, &brand).await;
    let other = goods(&api, &unique("OTHER"), &brand).await;
    let ended = goods(&api, &unique("ENDED"), &brand).await;
    for price in ["1300", "1250"] {
        let body = json!({"price": {"currencyCode": "EUR", "minorUnits": price}});
        let path = format!("/v1/products/{}/variants/{TAKEN_SKU}:changePrice", taken.product_id);
        api.post(&path, &body).operator().ok().await;
    }
    let received = api.receive(TAKEN_SKU, 50).await;
    api.receive(&other.sku, 50).await;

    let mut orders = Vec::new();
    for _ in 0..6 {
        let mut order = order_of(&taken, 1, tokens::SUCCESS);
        order["customerId"] = json!(CUSTOMER);
        orders.push(api.place(&order).await);
    }
    let guest = api.place(&order_of(&taken, 1, tokens::SUCCESS)).await;
    orders.push(guest.clone());
    for order in &orders {
        assert_eq!(api.ended(order).await["status"], "ORDER_STATUS_CONFIRMED");
        api.saga_with_status(&format!("checkout-{}", order.order_id), "SAGA_STATUS_COMPLETED").await;
        api.payment_with_status(&order.order_id, "PAYMENT_STATUS_CAPTURED").await;
        api.reservation_with_status(&order.order_id, "RESERVATION_STATUS_COMMITTED").await;
    }
    let [read, cancel, ship, deliver, refund, foreign, _] = &orders[..] else { panic!("seven were placed") };
    let path = format!("/v1/orders/{}:ship", deliver.order_id);
    api.post(&path, &json!({})).operator().ok().await;

    let mut secrets: Vec<String> = orders.iter().map(|order| order.token.clone()).collect();
    secrets.extend([shop.secret("operator.token"), shop.secret("service.token")]);
    secrets.extend(["ada.example@mail.example", "Ada Example", "Quay Street 5"].map(str::to_owned));
    let mut bases = BTreeMap::new();
    catalogue(&mut bases, &brand, &taken, &other, &ended);
    prices_to_come(&api, &mut bases, &other).await;
    of_orders(&mut bases, &taken, read, cancel, ship, deliver, &guest);
    behind_orders(&mut bases, read, refund);
    let page_tokens = page_tokens(&api, &bases).await;
    Stage {
        bases,
        page_tokens,
        positions: BTreeMap::from([
            ("product", taken.position.clone()),
            ("inventory", text(&received, "/position")),
            ("order", read.position.clone()),
        ]),
        foreign_token: foreign.token.clone(),
        operator: shop.secret("operator.token"),
        service: shop.secret("service.token"),
        secrets,
    }
}

async fn goods(api: &Api, sku: &str, brand: &str) -> Goods {
    let mut body = product(sku, brand);
    body["variants"][0]["price"]["minorUnits"] = json!(PRICE.to_string());
    let created = api.post("/v1/products", &body).operator().ok().await;
    let (product_id, position) = (text(&created, "/product/productId"), text(&created, "/position"));
    Goods { product_id, sku: sku.to_owned(), price: PRICE, position }
}

/// A product with something in every field.
fn product(sku: &str, brand: &str) -> Value {
    json!({
        "handle": unique("mug"),
        "name": "Enamel mug",
        "description": "<p>Holds coffee.</p>",
        "brand": brand,
        "categoryPath": ["Kitchen", "Mugs"],
        "supplier": "North Pier Trading",
        "attributes": {"material": "enamel"},
        "tags": ["gift", "blue"],
        "images": [{"url": "https://images.example/mug.jpg", "altText": "A mug"}],
        "status": "PRODUCT_STATUS_ACTIVE",
        "variants": [variant(sku)],
    })
}

fn variant(sku: &str) -> Value {
    json!({
        "sku": sku,
        "options": [{"name": "Colour", "value": format!("as {sku}")}],
        "price": {"currencyCode": "EUR", "minorUnits": "1250"},
        "barcode": "4006381333931",
    })
}

type Bases = BTreeMap<String, Base>;

fn add(bases: &mut Bases, rpc: &str, message: Value) {
    add_other(bases, rpc, message, Unchanged::Accepted, None);
}

fn add_change(bases: &mut Bases, rpc: &str, message: Value, pointer: &'static str, value: Value) {
    add_other(bases, rpc, message, Unchanged::Accepted, Some((pointer, value)));
}

fn add_other(
    bases: &mut Bases,
    rpc: &str,
    message: Value,
    unchanged: Unchanged,
    another: Option<(&'static str, Value)>,
) {
    let earlier = bases.insert(format!("shop.{rpc}"), Base { message, unchanged, another });
    assert!(earlier.is_none(), "{rpc} has two bases");
}

fn catalogue(bases: &mut Bases, brand: &str, taken: &Goods, other: &Goods, ended: &Goods) {
    const SERVICE: &str = "product.v1.ProductService";
    let rpc = |name: &str| format!("{SERVICE}.{name}");
    let id = &taken.product_id;
    add_change(
        bases,
        &rpc("CreateProduct"),
        product(&unique("CREATED"), brand),
        "/name",
        json!("Another name"),
    );
    add(bases, &rpc("GetProduct"), json!({"productId": id}));
    add(bases, &rpc("GetProductAsOf"), json!({"productId": id}));
    add(bases, &rpc("ListProducts"), json!({"brand": brand, "maxPrice": "5000", "currencyCode": "EUR"}));
    let options = [taken, other].map(|goods| format!("Colour=as {}", goods.sku));
    let found = json!({
        "query": "enamel", "brand": [brand],
        "option": options,
        "maxPrice": "5000", "currencyCode": "EUR",
    });
    add(bases, &rpc("SearchProducts"), found);
    add(bases, &rpc("SuggestProducts"), json!({"query": "ena"}));
    let mut update = product("", brand);
    let members = update.as_object_mut().expect("it is an object");
    members.retain(|name, _| !["handle", "variants"].contains(&name.as_str()));
    update["productId"] = json!(other.product_id);
    update["updateMask"] =
        json!("name,description,brand,categoryPath,supplier,attributes,tags,images,status");
    add_change(bases, &rpc("UpdateProduct"), update, "/name", json!("Another name"));
    let more = json!({"productId": other.product_id, "variants": [variant(&unique("ADDED"))]});
    add_change(bases, &rpc("AddVariants"), more, "/variants/0/barcode", json!(""));
    let price = json!({
        "productId": other.product_id, "sku": other.sku,
        "price": {"currencyCode": "EUR", "minorUnits": "1400"}, "reason": "season",
    });
    add_change(bases, &rpc("ChangePrice"), price, "/price/minorUnits", json!("1500"));
    let end = json!({"productId": ended.product_id, "reason": "sold out"});
    add_change(bases, &rpc("DiscontinueProduct"), end.clone(), "/reason", json!("another reason"));
    add_change(bases, &rpc("ReinstateProduct"), end, "/reason", json!("another reason"));
    let mut import = product(&unique("IMPORTED"), brand);
    add_change(bases, &rpc("ImportProduct"), import.clone(), "/name", json!("Another name"));
    import["handle"] = json!(unique("imported"));
    import["variants"] = json!([variant(&unique("STREAMED"))]);
    add_change(bases, &rpc("ImportProducts"), import, "/name", json!("Another name"));
    add(bases, &rpc("ExportProducts"), json!({}));
    add(bases, &rpc("GetPriceHistory"), json!({"productId": id}));
}

async fn prices_to_come(api: &Api, bases: &mut Bases, goods: &Goods) {
    let Goods { product_id, sku, .. } = goods;
    let price = |days: i64| {
        let effective_time = chrono::Utc::now() + chrono::TimeDelta::days(days);
        json!({
            "price": {"currencyCode": "EUR", "minorUnits": "1100"}, "reason": "sale",
            "effectiveTime": effective_time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        })
    };
    let path = format!("/v1/products/{product_id}/variants/{sku}:schedulePrice");
    let scheduled = api.post(&path, &price(10)).operator().ok().await;
    let mut message = price(20);
    message["productId"] = json!(product_id);
    message["sku"] = json!(sku);
    let rpc = |name: &str| format!("product.v1.ProductService.{name}");
    add_change(bases, &rpc("SchedulePriceChange"), message, "/price/minorUnits", json!("1000"));
    let message = json!({
        "productId": product_id, "scheduleId": text(&scheduled, "/scheduleId"), "reason": "no sale",
    });
    add_change(bases, &rpc("WithdrawScheduledPrice"), message, "/reason", json!("another reason"));
}

fn of_orders(
    bases: &mut Bases,
    goods: &Goods,
    read: &Placed,
    cancel: &Placed,
    ship: &Placed,
    deliver: &Placed,
    guest: &Placed,
) {
    const SERVICE: &str = "order.v1.OrderService";
    let rpc = |name: &str| format!("{SERVICE}.{name}");
    let mut order = order_of(goods, 1, tokens::SUCCESS);
    order["contact"] = contact();
    order["customerId"] = json!(unique("customer"));
    add_change(bases, &rpc("PlaceOrder"), order, "/contact/deliveryNote", json!("Knock"));
    for name in ["GetOrder", "GetOrderHistory", "WatchOrder"] {
        add(bases, &rpc(name), json!({"orderId": read.order_id}));
    }
    add(bases, &rpc("ListOrders"), json!({"customerId": CUSTOMER}));
    let message = json!({"orderId": cancel.order_id, "reason": "CHANGED_MY_MIND"});
    add_change(bases, &rpc("CancelOrder"), message, "/reason", json!("another reason"));
    for (name, order) in [("ShipOrder", ship), ("DeliverOrder", deliver)] {
        let message = json!({"orderId": order.order_id});
        add_change(bases, &rpc(name), message, "/orderId", json!(read.order_id));
    }
    add(bases, &rpc("ForgetPerson"), json!({"orderId": guest.order_id}));
}

fn behind_orders(bases: &mut Bases, order: &Placed, refund: &Placed) {
    let id = &order.order_id;
    let rpc = |name: &str| format!("inventory.v1.InventoryService.{name}");
    let receive = json!({"sku": TAKEN_SKU, "quantity": "5", "reference": "delivery note 1"});
    add_change(bases, &rpc("ReceiveStock"), receive, "/quantity", json!("6"));
    let adjust = json!({"sku": TAKEN_SKU, "delta": "-1", "reason": "one is broken"});
    add_change(bases, &rpc("AdjustStock"), adjust, "/delta", json!("-2"));
    add(bases, &rpc("GetStock"), json!({"sku": TAKEN_SKU}));
    add(bases, &rpc("ListStock"), json!({}));
    add(bases, &rpc("GetReservation"), json!({"orderId": id}));

    let rpc = |name: &str| format!("payment.v1.PaymentService.{name}");
    add(bases, &rpc("GetPayment"), json!({"orderId": id}));
    add(bases, &rpc("ListPayments"), json!({}));
    let message = json!({
        "orderId": refund.order_id, "amount": {"currencyCode": "EUR", "minorUnits": "100"}, "reason": "a scratch",
    });
    add_change(bases, &rpc("RefundPayment"), message, "/amount/minorUnits", json!("200"));

    let rpc = |name: &str| format!("saga.v1.SagaService.{name}");
    let saga = format!("checkout-{id}");
    add(bases, &rpc("GetSaga"), json!({"sagaId": saga}));
    add(bases, &rpc("ListSagas"), json!({}));
    let other = json!(format!("checkout-{}", refund.order_id));
    let message = json!({"sagaId": saga, "reason": "done by hand"});
    let ended = Unchanged::Refused("SAGA_ENDED");
    add_other(bases, &rpc("RetrySaga"), json!({"sagaId": saga}), ended, Some(("/sagaId", other)));
    for name in ["SkipSagaStep", "CompensateSaga"] {
        let another = Some(("/reason", json!("another reason")));
        add_other(bases, &rpc(name), message.clone(), ended, another);
    }

    let rpc = |name: &str| format!("operations.v1.OperationsService.{name}");
    let none = Unchanged::Refused("PARKED_MESSAGE_NOT_FOUND");
    let parked = json!({"subscription": "payment.read-model", "position": "1"});
    add(bases, &rpc("ListSubscriptions"), json!({}));
    let no_relay = Unchanged::Refused("RELAY_NOT_FOUND");
    add(bases, &rpc("ListRelays"), json!({}));
    add_other(bases, &rpc("RefillTopic"), json!({"topic": "shop.payment.v1"}), no_relay, None);
    let resume = json!({"topic": "shop.payment.v1", "position": "1"});
    add_other(bases, &rpc("ResumeRelay"), resume, no_relay, None);
    add(bases, &rpc("GetSubscription"), json!({"subscription": "payment.read-model"}));
    let checked = json!({"incarnation": 1, "position": "1"});
    let resume = json!({"subscription": "payment.read-model", "fromBeginning": true, "checked": checked});
    let running = Unchanged::Refused("SUBSCRIPTION_NOT_STOPPED");
    add_other(bases, &rpc("ResumeSubscription"), resume, running, None);
    add(bases, &rpc("ListParkedMessages"), json!({}));
    add_other(bases, &rpc("GetParkedMessage"), parked.clone(), none, None);
    add_other(bases, &rpc("DiscardParkedMessage"), parked, none, None);
    let redrive = json!({"subscription": "payment.read-model", "key": "payment-1"});
    add_other(bases, &rpc("RedriveParkedMessages"), redrive, none, None);
    add(bases, &rpc("ListRebuilds"), json!({}));
    add(bases, &rpc("GetRebuild"), json!({"model": "payment.read-model"}));
    for (name, model, reason) in [
        ("StartRebuild", "payment.provider-calls", "NOT_A_READ_MODEL"),
        ("AbandonRebuild", "payment.read-model", "NO_REBUILD_UNDER_WAY"),
        ("SwitchBackRebuild", "payment.read-model", "NO_FORMER_VERSION"),
    ] {
        add_other(bases, &rpc(name), json!({"model": model}), Unchanged::Refused(reason), None);
    }
}

async fn page_tokens(api: &Api, bases: &Bases) -> BTreeMap<String, String> {
    let product = text(&bases["shop.product.v1.ProductService.GetProduct"].message, "/productId");
    let brand = text(&bases["shop.product.v1.ProductService.ListProducts"].message, "/brand");
    let search = &bases["shop.product.v1.ProductService.SearchProducts"].message;
    let options = ["/option/0", "/option/1"]
        .map(|option| format!("&option={}", text(search, option).replace('=', "%3D").replace(' ', "%20")));
    let mut tokens = BTreeMap::new();
    for (rpc, path, query) in [
        ("inventory.v1.InventoryService.ListStock", "/v1/stock".to_owned(), String::new()),
        ("order.v1.OrderService.ListOrders", "/v1/orders".to_owned(), format!("&customerId={CUSTOMER}")),
        ("payment.v1.PaymentService.ListPayments", "/v1/payments".to_owned(), String::new()),
        ("saga.v1.SagaService.ListSagas", "/v1/sagas".to_owned(), String::new()),
        (
            "product.v1.ProductService.ListProducts",
            "/v1/products".to_owned(),
            format!("&brand={brand}&maxPrice=5000&currencyCode=EUR"),
        ),
        (
            "product.v1.ProductService.SearchProducts",
            "/v1/products:search".to_owned(),
            format!("&query=enamel&brand={brand}{}&maxPrice=5000&currencyCode=EUR", options.concat()),
        ),
        (
            "product.v1.ProductService.GetPriceHistory",
            format!("/v1/products/{product}/prices"),
            String::new(),
        ),
    ] {
        let page = api.get(&format!("{path}?pageSize=1{query}")).operator().ok().await;
        let token = text(&page, "/nextPageToken");
        assert!(!token.is_empty(), "{path} has one page only: {page}");
        tokens.insert(format!("shop.{rpc}"), token);
    }
    tokens
}
