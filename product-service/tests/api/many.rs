//! Searches that find more products than are counted one by one.

use std::collections::BTreeSet;

use contracts::shop::product::v1 as wire;
use product_service::application::search::MAX_COUNTED;
use product_service::{LOG, MIGRATIONS};
use sqlx::AssertSqlSafe;
use testkit::{HandMadeFeed, SOON, TestDatabase, eventually};

use crate::search::search;
use crate::support::{App, Inventory};

/// Active products: all of them mugs in one category, every second of one brand.
const PRODUCTS: usize = MAX_COUNTED + 300;
/// So that there are a dozen pages.
const PAGE: i32 = 200;

/// Writes into the tables that events would have filled; the service makes the documents of its search from these.
async fn fill(database: &TestDatabase) {
    let admin = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "INSERT INTO products (product_id, handle, name, description, brand, category_path, category, supplier,
                              attributes, tags, images, status, options, currency, variant_count, created_at,
                              updated_at, version)
         SELECT lpad(to_hex(n), 32, '0')::uuid, 'p' || n, 'Mug ' || n * 7919 % {PRODUCTS}, '',
                CASE WHEN n % 2 = 0 THEN 'Brun' ELSE 'Reed' END, '[\"Home\"]', 'Home', '', '{{}}', '[]', '[]', 'active',
                '[]', 'EUR', 1, now(), now(), 1
           FROM generate_series(1, {PRODUCTS}) n;
         INSERT INTO variants (sku, product_id, ordinal, option_values, price, currency)
         SELECT 'S-' || n, lpad(to_hex(n), 32, '0')::uuid, 1, '[]', 100 + n * 31 % 977, 'EUR'
           FROM generate_series(1, {PRODUCTS}) n;"
    )))
    .execute(&admin)
    .await
    .unwrap();
    admin.close().await;
}

fn mugs(order: wire::SearchOrder) -> wire::SearchProductsRequest {
    let order_by = order.into();
    wire::SearchProductsRequest { query: "mugs".to_owned(), page_size: PAGE, order_by, ..Default::default() }
}

/// Names and lowest prices in the order of the list, page by page.
async fn listed(app: &App, mut request: wire::SearchProductsRequest) -> Vec<(String, i64)> {
    let mut listed = Vec::new();
    loop {
        let reply = search(app, request.clone()).await.unwrap();
        let price = |product: &wire::Product| product.variants[0].price.as_ref().unwrap().minor_units;
        listed.extend(reply.products.iter().map(|product| (product.name.clone(), price(product))));
        if reply.next_page_token.is_empty() {
            return listed;
        }
        request.page_token = reply.next_page_token;
    }
}

#[tokio::test]
async fn more_products_than_are_counted_are_told_as_at_least_and_listed_in_every_order_without_one_missing() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    fill(&database).await;
    let inventory = Inventory { feed: HandMadeFeed::new("inventory") };
    let app = App::start(&database, &inventory).await;
    eventually("every product has its document", SOON, async || {
        let all = search(&app, wire::SearchProductsRequest::default()).await.unwrap();
        (all.total.unwrap().products == PRODUCTS as i64).then_some(())
    })
    .await;

    let first = search(&app, mugs(wire::SearchOrder::Relevance)).await.unwrap();
    let (total, facets) = (first.total.unwrap(), first.facets.unwrap());
    assert_eq!((total.products, total.at_least), (MAX_COUNTED as i64, true));
    let brands = facets.brand.unwrap();
    assert!(brands.at_least && facets.category.unwrap().at_least);
    assert!(brands.values.iter().all(|brand| brand.products > 0 && brand.products <= PRODUCTS as i64 / 2));

    // What fewer have is counted again.
    let brun =
        wire::SearchProductsRequest { brand: vec!["Brun".to_owned()], ..mugs(wire::SearchOrder::Relevance) };
    let total = search(&app, brun).await.unwrap().total.unwrap();
    assert_eq!((total.products, total.at_least), (PRODUCTS as i64 / 2, false));

    for order in [
        wire::SearchOrder::Relevance,
        wire::SearchOrder::PriceAscending,
        wire::SearchOrder::PriceDescending,
        wire::SearchOrder::Newest,
        wire::SearchOrder::Name,
    ] {
        let listed = listed(&app, mugs(order)).await;
        let different: BTreeSet<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((listed.len(), different.len()), (PRODUCTS, PRODUCTS), "{order:?}");
        let ascends = match order {
            wire::SearchOrder::PriceAscending => listed.is_sorted_by_key(|(_, price)| *price),
            wire::SearchOrder::PriceDescending => listed.is_sorted_by_key(|(_, price)| -price),
            wire::SearchOrder::Name => listed.is_sorted_by(|(one, _), (other, _)| one <= other),
            _ => true,
        };
        assert!(ascends, "{order:?}");
    }
    app.stop().await;
}
