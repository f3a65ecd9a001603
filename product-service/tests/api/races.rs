//! Two replicas on one database: each has a command processor with a cache of its own, and neither may trust it.

use contracts::shop::product::v1 as wire;
use service_runtime::status::reason_of;
use tonic::Code;

use crate::support::{App, named, operator, plain, start};

/// More tries than a race that is lost again and again needs.
const TRIES: u32 = 20;

/// Creates a product; true if it was, false if its SKU or handle belongs to another.
async fn try_create(app: &App, request: wire::CreateProductRequest) -> bool {
    for _ in 0..TRIES {
        match app.create(request.clone()).await {
            Ok(_) => return true,
            Err(status) if status.code() == Code::FailedPrecondition => {
                assert!(["SKU_TAKEN", "HANDLE_TAKEN"].contains(&reason_of(&status).as_str()), "{status:?}");
                return false;
            }
            Err(status) => assert_eq!(reason_of(&status), "LOST_RACE", "{status:?}"),
        }
    }
    panic!("the race was lost {TRIES} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_want_the_same_sku_at_once_one_gets_it() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    for round in 0..20 {
        let want = |who: &str| wire::CreateProductRequest {
            variants: vec![plain(&format!("SKU-{round}"), 1000)],
            ..named(&format!("{who} {round}"))
        };
        let (one, two) = tokio::join!(try_create(&first, want("one")), try_create(&second, want("two")));
        assert!(one ^ two, "round {round}: {one} {two}");
        let handle = |sku: &str| wire::CreateProductRequest { handle: format!("h-{round}"), ..named(sku) };
        let (one, two) = tokio::join!(
            try_create(&first, handle(&format!("x{round}"))),
            try_create(&second, handle(&format!("y{round}")))
        );
        assert!(one ^ two, "round {round}: {one} {two}");
    }
    let request =
        wire::ListProductsRequest { page_size: 200, min_position: first.now().await, ..Default::default() };
    let listed = second.client().list_products(operator(request)).await.unwrap().into_inner();
    assert_eq!(listed.products.len(), 40);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_of_the_same_name_that_are_made_at_once_get_handles_of_their_own() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    let made = (0..12).map(|number| {
        let app = if number % 2 == 0 { &first } else { &second };
        let variants = vec![plain(&format!("T-{number}"), 1)];
        try_create(app, wire::CreateProductRequest { variants, ..named("Towel") })
    });
    assert!(futures::future::join_all(made).await.into_iter().all(|made| made));
    let request = wire::ListProductsRequest { min_position: first.now().await, ..Default::default() };
    let listed = first.client().list_products(operator(request)).await.unwrap().into_inner().products;
    let mut handles: Vec<_> = listed.into_iter().map(|product| product.handle).collect();
    handles.sort();
    handles.dedup();
    assert_eq!(handles.len(), 12, "{handles:?}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sku_of_a_discontinued_product_is_still_its_own_while_it_comes_back() {
    let (database, inventory, first) = start().await;
    let second = App::start(&database, &inventory).await;
    let product_id = first.create(named("Knife")).await.unwrap().product.unwrap().product_id;
    let end = wire::DiscontinueProductRequest { product_id: product_id.clone(), ..Default::default() };
    let back = wire::ReinstateProductRequest { product_id: product_id.clone(), ..Default::default() };
    for round in 0..10 {
        let reinstated = async {
            first.client().discontinue_product(operator(end.clone())).await.unwrap();
            first.client().reinstate_product(operator(back.clone())).await.unwrap();
        };
        let other =
            wire::CreateProductRequest { variants: vec![plain("Knife", 1)], ..named(&format!("{round}")) };
        let ((), taken) = tokio::join!(reinstated, try_create(&second, other));
        assert!(!taken, "round {round}");
    }
    let seen = second.get(&product_id, &first.now().await).await.unwrap();
    assert_eq!(seen.status(), wire::ProductStatus::Active);
    first.stop().await;
    second.stop().await;
}
