//! Products as they were: every version of one, and times at which there is nothing to show.

use chrono::{DateTime, Utc};
use contracts::shop::product::v1 as wire;
use prost_types::Timestamp;
use service_runtime::status::reason_of;
use sqlx::{Connection, PgConnection};
use testkit::TestDatabase;
use tonic::{Code, Status};

use crate::support::{App, eur, fields, named, operator, sized, start};

async fn as_of(
    app: &App,
    product_id: &str,
    time: Option<DateTime<Utc>>,
) -> Result<wire::GetProductAsOfResponse, Status> {
    let time = time.map(timestamp);
    let request = wire::GetProductAsOfRequest { product_id: product_id.to_owned(), time };
    Ok(app.client().get_product_as_of(operator(request)).await?.into_inner())
}

async fn product_at(app: &App, product_id: &str, time: Option<DateTime<Utc>>) -> wire::Product {
    as_of(app, product_id, time).await.unwrap().product.expect("a reply has the product")
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() }
}

/// When the events of a product were recorded, each time once.
async fn times(database: &TestDatabase, product_id: &str) -> Vec<DateTime<Utc>> {
    let mut connection = PgConnection::connect(database.admin_url()).await.unwrap();
    let sql =
        "SELECT DISTINCT recorded_at FROM eventlog.events WHERE stream_id = 'product-' || $1 ORDER BY 1";
    sqlx::query_scalar(sql).bind(product_id).fetch_all(&mut connection).await.unwrap()
}

/// Changes everything about a product that can change. Returns what it was after each change, as it was answered.
async fn changed_in_every_way(app: &App) -> Vec<wire::Product> {
    let client = || app.client();
    let request = wire::CreateProductRequest {
        description: "<p>old</p>".into(),
        status: wire::ProductStatus::Draft.into(),
        variants: vec![sized("S", "S", 1000)],
        ..named("Shirt")
    };
    let created = app.create(request).await.unwrap().product.unwrap();
    let product_id = created.product_id.clone();
    let mut seen = vec![created];
    let paths = [
        "name",
        "description",
        "brand",
        "category_path",
        "supplier",
        "attributes",
        "tags",
        "images",
        "status",
    ];
    let update = wire::UpdateProductRequest {
        product_id: product_id.clone(),
        update_mask: Some(prost_types::FieldMask { paths: paths.map(str::to_owned).into() }),
        name: "Linen shirt".into(),
        description: "<p>new</p>".into(),
        brand: "Tannenhof".into(),
        category_path: vec!["Wear".into()],
        supplier: "Hollin".into(),
        attributes: [("care".to_owned(), "cold".to_owned())].into(),
        tags: vec!["linen".into()],
        images: vec![wire::Image { url: "https://images.example/a.jpg".into(), alt_text: "A shirt".into() }],
        status: wire::ProductStatus::Active.into(),
        ..Default::default()
    };
    seen.extend(client().update_product(operator(update)).await.unwrap().into_inner().product);
    let variants = vec![wire::Variant { barcode: "4006381333931".into(), ..sized("M", "M", 1100) }];
    let more = wire::AddVariantsRequest { product_id: product_id.clone(), variants, ..Default::default() };
    seen.extend(client().add_variants(operator(more)).await.unwrap().into_inner().product);
    seen.extend(app.change_price(&product_id, "S", 900).await.product);
    let mut schedules = Vec::new();
    for (day, price) in [(20, 700), (10, 800)] {
        let schedule = wire::SchedulePriceChangeRequest {
            product_id: product_id.clone(),
            sku: "M".into(),
            price: eur(price),
            effective_time: Some(timestamp(Utc::now() + chrono::TimeDelta::days(day))),
            ..Default::default()
        };
        let reply = client().schedule_price_change(operator(schedule)).await.unwrap().into_inner();
        schedules.push(reply.schedule_id);
        seen.extend(reply.product);
    }
    let withdraw = wire::WithdrawScheduledPriceRequest {
        product_id: product_id.clone(),
        schedule_id: schedules[0].clone(),
        ..Default::default()
    };
    seen.extend(client().withdraw_scheduled_price(operator(withdraw)).await.unwrap().into_inner().product);
    let end = wire::DiscontinueProductRequest { product_id: product_id.clone(), ..Default::default() };
    seen.extend(client().discontinue_product(operator(end)).await.unwrap().into_inner().product);
    let back = wire::ReinstateProductRequest { product_id, ..Default::default() };
    seen.extend(client().reinstate_product(operator(back)).await.unwrap().into_inner().product);
    seen
}

#[tokio::test]
async fn a_product_is_shown_as_it_was_after_each_of_its_changes() {
    let (database, inventory, app) = start().await;
    let seen = changed_in_every_way(&app).await;
    let id = seen[0].product_id.as_str();
    // What was in stock is not the product's own history.
    app.get(id, &inventory.publish("S", true)).await.unwrap();
    let times = times(&database, id).await;
    assert_eq!(times.len(), seen.len(), "each change was recorded at a time of its own");
    for (time, expected) in times.iter().zip(&seen) {
        assert_eq!(product_at(&app, id, Some(*time)).await, *expected);
        let reply = as_of(&app, id, Some(*time)).await.unwrap();
        assert_eq!(reply.time, Some(timestamp(*time)));
    }
    for (pair, expected) in times.windows(2).zip(&seen) {
        let between = pair[1] - chrono::TimeDelta::microseconds(1);
        assert_eq!(product_at(&app, id, Some(between)).await, *expected, "nothing happened in between");
    }
    assert_eq!(Some(&product_at(&app, id, None).await), seen.last());
    app.stop().await;
}

#[tokio::test]
async fn at_a_time_with_nothing_to_show_it_is_said_why() {
    let (database, _inventory, app) = start().await;
    let id = app.create(named("Knife")).await.unwrap().product.unwrap().product_id;
    let created_at = times(&database, &id).await[0];
    let before = created_at - chrono::TimeDelta::microseconds(1);
    let refused = as_of(&app, &id, Some(before)).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::NotFound, "PRODUCT_NOT_THERE_YET"));
    assert!(refused.message().contains(&created_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)));

    let nobody = uuid::Uuid::now_v7().to_string();
    for time in [None, Some(before)] {
        let refused = as_of(&app, &nobody, time).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::NotFound, "PRODUCT_NOT_FOUND"));
    }
    let future = Utc::now() + chrono::TimeDelta::days(1);
    assert_eq!(fields(&as_of(&app, &id, Some(future)).await.unwrap_err()), ["time"]);
    assert_eq!(fields(&as_of(&app, "knife", Some(future)).await.unwrap_err()), ["product_id", "time"]);
    let request = wire::GetProductAsOfRequest { product_id: id, time: None };
    let anybody = app.client().get_product_as_of(request).await.unwrap_err();
    assert_eq!(anybody.code(), Code::Unauthenticated);
    app.stop().await;
}

#[tokio::test]
async fn another_replica_knows_the_past_up_to_now() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    let id = first.create(named("Knife")).await.unwrap().product.unwrap().product_id;
    for round in 1..=20 {
        let changed = first.change_price(&id, "Knife", round).await.product.unwrap();
        assert_eq!(product_at(&second, &id, None).await, changed);
    }
    first.stop().await;
    second.stop().await;
}
