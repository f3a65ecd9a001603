//! What shoppers type into the search of the sample catalogue, and what they must see on the first page. The test prints
//! the rank of each.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use contracts::shop::product::v1 as wire;
use product_service::import::{ImportOptions, ProductRows, to_request};

use crate::search::search;
use crate::support::{App, operator, start};

/// Products on a first page.
const FIRST_PAGE: i32 = 10;

/// What somebody types, and the handles of what they mean.
const QUERIES: &[(&str, &[&str])] = &[
    // exact
    ("Chef's Knife No. 8", &["chefs-knife-no-8"]),
    ("Round Dutch Oven", &["dutch-oven-round"]),
    ("moka pot", &["moka-pot-classic"]),
    ("linen apron", &["linen-apron", "linen-apron-child"]),
    ("paper knife", &["paper-knife"]),
    ("Steak Knives, Set of Four", &["steak-knives-four"]),
    ("fountain pen", &["fountain-pen-barrow"]),
    ("knife rack", &["knife-rack-magnet"]),
    ("set of three", &["tea-towels-three", "tea-tin-trio", "packing-cubes-three", "notebook-pocket-three"]),
    ("apron", &["linen-apron", "linen-apron-child"]),
    // the beginning of a word
    ("santok", &["santoku-no-5"]),
    ("espre", &["espresso-cups-four"]),
    ("duvet cov", &["duvet-cover-washed-linen", "duvet-cover-percale"]),
    ("sketch", &["sketchbook-landscape"]),
    ("ruck", &["rucksack-fell", "rucksack-fell-small"]),
    (
        "pill",
        &["pillow-buckwheat", "pillow-down-three-chamber", "pillowcase-washed-linen", "travel-pillow-wool"],
    ),
    // one typing error
    ("knfie", &["chefs-knife-no-8", "bread-knife-wave", "paper-knife"]),
    ("skillett", &[]),
    ("tepot", &["teapot-cast"]),
    ("blankett", &["blanket-merino", "blanket-cotton-waffle"]),
    ("linnen apron", &["linen-apron", "linen-apron-child"]),
    ("secatuers", &["secateurs-bypass"]),
    ("envelops", &["envelopes-lined"]),
    ("kettel", &["kettle-swan"]),
    ("duch oven", &["dutch-oven-round", "dutch-oven-oval"]),
    ("brunholt santoku", &["santoku-no-5"]),
    // two typing errors
    ("cassrole", &["casserole-shallow"]),
    ("rucksakc fel", &["rucksack-fell", "rucksack-fell-small"]),
    ("stokcpott", &["stockpot-tall"]),
    ("notbok", &["notebook-thread-bound", "notebook-pocket-three"]),
    ("expreso cups", &["espresso-cups-four"]),
    ("watreing cna", &["watering-can-long-spout"]),
    ("pilowcsae", &["pillowcase-washed-linen"]),
    // plural and singular
    ("lamps", &["desk-lamp-arc", "floor-lamp-mast", "wall-lamp-niche"]),
    ("dutch ovens", &["dutch-oven-round", "dutch-oven-oval"]),
    ("steak knife", &["steak-knives-four"]),
    ("glove", &["gloves-goatskin", "oven-gloves-pair"]),
    ("dishes", &["butter-dish-lodge"]),
    ("napkin", &["napkins-linen-six"]),
    ("diaries", &["diary-weekly"]),
    ("bread knives", &["bread-knife-wave"]),
    // accents
    ("saute pan", &["saute-pan-steel"]),
    ("sauté pan", &["saute-pan-steel"]),
    ("SAUTÈ", &["saute-pan-steel"]),
    ("café latte mügs", &["mug-tarn"]),
    // brand and colour
    ("tannfelt moss apron", &["linen-apron"]),
    ("kestrelby olive rucksack", &["rucksack-fell", "rucksack-fell-small"]),
    ("ostrella sea mug", &["mug-tarn"]),
    ("lyskvern brass lamp", &["desk-lamp-arc", "floor-lamp-mast", "wall-lamp-niche"]),
    ("nimbrae rust", &["blanket-merino"]),
    ("cindral brick", &["dutch-oven-round", "dutch-oven-oval"]),
    // part of a SKU
    ("BRU-CHEF8-18-WAL", &["chefs-knife-no-8"]),
    ("CHEF8", &["chefs-knife-no-8"]),
    ("SANTOKU5-OLI", &["santoku-no-5"]),
    ("sun-kettle", &["kettle-swan"]),
    ("PEL-DUVET-COVER", &["duvet-cover-washed-linen", "duvet-cover-percale"]),
    ("E27", &["bulb-filament-e27"]),
];

/// Brings the sample catalogue in. Returns the position to wait for.
pub async fn sample(app: &App) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/sample/catalogue.csv");
    let rows = ProductRows::new(File::open(path).unwrap(), ImportOptions::default()).unwrap();
    let mut position = String::new();
    for product in rows {
        let request = operator(to_request(&product.unwrap()));
        position = app.client().import_product(request).await.unwrap().into_inner().position;
    }
    position
}

#[tokio::test]
async fn what_shoppers_mean_is_on_the_first_page() {
    let (_database, _inventory, app) = start().await;
    let min_position = sample(&app).await;
    let mut told = String::new();
    let mut missing = Vec::new();
    for (query, meant) in QUERIES {
        let request = wire::SearchProductsRequest {
            query: (*query).to_owned(),
            page_size: FIRST_PAGE,
            min_position: min_position.clone(),
            ..Default::default()
        };
        let reply = search(&app, request).await.unwrap();
        let place = |handle: &str| reply.products.iter().position(|product| product.handle == handle);
        let ranks: Vec<String> = meant
            .iter()
            .map(|handle| match place(handle) {
                Some(place) => format!("{handle} {}", place + 1),
                None => {
                    missing.push(format!("{query}: {handle}"));
                    format!("{handle} MISSING")
                }
            })
            .collect();
        let total = reply.total.map_or(0, |total| total.products);
        if meant.is_empty() && total > 0 {
            missing.push(format!("{query}: nothing was meant, {total} were found"));
        }
        let corrected = match reply.corrected_query.as_str() {
            "" => String::new(),
            corrected => format!(" ({corrected})"),
        };
        writeln!(told, "{query}{corrected}, {total} found: {}", ranks.join(", ")).unwrap();
    }
    eprintln!("{told}");
    assert!(QUERIES.len() >= 40);
    assert!(missing.is_empty(), "{missing:#?}\n{told}");
    app.stop().await;
}
