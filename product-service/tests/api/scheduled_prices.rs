//! Prices to come: seen before, in effect by themselves, withdrawn; and products that come back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::shop::product::v1 as wire;
use contracts::shop::product::v1::product_event::Event;
use eventsourcing::IntegrationEvent;
use prost::Message;
use prost_types::Timestamp;
use service_runtime::status::reason_of;
use sqlx::{Connection, PgConnection};
use testkit::{SOON, TestDatabase, eventually, read_everything};
use tonic::{Code, Request, Status};

use crate::prices::history;
use crate::support::{App, eur, fields, named, operator, rule, sized, start};

/// A time far enough ahead for a request to arrive before it; doubled for a machine that is slower.
const AHEAD: Duration = Duration::from_millis(400);

fn timestamp(at: DateTime<Utc>) -> Option<Timestamp> {
    Some(Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() })
}

fn in_days(days: i64) -> Option<Timestamp> {
    timestamp(Utc::now() + TimeDelta::days(days))
}

fn price(
    product_id: &str,
    sku: &str,
    minor_units: i64,
    at: Option<Timestamp>,
) -> wire::SchedulePriceChangeRequest {
    wire::SchedulePriceChangeRequest {
        product_id: product_id.to_owned(),
        sku: sku.to_owned(),
        price: eur(minor_units),
        effective_time: at,
        reason: "winter sale".to_owned(),
        ..Default::default()
    }
}

async fn schedule(
    app: &App,
    request: wire::SchedulePriceChangeRequest,
) -> Result<wire::SchedulePriceChangeResponse, Status> {
    Ok(app.client().schedule_price_change(operator(request)).await?.into_inner())
}

/// Schedules a price for a moment that is about to come. Returns the moment.
async fn schedule_soon(app: &App, product_id: &str, sku: &str, minor_units: i64) -> (DateTime<Utc>, String) {
    let mut ahead = AHEAD;
    loop {
        let at = Utc::now() + ahead;
        match schedule(app, price(product_id, sku, minor_units, timestamp(at))).await {
            Ok(reply) => return (at, reply.schedule_id),
            Err(status) => assert_eq!(reason_of(&status), "EFFECTIVE_TIME_NOT_AHEAD", "{status:?}"),
        }
        ahead *= 2;
        assert!(ahead < SOON, "a request takes longer than {ahead:?}");
    }
}

async fn withdraw(app: &App, product_id: &str, schedule_id: &str) -> Result<wire::Product, Status> {
    let request = wire::WithdrawScheduledPriceRequest {
        product_id: product_id.to_owned(),
        schedule_id: schedule_id.to_owned(),
        reason: "no sale".to_owned(),
        ..Default::default()
    };
    let reply = app.client().withdraw_scheduled_price(operator(request)).await?.into_inner();
    Ok(reply.product.expect("a reply has the product"))
}

async fn discontinue(app: &App, product_id: &str) -> wire::Product {
    let request = wire::DiscontinueProductRequest { product_id: product_id.to_owned(), ..Default::default() };
    app.client().discontinue_product(operator(request)).await.unwrap().into_inner().product.unwrap()
}

async fn reinstate(app: &App, product_id: &str) -> Result<wire::Product, Status> {
    let request = wire::ReinstateProductRequest { product_id: product_id.to_owned(), ..Default::default() };
    let reply = app.client().reinstate_product(operator(request)).await?.into_inner();
    Ok(reply.product.expect("a reply has the product"))
}

async fn shirt(app: &App) -> wire::Product {
    let variants = vec![sized("S", "S", 1000), sized("M", "M", 1100)];
    let request = wire::CreateProductRequest { variants, ..named("Shirt") };
    app.create(request).await.unwrap().product.unwrap()
}

fn prices(product: &wire::Product) -> Vec<i64> {
    product.variants.iter().map(|variant| variant.price.as_ref().unwrap().minor_units).collect()
}

async fn await_prices(app: &App, product_id: &str, expected: &[i64]) -> wire::Product {
    eventually("the prices are in effect", SOON, || async {
        let product = app.get(product_id, "").await.unwrap();
        (prices(&product) == expected).then_some(product)
    })
    .await
}

async fn published(app: &App) -> Vec<Event> {
    let decode = |message: IntegrationEvent| {
        wire::ProductEvent::decode(message.data.as_slice()).unwrap().event.unwrap()
    };
    read_everything(&*app.feed, 0).await.unwrap().messages.into_iter().map(decode).collect()
}

/// Ids and causes of the events of a type, the oldest first.
async fn recorded(database: &TestDatabase, event_type: &str) -> Vec<(uuid::Uuid, Option<String>)> {
    let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
    let sql = "SELECT event_id, metadata::jsonb ->> 'causation_id' FROM eventlog.events WHERE type = $1 ORDER BY position";
    sqlx::query_as(sql).bind(event_type).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_scheduled_price_is_seen_by_everybody_before_it_counts_and_can_be_withdrawn() {
    let (_database, _inventory, app) = start().await;
    let created = shirt(&app).await;
    let id = created.product_id.as_str();
    assert_eq!(created.scheduled_prices, []);
    let (late, early) = (in_days(60), in_days(30));
    let later =
        wire::SchedulePriceChangeRequest { request_id: "sale".to_owned(), ..price(id, "S", 800, late) };
    let reply = schedule(&app, later.clone()).await.unwrap();
    let again = schedule(&app, later).await.unwrap();
    assert_eq!(again, reply, "a repeat schedules nothing");
    let of_m = schedule(&app, price(id, "M", 900, early)).await.unwrap();

    let seen = app.get(id, &of_m.position).await.unwrap();
    let expected = |schedule_id: &str, sku: &str, minor_units, at: Option<Timestamp>| wire::ScheduledPrice {
        schedule_id: schedule_id.to_owned(),
        sku: sku.to_owned(),
        price: eur(minor_units),
        // The database keeps microseconds.
        effective_time: at.map(|at| Timestamp { nanos: at.nanos / 1_000 * 1_000, ..at }),
        reason: "winter sale".to_owned(),
    };
    let to_come =
        [expected(&of_m.schedule_id, "M", 900, early), expected(&reply.schedule_id, "S", 800, late)];
    assert_eq!(seen.scheduled_prices, to_come, "the next one first");
    assert_eq!(prices(&seen), [1000, 1100]);
    assert_eq!(of_m.product, Some(seen.clone()));
    assert_ne!(seen.etag, created.etag);
    let listed =
        app.client().list_products(Request::new(wire::ListProductsRequest::default())).await.unwrap();
    assert_eq!(listed.into_inner().products, [seen]);

    let left = withdraw(&app, id, &of_m.schedule_id).await.unwrap();
    assert_eq!(left.scheduled_prices, to_come[1..]);
    let head = app.head().await;
    assert_eq!(withdraw(&app, id, &of_m.schedule_id).await.unwrap(), left);
    assert_eq!(app.head().await, head, "withdrawn once");
    assert_eq!(history(&app, id, "", 10).await.len(), 2, "no price has changed");
    app.stop().await;
}

#[tokio::test]
async fn a_scheduled_price_takes_effect_by_itself_as_a_change_that_others_hear_of() {
    let (database, _inventory, app) = start().await;
    let created = shirt(&app).await;
    let id = created.product_id.as_str();
    let (_, schedule_id) = schedule_soon(&app, id, "M", 900).await;
    let (_, same) = schedule_soon(&app, id, "S", 1000).await;
    let seen = await_prices(&app, id, &[1000, 900]).await;
    assert!(seen.scheduled_prices.iter().all(|s| s.schedule_id != schedule_id));
    eventually("the price that is the same is in effect", SOON, || async {
        app.get(id, "").await.unwrap().scheduled_prices.is_empty().then_some(())
    })
    .await;

    let changes = history(&app, id, "", 10).await;
    assert_eq!(changes.len(), 3, "the same price is no change");
    assert_eq!((changes[0].price.clone(), changes[0].previous_price.clone()), (eur(900), eur(1100)));
    assert_eq!((changes[0].sku.as_str(), changes[0].reason.as_str()), ("M", "winter sale"));
    let last = published(&app).await.pop().unwrap();
    let (product_id, sku) = (id.to_owned(), "M".to_owned());
    assert_eq!(last, Event::PriceChanged(wire::ProductPriceChanged { product_id, sku, price: eur(900) }));
    let (cause, _) = recorded(&database, "PriceChangeScheduled").await[0];
    let [(_, changed)] = recorded(&database, "PriceChanged").await[..].to_vec().try_into().unwrap();
    assert_eq!(changed, Some(cause.to_string()), "the change names its cause");

    for ended in [&schedule_id, &same] {
        let refused = withdraw(&app, id, ended).await.unwrap_err();
        assert_eq!(rule(&refused, "").0, "SCHEDULED_PRICE_IN_EFFECT");
    }
    eventually("no timer is left", SOON, || async {
        let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
        let sql = "SELECT count(*) FROM eventsourcing.tasks";
        let timers: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        (timers == 0).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_time_that_passed_while_nobody_ran_counts_after_the_start() {
    let (database, inventory, app) = start().await;
    let created = shirt(&app).await;
    let id = created.product_id.as_str();
    let (first, _) = schedule_soon(&app, id, "S", 900).await;
    let (second, _) = schedule_soon(&app, id, "S", 800).await;
    app.stop().await;
    eventually("both times have come", SOON, || async { (Utc::now() > first.max(second)).then_some(()) })
        .await;
    let app = App::start(&database, &inventory).await;
    // A slow machine may have asked for the first more than once, for a later time than the second.
    let [last, before] = if second > first { [800, 900] } else { [900, 800] };
    await_prices(&app, id, &[last, 1100]).await;
    let changes = history(&app, id, "S", 10).await;
    let prices: Vec<_> = changes.into_iter().map(|change| change.price).collect();
    assert_eq!(prices, [eur(last), eur(before), eur(1000)], "in the order of their times");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_replicas_each_scheduled_price_takes_effect_once() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    let created = shirt(&first).await;
    let id = created.product_id.as_str();
    let (mut of_s, mut of_m) = (Vec::new(), Vec::new());
    for round in 1..=4 {
        of_s.push((schedule_soon(&first, id, "S", round).await.0, round));
        of_m.push((schedule_soon(&second, id, "M", round).await.0, round));
    }
    let last = |times: &[(DateTime<Utc>, i64)]| times.iter().max().unwrap().1;
    await_prices(&first, id, &[last(&of_s), last(&of_m)]).await;
    await_prices(&second, id, &[last(&of_s), last(&of_m)]).await;
    assert_eq!(recorded(&database, "ScheduledPriceTookEffect").await.len(), 8);
    assert_eq!(recorded(&database, "PriceChanged").await.len(), 8);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_schedule_for_the_same_moment_at_once_one_does() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    let created = shirt(&first).await;
    let id = created.product_id.as_str();
    for round in 1..=5 {
        let at = in_days(round);
        let try_it = async |app: &App| {
            loop {
                match schedule(app, price(id, "S", round, at)).await {
                    Ok(_) => return true,
                    Err(status) if reason_of(&status) == "EFFECTIVE_TIME_TAKEN" => return false,
                    Err(status) => assert_eq!(reason_of(&status), "LOST_RACE", "{status:?}"),
                }
            }
        };
        let (one, two) = tokio::join!(try_it(&first), try_it(&second));
        assert!(one ^ two, "round {round}: {one} {two}");
    }
    assert_eq!(first.get(id, &first.now().await).await.unwrap().scheduled_prices.len(), 5);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_with_what_is_wrong() {
    let (_database, _inventory, app) = start().await;
    let created = shirt(&app).await;
    let id = created.product_id.as_str();
    let taken = in_days(10);
    let reply = schedule(&app, price(id, "S", 900, taken)).await.unwrap();
    let usd = Some(contracts::shop::r#type::v1::Money { currency_code: "USD".into(), minor_units: 1 });
    for (request, expected) in [
        (price(id, "S", 1, timestamp(Utc::now())), ("EFFECTIVE_TIME_NOT_AHEAD", "field", "effective_time")),
        (price(id, "S", 1, in_days(732)), ("EFFECTIVE_TIME_TOO_FAR", "field", "effective_time")),
        (price(id, "S", 1, taken), ("EFFECTIVE_TIME_TAKEN", "scheduleId", reply.schedule_id.as_str())),
        (
            wire::SchedulePriceChangeRequest { price: usd, ..price(id, "S", 1, in_days(11)) },
            ("CURRENCY_DIFFERS", "currencyCode", "EUR"),
        ),
    ] {
        let refused = schedule(&app, request).await.unwrap_err();
        let (reason, fact, value) = expected;
        assert_eq!(rule(&refused, fact), (reason.to_owned(), value.to_owned()));
    }
    for day in 20..29 {
        schedule(&app, price(id, "S", 900, in_days(day))).await.unwrap();
    }
    let refused = schedule(&app, price(id, "S", 900, in_days(30))).await.unwrap_err();
    assert_eq!(rule(&refused, "").0, "TOO_MANY_SCHEDULED_PRICES");

    let nobody = uuid::Uuid::now_v7().to_string();
    for (request, reason) in [
        (price(&nobody, "S", 1, in_days(1)), "PRODUCT_NOT_FOUND"),
        (price(id, "XXL", 1, in_days(1)), "VARIANT_NOT_FOUND"),
    ] {
        let refused = schedule(&app, request).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::NotFound, reason));
    }
    let refused = withdraw(&app, id, &nobody).await.unwrap_err();
    let found = (refused.code(), reason_of(&refused));
    assert_eq!(found, (Code::NotFound, "SCHEDULED_PRICE_NOT_FOUND".to_owned()));
    let stale =
        wire::SchedulePriceChangeRequest { etag: created.etag.clone(), ..price(id, "S", 1, in_days(1)) };
    assert_eq!(reason_of(&schedule(&app, stale).await.unwrap_err()), "ETAG_MISMATCH");

    for wrong in [
        None,
        Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
        Some(Timestamp { seconds: 253_402_300_800, nanos: 0 }),
        Some(Timestamp { seconds: -62_135_596_801, nanos: 0 }),
        Some(Timestamp { seconds: 4_000_000_000, nanos: -1 }),
        Some(Timestamp { seconds: 4_000_000_000, nanos: 1_000_000_000 }),
    ] {
        let refused = schedule(&app, price(id, "S", 1, wrong)).await.unwrap_err();
        assert_eq!(fields(&refused), ["effective_time"], "{wrong:?}");
    }
    let all = wire::SchedulePriceChangeRequest::default();
    let refused = schedule(&app, all).await.unwrap_err();
    assert_eq!(fields(&refused), ["product_id", "sku", "price", "effective_time"]);
    assert_eq!(fields(&withdraw(&app, "x", "y").await.unwrap_err()), ["product_id", "schedule_id"]);
    app.stop().await;
}

#[tokio::test]
async fn a_reinstated_product_is_sold_again_without_the_prices_that_were_to_come() {
    let (_database, _inventory, app) = start().await;
    let created = shirt(&app).await;
    let id = created.product_id.as_str();
    let scheduled = schedule(&app, price(id, "S", 900, in_days(1))).await.unwrap();
    let ended = discontinue(&app, id).await;
    assert_eq!((ended.status(), ended.scheduled_prices.len()), (wire::ProductStatus::Discontinued, 0));
    let refused = schedule(&app, price(id, "S", 900, in_days(1))).await.unwrap_err();
    assert_eq!(rule(&refused, "").0, "PRODUCT_DISCONTINUED");
    assert_eq!(withdraw(&app, id, &scheduled.schedule_id).await.unwrap(), ended, "withdrawn already");

    let back = reinstate(&app, id).await.unwrap();
    assert_eq!((back.status(), prices(&back)), (wire::ProductStatus::Active, vec![1000, 1100]));
    assert_eq!(back.scheduled_prices, []);
    let head = app.head().await;
    reinstate(&app, id).await.unwrap();
    assert_eq!(app.head().await, head, "reinstated once");
    let product_id = id.to_owned();
    let told = published(&app).await;
    let expected = [
        Event::ProductDiscontinued(wire::ProductDiscontinued { product_id: product_id.clone() }),
        Event::ProductReinstated(wire::ProductReinstated { product_id }),
    ];
    assert_eq!(told[told.len() - 2..], expected);
    assert_eq!(reinstate(&app, &uuid::Uuid::now_v7().to_string()).await.unwrap_err().code(), Code::NotFound);
    app.stop().await;
}

#[tokio::test]
async fn a_draft_that_was_discontinued_comes_back_as_a_draft() {
    let (_database, _inventory, app) = start().await;
    let request = wire::CreateProductRequest { status: wire::ProductStatus::Draft.into(), ..named("Draft") };
    let id = app.create(request).await.unwrap().product.unwrap().product_id;
    discontinue(&app, &id).await;
    assert_eq!(reinstate(&app, &id).await.unwrap().status(), wire::ProductStatus::Draft);
    assert_eq!(published(&app).await, []);
    app.stop().await;
}
