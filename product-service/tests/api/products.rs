//! Creating, reading and changing products.

use contracts::shop::product::v1 as wire;
use service_runtime::replay::IDEMPOTENCY_REPLAYED;
use service_runtime::status::reason_of;
use tonic::{Code, Request};

use crate::support::{eur, fields, named, operator, plain, rule, service, sized, start};

fn shirt() -> wire::CreateProductRequest {
    wire::CreateProductRequest {
        handle: "linen-shirt".to_owned(),
        name: "Linen Shirt".to_owned(),
        description: "<p>Washed.</p>".to_owned(),
        brand: "Tannenhof".to_owned(),
        category_path: vec!["Wear".to_owned(), "Shirts".to_owned()],
        supplier: "Hollin & Reed".to_owned(),
        attributes: [("care".to_owned(), "cold".to_owned())].into(),
        tags: vec!["linen".to_owned()],
        images: vec![wire::Image {
            url: "https://images.example/shirt.jpg".to_owned(),
            alt_text: "A shirt".to_owned(),
        }],
        variants: vec![
            wire::Variant { barcode: "2000000041018".to_owned(), ..sized("SHIRT-S", "S", 4900) },
            sized("SHIRT-M", "M", 0),
        ],
        ..Default::default()
    }
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

#[tokio::test]
async fn a_product_is_created_whole_and_anybody_reads_it_as_it_was_answered() {
    let (_database, _inventory, app) = start().await;
    let reply = app.create(shirt()).await.unwrap();
    let written = reply.product.unwrap();
    let asked = shirt();
    assert_eq!(
        (&written.handle, &written.name, &written.description, &written.brand, &written.supplier),
        (&asked.handle, &asked.name, &asked.description, &asked.brand, &asked.supplier)
    );
    assert_eq!((&written.category_path, &written.attributes), (&asked.category_path, &asked.attributes));
    assert_eq!((&written.tags, &written.images), (&asked.tags, &asked.images));
    assert_eq!(written.variants, asked.variants);
    assert_eq!(written.status(), wire::ProductStatus::Active);
    assert!(written.created_at.is_some() && !written.etag.is_empty());
    assert_eq!(app.get(&written.product_id, &reply.position).await.unwrap(), written);
    assert_eq!(app.get(&written.product_id, "").await.unwrap(), written, "from the cache");
    app.stop().await;
}

#[tokio::test]
async fn a_repeated_creation_makes_one_product() {
    let (_database, _inventory, app) = start().await;
    let request = || wire::CreateProductRequest { request_id: "spring-1".to_owned(), ..shirt() };
    let first = app.client().create_product(operator(request())).await.unwrap();
    let head = app.head().await;
    let again = app.client().create_product(operator(request())).await.unwrap();
    assert_eq!(again.get_ref(), first.get_ref());
    assert!(first.metadata().get(IDEMPOTENCY_REPLAYED).is_none());
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    assert_eq!(app.head().await, head);
    let other = app.create(wire::CreateProductRequest { name: "Other".to_owned(), ..request() }).await;
    assert_eq!(reason_of(&other.unwrap_err()), "REQUEST_ID_REUSED");
    app.stop().await;
}

#[tokio::test]
async fn handles_and_skus_are_unique_in_the_shop() {
    let (_database, _inventory, app) = start().await;
    let first = app.create(shirt()).await.unwrap().product.unwrap();
    let same_handle = wire::CreateProductRequest { handle: "linen-shirt".to_owned(), ..named("Linen Shirt") };
    let refused = app.create(same_handle).await.unwrap_err();
    assert_eq!(rule(&refused, "productId"), ("HANDLE_TAKEN".to_owned(), first.product_id.clone()));
    let same_sku = wire::CreateProductRequest {
        variants: vec![sized("X", "X", 1), sized("SHIRT-M", "M", 1)],
        ..named("Blouse")
    };
    let refused = app.create(same_sku).await.unwrap_err();
    assert_eq!(rule(&refused, "field"), ("SKU_TAKEN".to_owned(), "variants[1].sku".to_owned()));
    let derived = app.create(named("Linen Shirt")).await.unwrap().product.unwrap();
    assert_eq!(derived.handle, "linen-shirt-2");
    app.stop().await;
}

#[tokio::test]
async fn malformed_requests_name_every_wrong_field() {
    let (_database, _inventory, app) = start().await;
    let wrong = wire::CreateProductRequest {
        handle: "Linen Shirt".to_owned(),
        name: " ".to_owned(),
        category_path: vec!["a > b".to_owned()],
        tags: vec!["\0".to_owned()],
        images: vec![wire::Image { url: "javascript:alert(1)".to_owned(), ..Default::default() }],
        status: wire::ProductStatus::Discontinued.into(),
        variants: vec![
            wire::Variant { price: None, ..plain("A", 1) },
            plain("x".repeat(101).as_str(), -1),
            wire::Variant { price: Some(Default::default()), ..plain("", 1) },
        ],
        ..Default::default()
    };
    assert_eq!(
        fields(&app.create(wrong).await.unwrap_err()),
        [
            "handle",
            "status",
            "name",
            "category_path[0]",
            "tags[0]",
            "images[0].url",
            "variants[0].price",
            "variants[1].sku",
            "variants[1].price.minor_units",
            "variants[2].sku",
            "variants[2].price.currency_code",
        ]
    );
    let twice =
        wire::CreateProductRequest { variants: vec![sized("A", "S", 1), sized("A", "M", 1)], ..named("B") };
    assert_eq!(fields(&app.create(twice).await.unwrap_err()), ["variants[1].sku"]);
    assert_eq!(
        fields(&app.create(wire::CreateProductRequest { variants: vec![], ..named("B") }).await.unwrap_err()),
        ["variants"]
    );
    assert_eq!(fields(&app.get("knife", "").await.unwrap_err()), ["product_id"]);
    let unmasked = wire::UpdateProductRequest { product_id: "1".to_owned(), ..Default::default() };
    let refused = app.client().update_product(operator(unmasked)).await.unwrap_err();
    assert_eq!(fields(&refused), ["product_id", "update_mask"]);
    let repriced = wire::ChangePriceRequest { reason: "\n".to_owned(), ..Default::default() };
    let refused = app.client().change_price(operator(repriced)).await.unwrap_err();
    assert_eq!(fields(&refused), ["product_id", "sku", "price", "reason"]);
    let product_id = uuid::Uuid::now_v7().to_string();
    let reason = "card 4242-4242-4242-4242".to_owned();
    let ended = wire::DiscontinueProductRequest { product_id, reason, ..Default::default() };
    let refused = app.client().discontinue_product(operator(ended)).await.unwrap_err();
    assert_eq!(fields(&refused), ["reason"]);
    assert!(!format!("{refused:?}").contains("4242"), "what was refused is not repeated");
    app.stop().await;
}

#[tokio::test]
async fn an_update_changes_the_fields_of_its_mask_and_needs_the_current_etag_if_it_brings_one() {
    let (_database, _inventory, app) = start().await;
    let created = app.create(shirt()).await.unwrap().product.unwrap();
    let update = |etag: &str, paths: &[&str]| wire::UpdateProductRequest {
        product_id: created.product_id.clone(),
        update_mask: mask(paths),
        etag: etag.to_owned(),
        name: "Linen Blouse".to_owned(),
        tags: vec!["sale".to_owned()],
        ..Default::default()
    };
    let request = update(&created.etag, &["name", "tags"]);
    let reply = app.client().update_product(operator(request.clone())).await.unwrap().into_inner();
    let updated = reply.product.unwrap();
    let expected = wire::Product {
        name: "Linen Blouse".to_owned(),
        tags: vec!["sale".to_owned()],
        etag: updated.etag.clone(),
        updated_at: updated.updated_at,
        ..created.clone()
    };
    assert_eq!(updated, expected);
    assert_ne!(updated.etag, created.etag);
    let stale = app.client().update_product(operator(request)).await.unwrap_err();
    assert_eq!((stale.code(), reason_of(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let cleared =
        update(&updated.etag, &["description", "category_path", "images", "attributes", "supplier"]);
    let cleared = app.client().update_product(operator(cleared)).await.unwrap().into_inner().product.unwrap();
    assert_eq!((cleared.description.as_str(), cleared.supplier.as_str()), ("", ""));
    assert!(cleared.category_path.is_empty() && cleared.images.is_empty() && cleared.attributes.is_empty());
    assert_eq!(cleared.brand, "Tannenhof");
    let head = app.head().await;
    let same = update(&cleared.etag, &["name", "tags"]);
    let same = app.client().update_product(operator(same)).await.unwrap().into_inner().product.unwrap();
    assert_eq!((same, app.head().await), (cleared, head), "what changes nothing leaves no event");
    app.stop().await;
}

#[tokio::test]
async fn a_draft_is_there_for_operators_and_services_alone_until_it_is_published() {
    let (_database, _inventory, app) = start().await;
    let draft = wire::CreateProductRequest { status: wire::ProductStatus::Draft.into(), ..shirt() };
    let draft = app.create(draft).await.unwrap().product.unwrap();
    let product_id = draft.product_id.clone();
    assert_eq!(app.get(&product_id, "").await.unwrap_err().code(), Code::NotFound);
    let prices = wire::GetPriceHistoryRequest { product_id: product_id.clone(), ..Default::default() };
    let prices = app.client().get_price_history(Request::new(prices)).await.unwrap_err();
    assert_eq!(prices.code(), Code::NotFound);
    let list =
        || wire::ListProductsRequest { status: wire::ProductStatus::Draft.into(), ..Default::default() };
    let listed = app.client().list_products(Request::new(list())).await.unwrap_err();
    assert_eq!(listed.code(), Code::PermissionDenied);
    let read = || wire::GetProductRequest { product_id: product_id.clone(), ..Default::default() };
    for request in [operator(read()), service(read())] {
        let seen = app.client().get_product(request).await.unwrap().into_inner().product.unwrap();
        assert_eq!(seen.status(), wire::ProductStatus::Draft);
    }
    let listed = app.client().list_products(operator(list())).await.unwrap().into_inner();
    assert_eq!(listed.products.len(), 1);
    let publish = wire::UpdateProductRequest {
        product_id: product_id.clone(),
        update_mask: mask(&["status"]),
        status: wire::ProductStatus::Active.into(),
        ..Default::default()
    };
    let position =
        app.client().update_product(operator(publish.clone())).await.unwrap().into_inner().position;
    assert_eq!(app.get(&product_id, &position).await.unwrap().status(), wire::ProductStatus::Active);
    let back = wire::UpdateProductRequest { status: wire::ProductStatus::Draft.into(), ..publish };
    let refused = app.client().update_product(operator(back)).await.unwrap_err();
    assert_eq!(rule(&refused, "").0, "PRODUCT_PUBLISHED");
    app.stop().await;
}

#[tokio::test]
async fn variants_are_added_in_the_manner_of_those_that_are_there() {
    let (_database, _inventory, app) = start().await;
    let created = app.create(shirt()).await.unwrap().product.unwrap();
    let add = |variants: Vec<wire::Variant>| {
        operator(wire::AddVariantsRequest {
            product_id: created.product_id.clone(),
            variants,
            ..Default::default()
        })
    };
    let added = app.client().add_variants(add(vec![sized("SHIRT-L", "L", 5100)])).await.unwrap();
    let variants = added.into_inner().product.unwrap().variants;
    assert_eq!(
        variants.iter().map(|v| v.sku.as_str()).collect::<Vec<_>>(),
        ["SHIRT-S", "SHIRT-M", "SHIRT-L"]
    );
    for (variant, reason, fact, value) in [
        (plain("P", 1), "OPTIONS_DIFFER", "options", "Size"),
        (sized("Q", "M", 1), "OPTION_VALUES_TAKEN", "sku", "SHIRT-M"),
        (sized("SHIRT-S", "XL", 1), "SKU_TAKEN", "productId", created.product_id.as_str()),
        (
            wire::Variant {
                price: Some(contracts::shop::r#type::v1::Money {
                    currency_code: "USD".to_owned(),
                    ..eur(1).unwrap()
                }),
                ..sized("R", "XL", 1)
            },
            "CURRENCY_DIFFERS",
            "currencyCode",
            "EUR",
        ),
    ] {
        let refused = app.client().add_variants(add(vec![variant])).await.unwrap_err();
        assert_eq!(rule(&refused, fact), (reason.to_owned(), value.to_owned()));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_discontinued_product_stays_readable_and_changes_no_more() {
    let (_database, _inventory, app) = start().await;
    let created = app.create(shirt()).await.unwrap().product.unwrap();
    let end = || {
        operator(wire::DiscontinueProductRequest {
            product_id: created.product_id.clone(),
            reason: "sold out".to_owned(),
            ..Default::default()
        })
    };
    let ended = app.client().discontinue_product(end()).await.unwrap().into_inner();
    assert_eq!(ended.product.unwrap().status(), wire::ProductStatus::Discontinued);
    let read = app.get(&created.product_id, &ended.position).await.unwrap();
    assert_eq!(read.status(), wire::ProductStatus::Discontinued);
    let head = app.head().await;
    app.client().discontinue_product(end()).await.unwrap();
    assert_eq!(app.head().await, head, "ended once");
    let update = wire::UpdateProductRequest {
        product_id: created.product_id.clone(),
        update_mask: mask(&["name"]),
        name: "Other".to_owned(),
        ..Default::default()
    };
    let refused = app.client().update_product(operator(update)).await.unwrap_err();
    assert_eq!(rule(&refused, "").0, "PRODUCT_DISCONTINUED");
    app.stop().await;
}

#[tokio::test]
async fn what_is_unknown_is_not_found() {
    let (_database, _inventory, app) = start().await;
    let nobody = uuid::Uuid::now_v7().to_string();
    assert_eq!(app.get(&nobody, "").await.unwrap_err().code(), Code::NotFound);
    let update = wire::UpdateProductRequest {
        product_id: nobody.clone(),
        update_mask: mask(&["brand"]),
        ..Default::default()
    };
    let refused = app.client().update_product(operator(update)).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::NotFound, "PRODUCT_NOT_FOUND"));
    let created = app.create(shirt()).await.unwrap().product.unwrap();
    let price = wire::ChangePriceRequest {
        product_id: created.product_id,
        sku: "SHIRT-XXL".to_owned(),
        price: eur(1),
        ..Default::default()
    };
    let refused = app.client().change_price(operator(price)).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::NotFound, "VARIANT_NOT_FOUND"));
    app.stop().await;
}

#[tokio::test]
async fn only_operators_change_the_catalogue() {
    let (_database, _inventory, app) = start().await;
    let anonymous = app.client().create_product(Request::new(shirt())).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let other = app.client().create_product(service(shirt())).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied);
    let import = wire::ImportProductRequest::default();
    let other = app.client().import_product(service(import)).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied);
    app.stop().await;
}

#[tokio::test]
async fn the_largest_product_can_be_created_and_read() {
    let (_database, _inventory, app) = start().await;
    let count = product_service::domain::limits::MAX_VARIANTS;
    let variants = (0..count).map(|n| sized(&format!("LARGE-{n:04}"), &n.to_string(), n as i64)).collect();
    let request = wire::CreateProductRequest { variants, ..named("Large") };
    let reply = app.create(request.clone()).await.unwrap();
    let product = reply.product.unwrap();
    assert_eq!(product.variants, request.variants);
    let listed =
        app.client().list_products(Request::new(wire::ListProductsRequest::default())).await.unwrap();
    assert_eq!(listed.into_inner().products, [product]);
    app.stop().await;
}
