//! Lists: filters, pages while products change, and stock that inventory reports.

use std::collections::HashMap;

use contracts::shop::product::v1 as wire;
use tonic::{Request, Status};

use crate::support::{App, fields, named, operator, plain, sized, start};

async fn list(app: &App, request: wire::ListProductsRequest) -> Result<wire::ListProductsResponse, Status> {
    Ok(app.client().list_products(Request::new(request)).await?.into_inner())
}

/// The names that a filter finds, oldest first.
async fn names(app: &App, request: wire::ListProductsRequest) -> Vec<String> {
    let reply = list(app, request).await.unwrap();
    assert_eq!(reply.next_page_token, "");
    reply.products.into_iter().rev().map(|product| product.name).collect()
}

async fn add(
    app: &App,
    name: &str,
    brand: &str,
    supplier: &str,
    category: &str,
    variants: Vec<wire::Variant>,
) {
    let request = wire::CreateProductRequest {
        brand: brand.to_owned(),
        supplier: supplier.to_owned(),
        category_path: category.split(" > ").map(str::to_owned).collect(),
        variants,
        ..named(name)
    };
    app.create(request).await.unwrap();
}

#[tokio::test]
async fn each_filter_finds_its_products_and_several_must_all_hold() {
    let (_database, inventory, app) = start().await;
    add(&app, "Knife", "Brun", "Hollin", "Home > Kitchen > Knives", vec![plain("K", 8400)]).await;
    add(&app, "Spoon", "Brun", "Reed", "Home > Kitchen", vec![plain("SP", 500)]).await;
    add(&app, "Shirt", "Tan", "Reed", "Wear", vec![sized("S", "S", 3000), sized("M", "M", 9000)]).await;
    add(&app, "Towel", "Tan", "Hollin", "Home > Kitchens", vec![plain("T", 1500)]).await;
    let dollars = wire::CreateProductRequest {
        variants: vec![wire::Variant {
            price: Some(contracts::shop::r#type::v1::Money {
                currency_code: "USD".to_owned(),
                minor_units: 8400,
            }),
            ..plain("D", 0)
        }],
        ..named("Dollar")
    };
    app.create(dollars).await.unwrap();
    let gone = app.create(named("Gone")).await.unwrap().product.unwrap();
    let end = wire::DiscontinueProductRequest { product_id: gone.product_id, ..Default::default() };
    app.client().discontinue_product(operator(end)).await.unwrap();
    inventory.publish("unknown", true);
    inventory.publish("S", false);
    inventory.publish("K", false);
    inventory.publish("M", true);
    let min_position = format!("{},{}", inventory.publish("K", true), app.now().await);

    let all = || wire::ListProductsRequest { min_position: min_position.clone(), ..Default::default() };
    let text = str::to_owned;
    let by_category = |path: &str| wire::ListProductsRequest { category: text(path), ..all() };
    let priced = |min_price, max_price, currency: &str| wire::ListProductsRequest {
        min_price,
        max_price,
        currency_code: text(currency),
        ..all()
    };
    for (request, expected) in [
        (all(), vec!["Knife", "Spoon", "Shirt", "Towel", "Dollar"]),
        (wire::ListProductsRequest { brand: text("Brun"), ..all() }, vec!["Knife", "Spoon"]),
        (wire::ListProductsRequest { supplier: text("Reed"), ..all() }, vec!["Spoon", "Shirt"]),
        (by_category("Home"), vec!["Knife", "Spoon", "Towel"]),
        (by_category("Home > Kitchen"), vec!["Knife", "Spoon"]),
        (by_category("Home > Kitchen > Knives"), vec!["Knife"]),
        (by_category("Hom"), vec![]),
        (priced(1500, 8400, "EUR"), vec!["Knife", "Shirt", "Towel"]),
        (priced(3001, 8399, "EUR"), vec![]),
        (priced(0, 500, "EUR"), vec!["Spoon"]),
        (priced(8400, 0, "EUR"), vec!["Knife", "Shirt"]),
        (priced(0, 0, "USD"), vec!["Dollar"]),
        (wire::ListProductsRequest { in_stock: true, ..all() }, vec!["Knife", "Shirt"]),
        (wire::ListProductsRequest { handle: text("shirt"), ..all() }, vec!["Shirt"]),
        (wire::ListProductsRequest { sku: text("M"), ..all() }, vec!["Shirt"]),
        (wire::ListProductsRequest { sku: text("nothing"), ..all() }, vec![]),
        (
            wire::ListProductsRequest { status: wire::ProductStatus::Discontinued.into(), ..all() },
            vec!["Gone"],
        ),
        (
            wire::ListProductsRequest { brand: text("Brun"), in_stock: true, ..priced(1, 9000, "EUR") },
            vec!["Knife"],
        ),
        (wire::ListProductsRequest { brand: text("Tan"), category: text("Home > Kitchen"), ..all() }, vec![]),
    ] {
        assert_eq!(names(&app, request.clone()).await, expected, "{request:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn stock_that_inventory_reports_is_seen_also_of_a_sku_that_it_knew_first() {
    let (_database, inventory, app) = start().await;
    let early = inventory.publish("S", true);
    let request = wire::CreateProductRequest {
        variants: vec![sized("S", "S", 1000), sized("M", "M", 1100)],
        ..named("Shirt")
    };
    let created = app.create(request).await.unwrap();
    let id = created.product.unwrap().product_id;
    let in_stock = |product: wire::Product| product.variants.iter().map(|v| v.in_stock).collect::<Vec<_>>();
    let both = format!("{early},{}", created.position);
    assert_eq!(in_stock(app.get(&id, &both).await.unwrap()), [true, false]);
    inventory.publish("S", false);
    let later = inventory.publish("M", true);
    assert_eq!(in_stock(app.get(&id, &later).await.unwrap()), [false, true]);
    app.stop().await;
}

#[tokio::test]
async fn every_product_that_stays_is_on_exactly_one_page_while_others_come_and_change() {
    let (_database, _inventory, app) = start().await;
    let mut created = Vec::new();
    for number in 0..25 {
        let request = wire::CreateProductRequest { brand: "Brun".to_owned(), ..named(&format!("P{number}")) };
        created.push(app.create(request).await.unwrap().product.unwrap());
    }
    let mut request =
        wire::ListProductsRequest { brand: "Brun".to_owned(), page_size: 4, ..Default::default() };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut order = Vec::new();
    for page in 0.. {
        let reply = list(&app, request.clone()).await.unwrap();
        assert!(reply.products.len() <= 4);
        for product in reply.products {
            order.push(product.product_id.clone());
            *seen.entry(product.product_id).or_default() += 1;
        }
        if reply.next_page_token.is_empty() {
            break;
        }
        request.page_token = reply.next_page_token;
        // A new one, one that changes, and one that leaves the list.
        app.create(wire::CreateProductRequest { brand: "Brun".to_owned(), ..named(&format!("New{page}")) })
            .await
            .unwrap();
        app.change_price(&created[20].product_id, "P20", 1 + page).await;
        let end = wire::DiscontinueProductRequest {
            product_id: created[usize::try_from(page).unwrap() % 3].product_id.clone(),
            ..Default::default()
        };
        app.client().discontinue_product(operator(end)).await.unwrap();
    }
    assert!(order.is_sorted_by(|a, b| a > b), "the newest first");
    for product in &created[3..] {
        assert_eq!(seen.get(&product.product_id), Some(&1), "{}", product.name);
    }
    assert!(seen.values().all(|times| *times == 1));
    app.stop().await;
}

#[tokio::test]
async fn a_page_token_belongs_to_its_filter_and_malformed_filters_name_their_fields() {
    let (_database, _inventory, app) = start().await;
    for name in ["A", "B"] {
        app.create(named(name)).await.unwrap();
    }
    let first = list(&app, wire::ListProductsRequest { page_size: 1, ..Default::default() }).await.unwrap();
    let other = wire::ListProductsRequest {
        page_token: first.next_page_token.clone(),
        brand: "Brun".to_owned(),
        ..Default::default()
    };
    assert_eq!(fields(&list(&app, other).await.unwrap_err()), ["page_token"]);
    let larger =
        wire::ListProductsRequest { page_token: first.next_page_token, page_size: 9, ..Default::default() };
    assert_eq!(list(&app, larger).await.unwrap().products.len(), 1);
    let wrong = wire::ListProductsRequest {
        brand: "a\0".to_owned(),
        category: "c\n".to_owned(),
        handle: "A B".to_owned(),
        sku: "\0".to_owned(),
        min_price: 5,
        max_price: 4,
        ..Default::default()
    };
    assert_eq!(
        fields(&list(&app, wrong).await.unwrap_err()),
        ["brand", "category", "handle", "sku", "max_price", "currency_code"]
    );
    let negative = wire::ListProductsRequest { page_size: -1, ..Default::default() };
    assert_eq!(fields(&list(&app, negative).await.unwrap_err()), ["page_size"]);
    app.stop().await;
}

#[tokio::test]
async fn a_page_of_long_descriptions_ends_early_and_the_next_goes_on() {
    let (_database, _inventory, app) = start().await;
    let description = "x".repeat(500 * 1024);
    for number in 0..6 {
        let request =
            wire::CreateProductRequest { description: description.clone(), ..named(&format!("P{number}")) };
        app.create(request).await.unwrap();
    }
    let mut request = wire::ListProductsRequest::default();
    let mut pages = Vec::new();
    loop {
        let reply = list(&app, request.clone()).await.unwrap();
        pages.push(reply.products.len());
        if reply.next_page_token.is_empty() {
            break;
        }
        request.page_token = reply.next_page_token;
    }
    assert_eq!(pages, [4, 2]);
    app.stop().await;
}
