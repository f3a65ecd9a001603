//! What tests of orders do again and again: put goods on sale, buy them, follow an order to its end, and look at it
//! from the sides of payment, stock and saga. Every helper works with products and people of its own, so tests that
//! share a shop do not see each other.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::{Answer, Api, Call, ServerSent, at, number, text};

/// Longest way of an order to its end. Some payments take their time, and the machine may be busy.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(120);
/// Until the views of other services have heard of an order's end.
pub const VIEW_DEADLINE: Duration = Duration::from_secs(60);
/// What everything costs unless a test says otherwise, in cents.
pub const PRICE: i64 = 1_250;

/// Payment tokens that the simulated provider knows, by what they make it do.
pub mod tokens {
    pub const SUCCESS: &str = "tok_success";
    pub const DECLINED: &str = "tok_decline";
    pub const SLOW: &str = "tok_slow";
    pub const TIMEOUT_THEN_SUCCESS: &str = "tok_timeout_then_success";
    pub const UNKNOWN_UNTIL_ASKED: &str = "tok_unknown_until_asked";
    pub const ERROR_THEN_SUCCESS: &str = "tok_error_then_success";
    pub const CAPTURE_FAILS: &str = "tok_capture_fails";
}

/// A product on sale with one variant.
#[derive(Debug, Clone)]
pub struct Goods {
    pub product_id: String,
    pub sku: String,
    pub price: i64,
    /// Of the catalogue's log.
    pub position: String,
}

/// What the shop acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub order_id: String,
    /// Opens this order.
    pub token: String,
    /// Of the orders' log.
    pub position: String,
}

impl Placed {
    /// Reads the answer to an order.
    ///
    /// # Panics
    /// When it was refused.
    pub fn from_answer(answer: &Answer) -> Self {
        let body = answer.ok();
        Self {
            order_id: text(&body, "/order/orderId"),
            token: text(&body, "/accessToken"),
            position: text(&body, "/position"),
        }
    }
}

/// A name that no other test has. It holds no digits, among which a card number could be by chance.
pub fn unique(prefix: &str) -> String {
    let letter = |digit: char| match digit {
        '0'..='9' => char::from(b'g' + (digit as u8 - b'0')),
        letter => letter,
    };
    let id = Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", id.chars().map(letter).collect::<String>())
}

/// A product with one variant, as its creation wants it.
pub fn product(sku: &str, price: i64) -> Value {
    json!({
        "name": format!("Enamel mug {sku}"),
        "brand": "Harbour Works",
        "categoryPath": ["Kitchen", "Mugs"],
        "supplier": "North Pier Trading",
        "variants": [{
            "sku": sku,
            "options": [{"name": "Colour", "value": "Blue"}],
            "price": {"currencyCode": "EUR", "minorUnits": price.to_string()},
        }],
    })
}

/// Somebody's address.
pub fn contact() -> Value {
    json!({
        "email": "ada.example@mail.example",
        "shippingAddress": {
            "recipient": "Ada Example",
            "lines": ["Quay Street 5"],
            "postalCode": "20459",
            "city": "Hamburg",
            "countryCode": "DE",
        },
        "deliveryNote": "Ring twice",
    })
}

/// An order of one SKU as a guest.
pub fn order_of(goods: &Goods, quantity: i64, payment_token: &str) -> Value {
    json!({
        "lines": [{"sku": goods.sku, "quantity": quantity.to_string()}],
        "expectedTotal": {"currencyCode": "EUR", "minorUnits": (goods.price * quantity).to_string()},
        "paymentToken": payment_token,
        "contact": contact(),
        "minPosition": goods.position,
    })
}

/// The answer to a request that may be repeated. A shop that is too busy says so in time, and its clients come again.
async fn answered(what: &str, call: impl Fn() -> Call) -> Answer {
    eventually(&format!("{what} is answered"), ORDER_DEADLINE, async || {
        Some(call().send().await).filter(|answer| answer.status != 503)
    })
    .await
}

impl Api {
    /// Puts a new product on sale, with this much stock.
    ///
    /// # Panics
    /// When the shop refuses.
    pub async fn goods(&self, price: i64, stock: i64) -> Goods {
        let sku = unique("MUG");
        let created = self.post("/v1/products", &product(&sku, price)).operator().key(&sku).ok().await;
        if stock > 0 {
            self.receive(&sku, stock).await;
        }
        Goods {
            product_id: text(&created, "/product/productId"),
            sku,
            price,
            position: text(&created, "/position"),
        }
    }

    /// Books goods that have arrived.
    ///
    /// # Panics
    /// When the shop refuses.
    pub async fn receive(&self, sku: &str, quantity: i64) -> Value {
        let body = json!({"quantity": quantity.to_string(), "reference": "delivery note 1"});
        self.post(&format!("/v1/stock/{sku}:receive"), &body).operator().key(&unique("receive")).ok().await
    }

    /// Places an order and wants it acknowledged.
    ///
    /// # Panics
    /// When the shop refuses.
    pub async fn place(&self, order: &Value) -> Placed {
        let key = unique("order");
        let placing = || self.post("/v1/orders", order).key(&key);
        Placed::from_answer(&answered("an order", placing).await)
    }

    /// Follows an order over server-sent events until the shop says that it is at its end, and returns what happened.
    ///
    /// # Panics
    /// When the stream ends without saying so.
    pub async fn follow(&self, placed: &Placed) -> Vec<ServerSent> {
        let path = format!("/v1/orders/{}/events", placed.order_id);
        let mut stream = self.get(&path).bearer(&placed.token).events().await;
        let following = async {
            let mut seen = Vec::new();
            while let Some(event) = stream.next().await {
                if event.event == "end" {
                    return seen;
                }
                assert_eq!(event.event, "message", "{event:?}");
                seen.push(event);
            }
            panic!("the stream of {} broke off after {seen:?}", placed.order_id)
        };
        match tokio::time::timeout(ORDER_DEADLINE, following).await {
            Ok(seen) => seen,
            Err(_) => panic!("{} is not at its end after {ORDER_DEADLINE:?}", placed.order_id),
        }
    }

    /// The order as its shopper sees it, at its end.
    ///
    /// # Panics
    /// When it does not get there in time.
    pub async fn ended(&self, placed: &Placed) -> Value {
        self.follow(placed).await;
        self.order(placed).await
    }

    /// The order as its shopper sees it, no older than its acknowledgement.
    ///
    /// # Panics
    /// When the shop refuses.
    pub async fn order(&self, placed: &Placed) -> Value {
        let path = format!("/v1/orders/{}", placed.order_id);
        let reading = || self.get(&path).bearer(&placed.token).at_position(&placed.position);
        at(&answered(&path, reading).await.ok(), "/order").clone()
    }

    /// Waits for the order to have this status, and returns it.
    ///
    /// # Panics
    /// When it does not get there in time.
    pub async fn order_with_status(&self, placed: &Placed, status: &str) -> Value {
        let what = format!("order {} becomes {status}", placed.order_id);
        eventually(&what, ORDER_DEADLINE, async || {
            let order = self.order(placed).await;
            (order["status"] == status).then_some(order)
        })
        .await
    }

    /// The order's payment, if there is one.
    ///
    /// # Panics
    /// When the shop answers neither with it nor that there is none.
    pub async fn payment(&self, order_id: &str) -> Option<Value> {
        self.found(&format!("/v1/payments/{order_id}"), "/payment").await
    }

    /// Waits for the order's payment to have this status, and returns it.
    ///
    /// # Panics
    /// When it does not get there in time.
    pub async fn payment_with_status(&self, order_id: &str, status: &str) -> Value {
        eventually(&format!("the payment of {order_id} becomes {status}"), VIEW_DEADLINE, async || {
            self.payment(order_id).await.filter(|payment| payment["status"] == status)
        })
        .await
    }

    /// Waits until this much is captured of the order's payment and not refunded; 0 when there is no payment.
    ///
    /// # Panics
    /// When it does not become so in time.
    pub async fn charge_becomes(&self, order_id: &str, owed: i64) {
        eventually(&format!("{owed} are charged for {order_id}"), VIEW_DEADLINE, async || {
            let payment = self.payment(order_id).await.unwrap_or_default();
            let charged = number(&payment, "/captured/minorUnits") - number(&payment, "/refunded/minorUnits");
            (charged == owed).then_some(())
        })
        .await;
    }

    /// The order's reservation, if there is one.
    ///
    /// # Panics
    /// When the shop answers neither with it nor that there is none.
    pub async fn reservation(&self, order_id: &str) -> Option<Value> {
        self.found(&format!("/v1/reservations/{order_id}"), "/reservation").await
    }

    /// Waits for the order's reservation to have this status, and returns it.
    ///
    /// # Panics
    /// When it does not get there in time.
    pub async fn reservation_with_status(&self, order_id: &str, status: &str) -> Value {
        eventually(&format!("the reservation of {order_id} becomes {status}"), VIEW_DEADLINE, async || {
            self.reservation(order_id).await.filter(|reservation| reservation["status"] == status)
        })
        .await
    }

    /// Waits for a saga to have this status, and returns it with its timeline.
    ///
    /// # Panics
    /// When it does not get there in time.
    pub async fn saga_with_status(&self, saga_id: &str, status: &str) -> Value {
        eventually(&format!("the saga {saga_id} becomes {status}"), VIEW_DEADLINE, async || {
            self.found(&format!("/v1/sagas/{saga_id}"), "/saga").await.filter(|saga| saga["status"] == status)
        })
        .await
    }

    /// Waits for a SKU's stock to be (available, reserved, committed).
    ///
    /// # Panics
    /// When it does not get there in time.
    pub async fn stock_becomes(&self, sku: &str, available: i64, reserved: i64, committed: i64) {
        let wanted = (available, reserved, committed);
        let what = format!("(available, reserved, committed) of {sku} become {wanted:?}");
        eventually(&what, VIEW_DEADLINE, async || (self.stock(sku).await == wanted).then_some(())).await;
    }

    /// A SKU's stock: (available, reserved, committed), all 0 when there never was any.
    ///
    /// # Panics
    /// When the shop answers neither with it nor that there is none.
    pub async fn stock(&self, sku: &str) -> (i64, i64, i64) {
        let stock = self.found(&format!("/v1/stock/{sku}"), "/stock").await.unwrap_or_default();
        (number(&stock, "/available"), number(&stock, "/reserved"), number(&stock, "/committed"))
    }

    /// All things of a list, page by page. `query` selects some, `member` is where they stand.
    ///
    /// # Panics
    /// When the shop refuses.
    pub async fn list(&self, path: &str, query: &str, member: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let path = format!("{path}?pageSize=100&{query}&pageToken={page_token}");
            let page = answered(&path, || self.get(&path).operator()).await.ok();
            all.extend(page[member].as_array().cloned().unwrap_or_default());
            page_token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if page_token.is_empty() {
                return all;
            }
        }
    }

    async fn found(&self, path: &str, member: &str) -> Option<Value> {
        let answer = answered(path, || self.get(path).operator()).await;
        match answer.status {
            404 => None,
            _ => Some(at(&answer.ok(), member).clone()),
        }
    }
}
