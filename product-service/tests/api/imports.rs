//! Importing files, product by product.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contracts::shop::product::v1 as wire;
use contracts::shop::product::v1::ImportOutcome;
use contracts::shop::product::v1::import_products_response::Result as Answer;
use futures::{StreamExt, TryStreamExt};
use product_service::import::{ImportOptions, ProductRows, to_request};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{App, eur, fields, named, operator, plain, rule, sized, start};

const SAMPLE_PRODUCTS: usize = 129;
/// Products imported one by one beside a stream that nobody reads.
const MEANWHILE: usize = 50;
/// Products that may be taken of a stream of which ten answers are read: those under way or answered, and what fits into
/// the buffers between.
const MOST_TAKEN: usize = 2_000;

fn sample() -> Vec<wire::ImportProductRequest> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/sample/catalogue.csv");
    let rows = ProductRows::new(File::open(path).unwrap(), ImportOptions::default()).unwrap();
    rows.map(|product| to_request(&product.unwrap())).collect()
}

async fn import(
    app: &App,
    request: wire::ImportProductRequest,
) -> Result<wire::ImportProductResponse, Status> {
    Ok(app.client().import_product(operator(request)).await?.into_inner())
}

/// Imports all; every one must end so.
async fn import_all(
    app: &App,
    requests: &[wire::ImportProductRequest],
    validate_only: bool,
    outcome: ImportOutcome,
) {
    for request in requests {
        let request = wire::ImportProductRequest { validate_only, ..request.clone() };
        let reply = import(app, request.clone()).await.unwrap();
        assert_eq!(reply.outcome(), outcome, "{}: {reply:?}", request.handle);
        assert_eq!(reply.position.is_empty(), validate_only);
        assert_eq!(reply.product_id.is_empty(), validate_only && outcome == ImportOutcome::Created);
        assert_eq!(reply.notes, Vec::<String>::new(), "{}", request.handle);
    }
}

#[tokio::test]
async fn the_sample_catalogue_is_imported_whole_and_the_second_time_writes_no_event() {
    let (database, _inventory, app) = start().await;
    let requests = sample();
    assert_eq!(requests.len(), SAMPLE_PRODUCTS);
    let before = app.head().await;
    import_all(&app, &requests, true, ImportOutcome::Created).await;
    assert_eq!(app.head().await, before, "a dry run writes nothing");
    let results: i64 = answers(&database).await;
    assert_eq!(results, 0, "not even an answer");

    import_all(&app, &requests, false, ImportOutcome::Created).await;
    let head = app.head().await;
    let list =
        wire::ListProductsRequest { page_size: 200, min_position: app.now().await, ..Default::default() };
    let listed = app.client().list_products(operator(list)).await.unwrap().into_inner().products;
    let active = |r: &&wire::ImportProductRequest| r.status() == wire::ProductStatus::Active;
    assert_eq!(listed.len(), requests.iter().filter(active).count());
    for request in requests.iter().filter(active) {
        let product = listed.iter().find(|product| product.handle == request.handle).unwrap();
        assert_eq!((&product.name, &product.description), (&request.name, &request.description));
        assert_eq!((&product.category_path, &product.tags), (&request.category_path, &request.tags));
        assert_eq!((&product.images, &product.variants), (&request.images, &request.variants));
    }

    import_all(&app, &requests, false, ImportOutcome::Unchanged).await;
    import_all(&app, &requests, true, ImportOutcome::Unchanged).await;
    assert_eq!(app.head().await, head, "the second import writes no event");
    app.stop().await;
}

async fn answers(database: &testkit::TestDatabase) -> i64 {
    let pool = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
    let count =
        sqlx::query_scalar("SELECT count(*) FROM eventlog.command_results").fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}

fn shirt(variants: Vec<wire::Variant>) -> wire::ImportProductRequest {
    let (handle, name) = ("shirt".to_owned(), "Shirt".to_owned());
    wire::ImportProductRequest { handle, name, variants, ..Default::default() }
}

#[tokio::test]
async fn a_changed_file_changes_what_differs_and_a_dry_run_says_the_same_before() {
    let (_database, _inventory, app) = start().await;
    import(&app, shirt(vec![sized("S", "S", 1000), sized("M", "M", 1000)])).await.unwrap();
    let changed = wire::ImportProductRequest {
        name: "Linen Shirt".to_owned(),
        brand: "Tan".to_owned(),
        ..shirt(vec![sized("S", "S", 900), sized("L", "L", 1000)])
    };
    let preview =
        import(&app, wire::ImportProductRequest { validate_only: true, ..changed.clone() }).await.unwrap();
    let head = app.head().await;
    let done = import(&app, changed.clone()).await.unwrap();
    assert_eq!(app.head().await, head + 5, "two details, a price, a variant and its claim");
    assert_eq!(done.outcome(), ImportOutcome::Updated);
    assert_eq!(done.changed_fields, ["name", "brand"]);
    assert_eq!((done.prices_changed, done.variants_added), (1, 1));
    assert_eq!(wire::ImportProductResponse { position: String::new(), ..done.clone() }, preview);
    let product = app.get(&done.product_id, &done.position).await.unwrap();
    let prices: Vec<_> = product.variants.into_iter().map(|variant| (variant.sku, variant.price)).collect();
    assert_eq!(
        prices,
        [("S".to_owned(), eur(900)), ("M".to_owned(), eur(1000)), ("L".to_owned(), eur(1000))]
    );
    assert_eq!(import(&app, changed).await.unwrap().outcome(), ImportOutcome::Unchanged);
    let request = wire::GetPriceHistoryRequest { product_id: done.product_id, ..Default::default() };
    let history = app.client().get_price_history(operator(request)).await.unwrap().into_inner().changes;
    assert!(history.iter().any(|change| change.sku == "S" && change.reason == "import"));
    app.stop().await;
}

#[tokio::test]
async fn an_import_that_is_sent_again_gets_the_first_answer() {
    let (_database, _inventory, app) = start().await;
    let request =
        wire::ImportProductRequest { request_id: "run-1 shirt".to_owned(), ..shirt(vec![plain("S", 1)]) };
    let first = import(&app, request.clone()).await.unwrap();
    assert_eq!(import(&app, request).await.unwrap(), first);
    app.stop().await;
}

#[tokio::test]
async fn a_product_that_breaks_a_rule_is_refused_the_same_way_in_a_dry_run() {
    let (_database, _inventory, app) = start().await;
    let other = app.create(named("S")).await.unwrap();
    for validate_only in [true, false] {
        let taken = wire::ImportProductRequest { validate_only, ..shirt(vec![plain("S", 1)]) };
        let refused = import(&app, taken).await.unwrap_err();
        let id = other.product.as_ref().unwrap().product_id.clone();
        assert_eq!(rule(&refused, "productId"), ("SKU_TAKEN".to_owned(), id));
        let malformed = wire::ImportProductRequest { validate_only, handle: String::new(), ..shirt(vec![]) };
        assert_eq!(fields(&import(&app, malformed).await.unwrap_err()), ["handle", "variants"]);
    }
    app.stop().await;
}

/// All answers to a stream of products, in their order.
async fn stream(
    app: &App,
    requests: Vec<wire::ImportProductRequest>,
) -> Vec<Result<wire::ImportProductResponse, (Code, String)>> {
    let answers = app.client().import_products(operator(futures::stream::iter(requests))).await.unwrap();
    let answers: Vec<_> = answers.into_inner().try_collect().await.unwrap();
    let result = |answer: wire::ImportProductsResponse| match answer.result.unwrap() {
        Answer::Imported(imported) => Ok(imported),
        Answer::Refused(refused) => {
            let status = Status::with_details(
                Code::from(refused.code),
                refused.message.clone(),
                refused.encode_to_vec().into(),
            );
            let reason = status.get_details_error_info().expect("it says why").reason;
            Err((status.code(), reason))
        }
    };
    answers.into_iter().map(result).collect()
}

#[tokio::test]
async fn a_stream_of_products_is_answered_in_its_order_and_a_refused_one_keeps_no_other() {
    let (_database, _inventory, app) = start().await;
    let mut requests = sample();
    let handles: Vec<String> = requests.iter().map(|request| request.handle.clone()).collect();
    let first = requests[0].clone();
    requests.insert(1, wire::ImportProductRequest { handle: "Not a handle".to_owned(), ..first.clone() });
    requests.push(wire::ImportProductRequest { handle: "another".to_owned(), ..first });
    for (validate_only, outcome) in
        [(true, ImportOutcome::Created), (false, ImportOutcome::Created), (false, ImportOutcome::Unchanged)]
    {
        let head = app.head().await;
        let requests =
            requests.iter().map(|r| wire::ImportProductRequest { validate_only, ..r.clone() }).collect();
        let mut answers = stream(&app, requests).await;
        let taken = answers.pop().unwrap();
        let malformed = answers.remove(1).unwrap_err();
        assert_eq!(malformed, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
        // Nobody has the SKU yet when nothing is written.
        assert_eq!(taken.is_ok(), validate_only, "{taken:?}");
        assert_eq!(answers.len(), handles.len());
        for (answer, handle) in answers.into_iter().zip(&handles) {
            assert_eq!(answer.unwrap().outcome(), outcome, "{handle}");
        }
        let wrote = !validate_only && outcome == ImportOutcome::Created;
        assert_eq!(app.head().await > head, wrote);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_product_that_is_sent_again_on_another_stream_gets_the_first_answer() {
    let (_database, _inventory, app) = start().await;
    let one = wire::ImportProductRequest { request_id: "run 2".to_owned(), ..shirt(vec![plain("S", 1)]) };
    let first = stream(&app, vec![one.clone()]).await;
    let head = app.head().await;
    assert_eq!(stream(&app, vec![one.clone(), one.clone()]).await, [first.clone(), first].concat());
    assert_eq!(app.head().await, head);
    let other = wire::ImportProductRequest { name: "Blouse".to_owned(), ..one };
    let reused = (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned());
    assert_eq!(stream(&app, vec![other]).await, [Err(reused)]);
    app.stop().await;
}

#[tokio::test]
async fn who_does_not_read_the_answers_is_not_read_from() {
    let (_database, _inventory, app) = start().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let endless = futures::stream::iter(0..).map({
        let taken = Arc::clone(&taken);
        move |n: usize| {
            taken.fetch_add(1, Ordering::Relaxed);
            let handle = format!("shirt-{n}");
            wire::ImportProductRequest { handle, ..shirt(vec![plain(&format!("S-{n}"), 1)]) }
        }
    });
    let mut answers = app.client().import_products(operator(endless)).await.unwrap().into_inner();
    for _ in 0..10 {
        assert!(answers.message().await.unwrap().is_some());
    }
    // Time enough to take many more.
    for n in 0..MEANWHILE {
        let other = shirt(vec![plain(&format!("OTHER-{n}"), 1)]);
        import(&app, wire::ImportProductRequest { handle: format!("other-{n}"), ..other }).await.unwrap();
    }
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < MOST_TAKEN, "{taken} products are taken, and nobody reads the answers");
    drop(answers);
    app.stop().await;
}
