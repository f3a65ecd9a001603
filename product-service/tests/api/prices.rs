//! The history of prices.

use contracts::shop::product::v1 as wire;
use tonic::{Code, Request};
use uuid::Uuid;

use crate::support::{App, eur, fields, named, sized, start};

pub async fn history(app: &App, product_id: &str, sku: &str, page_size: i32) -> Vec<wire::PriceChange> {
    let mut request = wire::GetPriceHistoryRequest {
        product_id: product_id.to_owned(),
        sku: sku.to_owned(),
        page_size,
        ..Default::default()
    };
    let mut changes = Vec::new();
    loop {
        let reply = app.client().get_price_history(Request::new(request.clone())).await.unwrap().into_inner();
        assert!(reply.changes.len() <= page_size as usize);
        changes.extend(reply.changes);
        if reply.next_page_token.is_empty() {
            return changes;
        }
        request.page_token = reply.next_page_token;
    }
}

#[tokio::test]
async fn every_price_is_kept_with_its_reason_newest_first() {
    let (_database, _inventory, app) = start().await;
    let request = wire::CreateProductRequest {
        variants: vec![sized("S", "S", 1000), sized("M", "M", 1100)],
        ..named("Shirt")
    };
    let product = app.create(request).await.unwrap().product.unwrap();
    let id = product.product_id.as_str();
    app.change_price(id, "S", 900).await;
    app.change_price(id, "M", 1200).await;
    let same = app.change_price(id, "M", 1200).await.product.unwrap();
    let last = app.change_price(id, "S", 0).await.product.unwrap();
    assert_eq!(same.variants.iter().map(|v| v.price.clone()).collect::<Vec<_>>(), [eur(900), eur(1200)]);
    assert_eq!(last.variants.iter().map(|v| v.price.clone()).collect::<Vec<_>>(), [eur(0), eur(1200)]);

    let all = history(&app, id, "", 2).await;
    let short: Vec<_> = all
        .iter()
        .map(|c| (c.sku.as_str(), c.price.clone(), c.previous_price.clone(), c.reason.as_str()))
        .collect();
    assert_eq!(
        short,
        [
            ("S", eur(0), eur(900), "season"),
            ("M", eur(1200), eur(1100), "season"),
            ("S", eur(900), eur(1000), "season"),
            ("M", eur(1100), None, ""),
            ("S", eur(1000), None, ""),
        ]
    );
    assert!(all.iter().all(|change| change.changed_at.is_some()));
    let of_one: Vec<_> = history(&app, id, "M", 1).await.into_iter().map(|change| change.price).collect();
    assert_eq!(of_one, [eur(1200), eur(1100)]);
    app.stop().await;
}

#[tokio::test]
async fn a_page_token_belongs_to_its_product_and_is_not_made_up() {
    let (_database, _inventory, app) = start().await;
    let one = app.create(named("One")).await.unwrap().product.unwrap();
    let two = app.create(named("Two")).await.unwrap().product.unwrap();
    app.change_price(&one.product_id, "One", 1).await;
    let request = |product: &wire::Product, token: &str| wire::GetPriceHistoryRequest {
        product_id: product.product_id.clone(),
        page_size: 1,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let first = app.client().get_price_history(Request::new(request(&one, ""))).await.unwrap().into_inner();
    for wrong in [request(&two, &first.next_page_token), request(&one, "x")] {
        let refused = app.client().get_price_history(Request::new(wrong)).await.unwrap_err();
        assert_eq!(fields(&refused), ["page_token"]);
    }
    let unknown =
        wire::GetPriceHistoryRequest { product_id: Uuid::now_v7().to_string(), ..Default::default() };
    let unknown = app.client().get_price_history(Request::new(unknown)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    app.stop().await;
}
