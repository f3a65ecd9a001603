//! Search: words, typing errors, filters, orders and pages.

use std::collections::HashMap;

use contracts::shop::product::v1 as wire;
use tonic::{Code, Request, Status};

use crate::support::{App, fields, named, operator, plain, sized, start};

pub async fn search(
    app: &App,
    request: wire::SearchProductsRequest,
) -> Result<wire::SearchProductsResponse, Status> {
    Ok(app.client().search_products(Request::new(request)).await?.into_inner())
}

fn query(query: &str, min_position: &str) -> wire::SearchProductsRequest {
    wire::SearchProductsRequest {
        query: query.to_owned(),
        min_position: min_position.to_owned(),
        ..Default::default()
    }
}

fn names(reply: &wire::SearchProductsResponse) -> Vec<&str> {
    reply.products.iter().map(|product| product.name.as_str()).collect()
}

/// Four products of a kitchen and one that is no longer sold. Returns the position to wait for.
async fn kitchen(app: &App) -> String {
    let product =
        |name: &str, brand: &str, category: &str, variants: Vec<wire::Variant>| wire::CreateProductRequest {
            brand: brand.to_owned(),
            category_path: category.split(" > ").map(str::to_owned).collect(),
            supplier: "Hollin".to_owned(),
            tags: vec!["gift".to_owned()],
            variants,
            ..named(name)
        };
    for mut request in [
        product(
            "Chef's Knife No. 8",
            "Brunnholt",
            "Home > Kitchen > Knives",
            vec![plain("BRU-CHEF8-WAL", 8400)],
        ),
        product("Crème Brûlée Dish", "Óst", "Home > Kitchen", vec![plain("OST-DISH", 1450)]),
        product("Apron", "Tannery Lane", "Wear", vec![sized("APR-M", "M", 3900), sized("APR-L", "L", 4100)]),
        product("Knife Block", "Brunnholt", "Home > Kitchen", vec![plain("BRU-BLOCK", 5900)]),
    ] {
        request.description = "<p>Goes well with a <b>stoneware</b> mug.</p>".to_owned();
        app.create(request).await.unwrap();
    }
    let gone = app.create(named("Knife of yesterday")).await.unwrap().product.unwrap();
    let end = wire::DiscontinueProductRequest { product_id: gone.product_id, ..Default::default() };
    app.client().discontinue_product(operator(end)).await.unwrap().into_inner().position
}

#[tokio::test]
async fn words_are_found_whatever_their_accents_case_plural_or_typing_errors() {
    let (_database, _inventory, app) = start().await;
    let position = kitchen(&app).await;
    for (words, found, corrected) in [
        ("chef's knife", vec!["Chef's Knife No. 8"], ""),
        ("CHEFS KNIVES", vec!["Chef's Knife No. 8"], ""),
        ("knives", vec!["Chef's Knife No. 8", "Knife Block"], ""),
        ("creme brulee", vec!["Crème Brûlée Dish"], ""),
        ("ost dishes", vec!["Crème Brûlée Dish"], ""),
        ("apr", vec!["Apron"], ""),
        ("bru-chef8", vec!["Chef's Knife No. 8"], ""),
        ("chef8 wal", vec!["Chef's Knife No. 8"], ""),
        ("tannery M", vec!["Apron"], ""),
        ("knfie blokc", vec!["Knife Block"], "knife block"),
        ("brunhlot block", vec!["Knife Block"], "brunnholt block"),
        ("stoneware apron", vec!["Apron"], ""),
    ] {
        let reply = search(&app, query(words, &position)).await.unwrap();
        assert_eq!(names(&reply), found, "{words}");
        assert_eq!(reply.corrected_query, corrected, "{words}");
        assert!(!reply.some_words, "{words}");
    }
    let some = search(&app, query("apron block", &position)).await.unwrap();
    assert!(some.some_words);
    assert_eq!(names(&some), ["Knife Block", "Apron"]);
    let nothing = search(&app, query("zzzzzz", &position)).await.unwrap();
    assert!(nothing.products.is_empty() && !nothing.some_words && nothing.corrected_query.is_empty());
    let everything = search(&app, query(" ?! ", &position)).await.unwrap();
    assert_eq!(names(&everything), ["Knife Block", "Apron", "Crème Brûlée Dish", "Chef's Knife No. 8"]);
    app.stop().await;
}

#[tokio::test]
async fn each_filter_narrows_and_several_must_all_hold() {
    let (_database, inventory, app) = start().await;
    let created = kitchen(&app).await;
    inventory.publish("APR-M", false);
    let position = format!("{created},{}", inventory.publish("APR-L", true));
    let all = || query("", &position);
    let text = str::to_owned;
    let priced = |min_price, max_price, currency: &str| wire::SearchProductsRequest {
        min_price,
        max_price,
        currency_code: text(currency),
        ..all()
    };
    for (request, expected) in [
        (
            wire::SearchProductsRequest { brand: vec![text("Brunnholt")], ..all() },
            vec!["Knife Block", "Chef's Knife No. 8"],
        ),
        (
            wire::SearchProductsRequest { brand: vec![text("Óst"), text("Tannery Lane")], ..all() },
            vec!["Apron", "Crème Brûlée Dish"],
        ),
        (
            wire::SearchProductsRequest { category: text("Home > Kitchen > Knives"), ..all() },
            vec!["Chef's Knife No. 8"],
        ),
        (
            wire::SearchProductsRequest { category: text("Home"), ..all() },
            vec!["Knife Block", "Crème Brûlée Dish", "Chef's Knife No. 8"],
        ),
        (wire::SearchProductsRequest { category: text("Hom"), ..all() }, vec![]),
        (wire::SearchProductsRequest { supplier: text("Reed"), ..all() }, vec![]),
        (wire::SearchProductsRequest { option: vec![text("Size=M")], ..all() }, vec!["Apron"]),
        (
            wire::SearchProductsRequest { option: vec![text("Size=M"), text("Size=XL")], ..all() },
            vec!["Apron"],
        ),
        (wire::SearchProductsRequest { option: vec![text("Size=M"), text("Colour=Red")], ..all() }, vec![]),
        (wire::SearchProductsRequest { in_stock: true, ..all() }, vec!["Apron"]),
        (priced(4000, 0, "EUR"), vec!["Knife Block", "Apron", "Chef's Knife No. 8"]),
        (priced(3901, 4099, "EUR"), vec![]),
        (priced(0, 1450, "EUR"), vec!["Crème Brûlée Dish"]),
        (priced(2000, 4999, "EUR"), vec!["Apron"]),
        (priced(0, 0, "USD"), vec![]),
        (
            wire::SearchProductsRequest {
                query: text("knife"),
                category: text("Home > Kitchen > Knives"),
                ..priced(8000, 0, "EUR")
            },
            vec!["Chef's Knife No. 8"],
        ),
    ] {
        assert_eq!(names(&search(&app, request.clone()).await.unwrap()), expected, "{request:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn what_changes_is_found_by_its_new_words_and_prices_and_no_more_by_the_old_ones() {
    let (_database, _inventory, app) = start().await;
    let product = app.create(named("Kettle")).await.unwrap().product.unwrap();
    let rename = wire::UpdateProductRequest {
        product_id: product.product_id.clone(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["name".to_owned()] }),
        name: "Teapot".to_owned(),
        ..Default::default()
    };
    app.client().update_product(operator(rename)).await.unwrap();
    let position = app.change_price(&product.product_id, "Kettle", 7700).await.position;
    assert_eq!(names(&search(&app, query("teapot", &position)).await.unwrap()), ["Teapot"]);
    // Its SKU still says so.
    assert_eq!(names(&search(&app, query("kettle", &position)).await.unwrap()), ["Teapot"]);
    let priced = wire::SearchProductsRequest {
        min_price: 7700,
        max_price: 7700,
        currency_code: "EUR".to_owned(),
        ..query("", &position)
    };
    assert_eq!(names(&search(&app, priced).await.unwrap()), ["Teapot"]);
    let end = wire::DiscontinueProductRequest { product_id: product.product_id, ..Default::default() };
    let position = app.client().discontinue_product(operator(end)).await.unwrap().into_inner().position;
    let reply = search(&app, query("teapot", &position)).await.unwrap();
    assert!(reply.products.is_empty());
    assert_eq!(
        reply.facets,
        search(&app, query("", &position)).await.unwrap().facets,
        "nothing is counted any more"
    );
    let ended = wire::SearchProductsRequest {
        status: wire::ProductStatus::Discontinued.into(),
        ..query("teapot", &position)
    };
    let refused = search(&app, ended.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let seen = app.client().search_products(operator(ended)).await.unwrap().into_inner();
    assert_eq!(names(&seen), ["Teapot"]);
    app.stop().await;
}

#[tokio::test]
async fn orders_are_kept_over_pages_while_products_come_and_go() {
    let (_database, _inventory, app) = start().await;
    let mut position = String::new();
    for number in 0..23_i64 {
        // Prices and names have equals, so that ids must decide.
        let price = 1000 + 100 * (number * 7 % 5);
        let request = wire::CreateProductRequest {
            variants: vec![plain(&format!("S{number}"), price)],
            ..named(&format!("Mug {}", ["blue", "Blau", "bläck", "red"][(number % 4) as usize]))
        };
        position = app.create(request).await.unwrap().position;
    }
    for order in 1..=5 {
        let mut request =
            wire::SearchProductsRequest { order_by: order, page_size: 4, ..query("mugs", &position) };
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut sorted = Vec::new();
        for page in 0.. {
            let reply = search(&app, request.clone()).await.unwrap();
            assert_eq!(reply.total.is_some(), request.page_token.is_empty(), "told once");
            for product in reply.products {
                if product.name.starts_with("Mug") {
                    let price = product.variants[0].price.as_ref().unwrap().minor_units;
                    sorted.push((product.name, price, product.product_id.clone()));
                    *seen.entry(product.product_id).or_default() += 1;
                }
            }
            if reply.next_page_token.is_empty() {
                break;
            }
            request.page_token = reply.next_page_token;
            app.create(named(&format!("New mug {order} {page}"))).await.unwrap();
        }
        assert_eq!(seen.len(), 23, "order {order}");
        assert!(seen.values().all(|times| *times == 1), "order {order}");
        let ordered = match order {
            1 | 4 => sorted.is_sorted_by(|a, b| a.2 > b.2 || order == 1),
            2 => sorted.is_sorted_by_key(|product| (product.1, product.2.clone())),
            3 => sorted.is_sorted_by(|a, b| (a.1, &a.2) > (b.1, &b.2)),
            _ => sorted.is_sorted_by_key(|product| {
                let name = product.0.to_lowercase().replace('ä', "a");
                (name, product.2.clone())
            }),
        };
        assert!(ordered, "order {order}: {sorted:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_page_token_belongs_to_its_search_and_wrong_requests_name_their_fields() {
    let (_database, _inventory, app) = start().await;
    let position = kitchen(&app).await;
    let one = |request| wire::SearchProductsRequest { page_size: 1, ..request };
    let first = search(&app, one(query("knfie", &position))).await.unwrap();
    assert_eq!(first.corrected_query, "knife");
    let next = wire::SearchProductsRequest {
        page_token: first.next_page_token.clone(),
        ..one(query("knfie", &position))
    };
    let second = search(&app, next.clone()).await.unwrap();
    assert_eq!(second.products.len(), 1, "the second page is of the same reading");
    assert_ne!(second.products[0].product_id, first.products[0].product_id);
    for other in [
        wire::SearchProductsRequest { query: "knife".to_owned(), ..next.clone() },
        wire::SearchProductsRequest { in_stock: true, ..next.clone() },
        wire::SearchProductsRequest { order_by: wire::SearchOrder::Name.into(), ..next.clone() },
        wire::SearchProductsRequest { page_token: "x".to_owned(), ..next },
    ] {
        assert_eq!(fields(&search(&app, other).await.unwrap_err()), ["page_token"]);
    }
    let wrong = wire::SearchProductsRequest {
        query: "a\0".to_owned(),
        brand: vec!["Brun".to_owned(), String::new()],
        category: "c\n".to_owned(),
        option: vec!["Size".to_owned()],
        min_price: 5,
        max_price: 4,
        order_by: 99,
        ..Default::default()
    };
    assert_eq!(
        fields(&search(&app, wrong).await.unwrap_err()),
        ["query", "brand[1]", "category", "option[0]", "max_price", "currency_code", "order_by"]
    );
    let long = wire::SearchProductsRequest {
        query: "x".repeat(201),
        brand: vec!["b".to_owned(); 21],
        ..Default::default()
    };
    assert_eq!(fields(&search(&app, long).await.unwrap_err()), ["query", "brand"]);
    app.stop().await;
}

#[tokio::test]
async fn suggestions_complete_what_is_typed_also_with_an_error_in_it() {
    let (_database, _inventory, app) = start().await;
    let position = kitchen(&app).await;
    search(&app, query("", &position)).await.unwrap();
    let suggest = async |typed: &str| {
        let request = wire::SuggestProductsRequest { query: typed.to_owned() };
        let reply = app.client().suggest_products(Request::new(request)).await.unwrap().into_inner();
        reply.suggestions.into_iter().map(|suggestion| suggestion.text).collect::<Vec<_>>()
    };
    assert_eq!(suggest("brunn").await[0], "Brunnholt");
    assert_eq!(suggest("k").await, ["Home > Kitchen", "Home > Kitchen > Knives", "Knife Block"]);
    assert_eq!(suggest("chefs kn").await, ["Chef's Knife No. 8"]);
    assert_eq!(suggest("knfie blo").await, ["Knife Block"]);
    assert_eq!(suggest("brnun").await[0], "Brunnholt");
    assert_eq!(suggest("creme bru").await, ["Crème Brûlée Dish"]);
    assert!(
        suggest("").await.is_empty() && suggest("zzzzz").await.is_empty() && suggest("?!").await.is_empty()
    );
    app.stop().await;
}

#[tokio::test]
async fn products_that_an_older_program_left_without_documents_get_them_at_the_start() {
    let (database, inventory, app) = start().await;
    let position = kitchen(&app).await;
    let before = search(&app, query("", &position)).await.unwrap();
    app.stop().await;
    let admin = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
    sqlx::raw_sql("DELETE FROM product_search; DELETE FROM search_words; DELETE FROM search_terms")
        .execute(&admin)
        .await
        .unwrap();
    let app = App::start(&database, &inventory).await;
    testkit::eventually("all documents are made again", testkit::SOON, async || {
        let reply = search(&app, query("", "")).await.unwrap();
        (reply.products == before.products && reply.facets == before.facets).then_some(())
    })
    .await;
    admin.close().await;
    app.stop().await;
}
