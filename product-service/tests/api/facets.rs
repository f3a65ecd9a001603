//! Facets: whatever is searched and chosen, the count of every value is the length of the list that it leads to.

use std::collections::BTreeSet;

use contracts::shop::product::v1 as wire;
use contracts::shop::r#type::v1::Money;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::search::search;
use crate::support::{App, named, start};

const BRANDS: [&str; 4] = ["Brun", "Óst & Co", "Tan", "never"];
const CATEGORIES: [&str; 6] =
    ["Home", "Home > Kitchen", "Home > Kitchen > Mugs", "Home > Bed", "Wear", "Hom"];
const WORDS: [&str; 6] = ["mug", "knife", "towel", "blue", "stoneware", "apron"];
const OPTIONS: [&str; 7] =
    ["Size=S", "Size=M", "Size=L", "Colour=Red", "Colour=Blue", "Colour=a=b", "Cut=none"];
const SUPPLIERS: [&str; 2] = ["Hollin", "Reed"];
const PRICES: [i64; 9] = [0, 99, 100, 101, 199, 500, 1999, 2000, 8400];
const CURRENCIES: [&str; 2] = ["EUR", "USD"];
const QUERIES: [&str; 9] =
    ["", "mug", "mugs", "mgu", "blue mug", "stoneware knif", "zzzz apron", "zzzz", "towel brun"];
const PRODUCTS: usize = 60;
const CASES: u32 = 40;

/// A product, and which of its SKUs are in stock.
fn product() -> impl Strategy<Value = (wire::CreateProductRequest, Vec<bool>)> {
    let texts = (subsequence(WORDS.to_vec(), 1..=3), subsequence(WORDS.to_vec(), 0..=2));
    let places =
        (select(&BRANDS[..3]), select(&CATEGORIES[..5]), select(&SUPPLIERS[..]), select(&CURRENCIES[..]));
    let variant = (select(&PRICES[..]), any::<bool>());
    let variants =
        (subsequence(OPTIONS[..3].to_vec(), 1..=3), select(&OPTIONS[3..6]), prop::array::uniform3(variant));
    (texts, places, variants, any::<bool>()).prop_map(|(texts, places, variants, optional)| {
        let ((name, described), (brand, category, supplier, currency)) = (texts, places);
        let (sizes, colour, priced) = variants;
        let option = |text: &str| {
            let (name, value) = text.split_once('=').unwrap();
            wire::OptionValue { name: name.to_owned(), value: value.to_owned() }
        };
        let count = if optional { sizes.len() } else { 1 };
        let variants = sizes.iter().zip(priced).take(count).map(|(size, (minor_units, _))| wire::Variant {
            options: if optional { vec![option(size), option(colour)] } else { vec![] },
            price: Some(Money { currency_code: currency.to_owned(), minor_units }),
            ..Default::default()
        });
        let request = wire::CreateProductRequest {
            description: described.join(" "),
            brand: brand.to_owned(),
            category_path: category.split(" > ").map(str::to_owned).collect(),
            supplier: supplier.to_owned(),
            variants: variants.collect(),
            ..named(&name.join(" "))
        };
        (request, priced.iter().map(|(_, in_stock)| *in_stock).collect())
    })
}

fn filter() -> impl Strategy<Value = wire::SearchProductsRequest> {
    let chosen = (subsequence(BRANDS.to_vec(), 0..=2), subsequence(OPTIONS.to_vec(), 0..=3));
    let one =
        (prop::option::of(select(&CATEGORIES[..])), prop::option::weighted(0.2, select(&SUPPLIERS[..])));
    let price = prop::option::of((select(&PRICES[..]), select(&PRICES[..]), select(&CURRENCIES[..])));
    (select(&QUERIES[..]), chosen, one, price, prop::bool::weighted(0.3), 0..6_i32).prop_map(
        |(query, (brands, options), (category, supplier), price, in_stock, order_by)| {
            let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
            let (min_price, max_price, currency) = match price {
                Some((one, other, currency)) => (one.min(other), one.max(other), currency),
                None => (0, 0, ""),
            };
            wire::SearchProductsRequest {
                query: query.to_owned(),
                brand: texts(brands),
                category: category.unwrap_or_default().to_owned(),
                supplier: supplier.unwrap_or_default().to_owned(),
                min_price,
                max_price,
                currency_code: currency.to_owned(),
                option: texts(options),
                in_stock,
                order_by,
                ..Default::default()
            }
        },
    )
}

/// Fills the shop with random products.
async fn fill(app: &App, inventory: &crate::support::Inventory, runner: &mut TestRunner) -> String {
    let mut position = String::new();
    for number in 0..PRODUCTS {
        let (mut request, in_stock) = product().new_tree(runner).unwrap().current();
        for (at, variant) in request.variants.iter_mut().enumerate() {
            variant.sku = format!("P{number}-{at}");
            inventory.publish(&variant.sku, in_stock[at]);
        }
        position = app.create(request).await.unwrap().position;
    }
    format!("{position},{}", inventory.publish("unknown", true))
}

/// All products of a search, page by page; no product comes twice.
async fn listed(
    app: &App,
    mut request: wire::SearchProductsRequest,
) -> Result<BTreeSet<String>, TestCaseError> {
    let mut seen = BTreeSet::new();
    loop {
        let reply = search(app, request.clone()).await.unwrap();
        for product in reply.products {
            prop_assert!(seen.insert(product.product_id), "a product comes twice");
        }
        if reply.next_page_token.is_empty() {
            return Ok(seen);
        }
        request.page_token = reply.next_page_token;
    }
}

async fn counts_hold(app: &App, filter: &wire::SearchProductsRequest) -> Result<(), TestCaseError> {
    let first = search(app, filter.clone()).await.unwrap();
    let (total, facets) = (first.total.unwrap(), first.facets.unwrap());
    let all = listed(app, wire::SearchProductsRequest { page_size: 7, ..filter.clone() }).await?;
    prop_assert_eq!((total.products, total.at_least), (all.len() as i64, false));

    let mut lists: Vec<(String, i64, wire::SearchProductsRequest)> = Vec::new();
    let counted = |facet: &[wire::FacetValue], value: &str| {
        facet.iter().find(|counted| counted.value == value).map_or(0, |counted| counted.products)
    };
    let brands = facets.brand.unwrap();
    prop_assert!(!brands.at_least);
    for brand in BRANDS {
        let chosen = wire::SearchProductsRequest { brand: vec![brand.to_owned()], ..filter.clone() };
        lists.push((format!("brand {brand}"), counted(&brands.values, brand), chosen));
    }
    let categories = facets.category.unwrap();
    for category in CATEGORIES {
        let chosen = wire::SearchProductsRequest { category: category.to_owned(), ..filter.clone() };
        lists.push((format!("category {category}"), counted(&categories.values, category), chosen));
    }
    for wanted in OPTIONS {
        let (name, value) = wanted.split_once('=').unwrap();
        let facet = facets.options.iter().find(|facet| facet.name == name);
        let count = facet.map_or(0, |facet| counted(&facet.values, value));
        let mut option: Vec<String> = filter.option.clone();
        option.retain(|other| !other.starts_with(&format!("{name}=")));
        option.push(wanted.to_owned());
        lists.push((wanted.to_owned(), count, wire::SearchProductsRequest { option, ..filter.clone() }));
    }
    for range in facets.price.unwrap().ranges {
        let told = format!("{range:?}");
        let wire::PriceRange { currency_code, min_price, max_price, products } = range;
        let chosen = wire::SearchProductsRequest { currency_code, min_price, max_price, ..filter.clone() };
        lists.push((told, products, chosen));
    }
    let in_stock = facets.in_stock.unwrap();
    lists.push((
        "in stock".to_owned(),
        in_stock.products,
        wire::SearchProductsRequest { in_stock: true, ..filter.clone() },
    ));
    for (choice, count, request) in lists {
        let found =
            listed(app, wire::SearchProductsRequest { page_size: 200, ..request }).await?.len() as i64;
        prop_assert_eq!(count, found, "{}", choice);
    }
    Ok(())
}

#[test]
fn the_count_of_every_value_is_the_length_of_the_list_that_it_leads_to() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let (_database, inventory, app) = runtime.block_on(start());
    let position = runtime.block_on(fill(&app, &inventory, &mut runner));
    let first = wire::SearchProductsRequest { min_position: position, ..Default::default() };
    runtime.block_on(search(&app, first)).unwrap();
    let outcome = runner.run(&filter(), |filter| runtime.block_on(counts_hold(&app, &filter)));
    runtime.block_on(app.stop());
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
