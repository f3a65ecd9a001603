//! Placing orders: prices, refusals, and repeats.

use contracts::shop::order::v1 as wire;
use contracts::shop::product::v1::product_event::Event as ProductChange;
use contracts::shop::product::v1::{self as product, SellableVariant};
use contracts::shop::r#type::v1::Money;
use futures::future::join_all;
use service_runtime::replay::IDEMPOTENCY_REPLAYED;
use tonic::{Code, Request};

use crate::support::*;

#[tokio::test]
async fn an_order_is_placed_at_the_shops_own_prices_and_answered_as_pending() {
    let (_world, app) = start().await;
    let mut request = app.order(&[("A-1", 2), ("B-2", 3), ("A-1", 1)]);
    request.expected_total = eur(3 * 1250 + 3 * 99);
    request.customer_id = "c-1".into();
    let reply = app.place(request).await.unwrap();

    let order = reply.order.unwrap();
    assert_eq!(order.status(), wire::OrderStatus::Pending);
    assert_eq!((order.total.clone(), order.etag.as_str()), (eur(4047), "\"v1\""));
    let lines: Vec<_> = order.lines.iter().map(|l| (l.sku.as_str(), l.name.as_str(), l.quantity)).collect();
    assert_eq!(lines, [("A-1", "Kettle", 2), ("B-2", "Tea strainer", 3), ("A-1", "Kettle", 1)]);
    assert_eq!(order.lines[0].line_total, eur(2500));
    let [amount] = order.amounts.as_slice() else { panic!("{:?}", order.amounts) };
    assert_eq!((amount.kind(), amount.money.clone()), (wire::AmountKind::Items, eur(4047)));
    assert_eq!(order.contact, Some(contact()));

    let read = wire::GetOrderRequest { order_id: order.order_id.clone(), min_position: reply.position };
    let read = app.client().get_order(with(&reply.access_token, read)).await.unwrap().into_inner();
    assert_eq!(read.order, Some(order), "what is read later is what was answered");
}

#[tokio::test]
async fn another_total_than_the_shopper_saw_is_refused_with_both() {
    let (world, app) = start().await;
    for seen in [eur(1249), Some(Money { currency_code: "USD".into(), minor_units: 1250 })] {
        let request = wire::PlaceOrderRequest { expected_total: seen.clone(), ..app.order(&[("A-1", 1)]) };
        let status = app.place(request).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::FailedPrecondition, "PRICE_CHANGED".into()));
        let seen = seen.unwrap();
        assert_eq!(fact(&status, "expectedMinorUnits"), seen.minor_units.to_string());
        assert_eq!(fact(&status, "expectedCurrencyCode"), seen.currency_code);
        assert_eq!(fact(&status, "actualMinorUnits"), "1250");
        assert_eq!(fact(&status, "actualCurrencyCode"), "EUR");
    }
    assert_eq!(world.keys().await, 0, "a refused order leaves no key behind");
}

#[tokio::test]
async fn what_is_not_sold_is_refused_by_its_line() {
    let (world, app) = start().await;
    let status = app.place(app.order(&[("A-1", 1), ("NOWHERE", 1)])).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "UNKNOWN_SKU".into()));
    assert_eq!((fact(&status, "field"), fact(&status, "sku")), ("lines[1].sku".into(), "NOWHERE".into()));

    let gone = product::ProductDiscontinued { product_id: product_of("B-2") };
    let position = world.change(ProductChange::ProductDiscontinued(gone));
    let request = wire::PlaceOrderRequest { min_position: position, ..app.order(&[("B-2", 1)]) };
    let status = app.place(request).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "PRODUCT_DISCONTINUED".into()));
    assert_eq!(fact(&status, "field"), "lines[0].sku");
    assert_eq!(world.keys().await, 0);

    let back = product::ProductReinstated { product_id: product_of("B-2") };
    let position = world.change(ProductChange::ProductReinstated(back));
    let request = wire::PlaceOrderRequest { min_position: position, ..app.order(&[("B-2", 1)]) };
    let order = app.place(request).await.unwrap().order.unwrap();
    assert_eq!((order.lines[0].name.as_str(), order.total), ("Tea strainer", eur(99)), "as it was before");
}

#[tokio::test]
async fn the_copy_of_the_catalogue_follows_every_change_that_counts() {
    let (world, app) = start().await;
    let variant =
        |sku: &str, title: &str, price| SellableVariant { sku: sku.into(), title: title.into(), price };
    let added = vec![variant("A-RED", "Red / L", eur(1500)), variant("A-BLUE", "Blue / L", eur(1400))];
    let product_id = product_of("A-1");
    world.change(ProductChange::VariantsAdded(product::ProductVariantsAdded {
        product_id: product_id.clone(),
        variants: added,
    }));
    let price = |sku: &str, price| {
        let (product_id, sku) = (product_id.clone(), sku.to_owned());
        ProductChange::PriceChanged(product::ProductPriceChanged { product_id, sku, price })
    };
    world.change(price("A-RED", eur(1600)));
    world.change(price("NEVER-PUBLISHED", eur(1)));
    let name = "Copper kettle".to_owned();
    let renamed = product::ProductRenamed { product_id: product_id.clone(), name };
    let position = world.change(ProductChange::ProductRenamed(renamed));

    let request = wire::PlaceOrderRequest {
        min_position: position,
        ..app.order(&[("A-RED", 1), ("A-BLUE", 1), ("A-1", 1)])
    };
    let order = app.place(request).await.unwrap().order.unwrap();
    let lines: Vec<_> = order.lines.into_iter().map(|line| (line.name, line.unit_price)).collect();
    assert_eq!(
        lines,
        [
            ("Copper kettle (Red / L)".to_owned(), eur(1600)),
            ("Copper kettle (Blue / L)".to_owned(), eur(1400)),
            ("Copper kettle".to_owned(), eur(1250)),
        ]
    );
}

#[tokio::test]
async fn placing_waits_until_prices_have_come_as_far_as_it_was_asked() {
    let (world, app) = start().await;
    let wanted = world.product.position(3);
    let request = wire::PlaceOrderRequest { min_position: wanted, ..app.order(&[("NEW", 1)]) };
    let mut in_a_hurry = Request::new(request.clone());
    in_a_hurry.set_timeout(SHORT);
    let status = app.client().place_order(in_a_hurry).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");

    let (placed, _) = tokio::join!(app.place(request), async { world.sell("NEW", "Samovar", 5) });
    assert_eq!(placed.unwrap().order.unwrap().total, eur(5));

    let elsewhere = world.saga.position(1);
    let request = wire::PlaceOrderRequest { min_position: elsewhere, ..app.order(&[("A-1", 1)]) };
    assert_eq!(app.place(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_same_request_fifty_times_at_once_is_one_order() {
    let (world, app) = start().await;
    for customer_id in ["", "c-1"] {
        let request = wire::PlaceOrderRequest { customer_id: customer_id.into(), ..app.order(&[("A-1", 1)]) };
        let keys_before = world.keys().await;
        let replies = join_all((0..50).map(|_| app.place(request.clone()))).await;
        let mut orders: Vec<_> = replies
            .into_iter()
            .map(|reply| {
                let reply = reply.unwrap();
                (reply.order.unwrap().order_id, reply.access_token)
            })
            .collect();
        orders.dedup();
        assert_eq!(orders.len(), 1, "every answer names the same order and opens it");
        assert_eq!(world.keys().await, keys_before + 1, "keys of attempts that lost are removed");
        let order = app.get(&orders[0].0, &orders[0].1).await.unwrap();
        assert_eq!(order.contact, Some(contact()), "the key that is left is the one that was used");
    }
    assert_eq!(app.published().await.len(), 2);
}

#[tokio::test]
async fn a_repeat_answers_with_the_order_as_it_is_now() {
    let (world, app) = start().await;
    let request = app.order(&[("A-1", 1)]);
    let first = app.client().place_order(request.clone()).await.unwrap();
    assert!(first.metadata().get(IDEMPOTENCY_REPLAYED).is_none());
    let first = first.into_inner().order.unwrap();
    world.confirm(&first.order_id);
    app.until(&first.order_id, wire::OrderStatus::Confirmed).await;
    let again = app.client().place_order(request).await.unwrap();
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    let again = again.into_inner().order.unwrap();
    assert_eq!(again.order_id, first.order_id);
    assert_eq!((again.status(), again.etag.as_str()), (wire::OrderStatus::Confirmed, "\"v2\""));
}

#[tokio::test]
async fn a_request_id_with_another_body_is_refused() {
    let (world, app) = start().await;
    let request = app.order(&[("A-1", 1)]);
    app.place(request.clone()).await.unwrap();
    let mut another_address = request.clone();
    another_address.contact.as_mut().unwrap().shipping_address.as_mut().unwrap().city = "Paris".into();
    let another_quantity =
        wire::PlaceOrderRequest { lines: app.order(&[("A-1", 2)]).lines, ..request.clone() };
    for other in [another_address, another_quantity] {
        let status = app.place(other).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, "REQUEST_ID_REUSED".into()));
    }
    let later = wire::PlaceOrderRequest { min_position: world.product.position(2), ..request };
    app.place(later).await.expect("how long to wait is not part of what is asked");
    assert_eq!((world.keys().await, app.published().await.len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_the_answer_to_its_repeats_too() {
    let (world, app) = start().await;
    let request = app.order(&[("LATER", 1)]);
    app.place(request.clone()).await.unwrap_err();
    let position = world.sell("LATER", "Kettle of the future", 1);
    let again = wire::PlaceOrderRequest { min_position: position.clone(), ..request };
    let status = app.place(again).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "UNKNOWN_SKU".into()));
    assert_eq!(world.keys().await, 0, "the key that was made in vain is removed");
    let anew = wire::PlaceOrderRequest { min_position: position, ..app.order(&[("LATER", 1)]) };
    app.place(anew).await.unwrap();
}

#[tokio::test]
async fn an_order_that_costs_nothing_needs_no_payment_token() {
    let (world, app) = start().await;
    let position = world.sell("FREE", "Sample", 0);
    let free = |token: &str, sku: &str| wire::PlaceOrderRequest {
        payment_token: token.into(),
        min_position: position.clone(),
        ..app.order(&[(sku, 2)])
    };
    assert_eq!(app.place(free("", "FREE")).await.unwrap().order.unwrap().total, eur(0));
    let status = app.place(free("", "A-1")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "PAYMENT_TOKEN_REQUIRED".into()));
}

#[tokio::test]
async fn prices_in_two_currencies_do_not_make_one_order() {
    let (world, app) = start().await;
    let price = Some(Money { currency_code: "USD".into(), minor_units: 5 });
    let position = world.change(ProductChange::ProductPublished(product::ProductPublished {
        product_id: product_of("US"),
        name: "Mug".into(),
        variants: vec![SellableVariant { sku: "US".into(), title: String::new(), price }],
    }));
    let request = wire::PlaceOrderRequest { min_position: position, ..app.order(&[("A-1", 1), ("US", 1)]) };
    let status = app.place(request).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "MIXED_CURRENCIES".into()));
    assert_eq!(fact(&status, "field"), "lines[1].sku");
}

#[tokio::test]
async fn a_customer_has_so_many_open_orders_at_most() {
    let (world, app) = start().await;
    app.stop().await;
    let app = world.start(order_service::Options { max_open_orders: 2, ..world.options() }).await.unwrap();
    let request = || wire::PlaceOrderRequest { customer_id: "c-1".into(), ..app.order(&[("A-1", 1)]) };
    let first = app.place(request()).await.unwrap().order.unwrap();
    let second = app.place(request()).await.unwrap();
    app.get(&second.order.unwrap().order_id, &second.access_token).await.unwrap();
    let status = app.place(request()).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "TOO_MANY_OPEN_ORDERS".into()));
    app.place(app.order(&[("A-1", 1)])).await.expect("guests are not counted");

    world.confirm(&first.order_id);
    app.until(&first.order_id, wire::OrderStatus::Confirmed).await;
    app.place(request()).await.expect("a confirmed order is not open any more");
}

#[tokio::test]
async fn malformed_requests_are_refused_before_anything_is_looked_up_or_stored() {
    let (world, app) = start().await;
    let results = "SELECT count(*) FROM eventlog.command_results";
    let before = world.count(results).await;
    let mut request = app.order(&[("A-1", 1)]);
    request.contact.as_mut().unwrap().delivery_note = "card 4242 4242 4242 4242".into();
    let status = app.place(request).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    assert!(!format!("{status:?}").contains("4242"));
    assert_eq!(world.count(results).await, before);
}
