//! What an import does with a product that is there already.

use chrono::{DateTime, TimeDelta};
use eventsourcing::Decide;
use eventsourcing::InMemoryStreams;
use product_service::domain::details::{DetailChange, Field};
use product_service::domain::operations::{
    FileStatus, ImportNote, ImportOutcome, ImportProduct, ImportReport, SchedulePrice, product_stream,
};
use product_service::domain::product::{
    Product, ProductCommand, ProductError, ProductStatus, ScheduledPrice,
};
use product_service::domain::{Assortment, NewVariant};

use crate::support::{draft, eur, handle, id, priced, rejection, sizes, sku, state};

fn file(status: FileStatus, name: &str, assortment: Assortment) -> ImportProduct {
    ImportProduct {
        new_product_id: id(1),
        handle: handle("shirt"),
        details: vec![DetailChange::Name(name.into()), DetailChange::Tags(vec!["linen".into()])],
        assortment,
        status,
        now: DateTime::UNIX_EPOCH,
    }
}

/// What happened, in short: the report and the types of the product's events.
fn run(streams: &mut InMemoryStreams, import: &ImportProduct) -> (ImportReport, Vec<String>) {
    let (report, events) = streams.run(import).unwrap();
    let events = events.into_iter().filter(|(stream, _)| stream.category() == "product");
    (report, events.map(|(_, event)| event.event_type).collect())
}

fn unchanged(streams: &mut InMemoryStreams, import: &ImportProduct) -> Vec<ImportNote> {
    let before = state(streams, 1);
    let (report, events) = run(streams, import);
    assert_eq!((report.outcome, events.len()), (ImportOutcome::Unchanged, 0));
    assert_eq!(state(streams, 1), before);
    report.notes
}

#[test]
fn a_product_that_is_not_there_is_created_and_importing_it_again_changes_nothing() {
    for (status, becomes) in [
        (FileStatus::Draft, ProductStatus::Draft),
        (FileStatus::Active, ProductStatus::Active),
        (FileStatus::Discontinued, ProductStatus::Discontinued),
    ] {
        let mut streams = InMemoryStreams::default();
        let import = file(status, "Shirt", sizes(&["S", "M"]));
        let (report, _) = run(&mut streams, &import);
        assert_eq!((report.outcome, report.variants_added), (ImportOutcome::Created, 2));
        assert_eq!(state(&streams, 1).status, becomes);
        assert_eq!(unchanged(&mut streams, &import), []);
    }
}

#[test]
fn everything_that_differs_is_changed_at_once() {
    let mut streams = InMemoryStreams::default();
    run(&mut streams, &file(FileStatus::Draft, "Shirt", sizes(&["S", "M"])));
    let import = file(FileStatus::Active, "Blouse", priced(&[("S", 900), ("L", 1100)]));
    let (report, events) = run(&mut streams, &import);
    assert_eq!(events, ["ProductRenamed", "PriceChanged", "VariantsAdded", "ProductPublished"]);
    assert_eq!(report.outcome, ImportOutcome::Updated);
    assert_eq!(report.changed, [Field::Name]);
    assert_eq!((report.prices_changed, report.variants_added, report.status_changed), (1, 1, true));
    assert_eq!(state(&streams, 1).variants.len(), 3, "what the file does not have stays");
    assert_eq!(unchanged(&mut streams, &import), []);
}

#[test]
fn an_archived_product_is_discontinued_and_never_brought_back() {
    let mut streams = InMemoryStreams::default();
    run(&mut streams, &file(FileStatus::Active, "Shirt", sizes(&["S"])));
    let archived = file(FileStatus::Discontinued, "Shirt", sizes(&["S"]));
    let (report, events) = run(&mut streams, &archived);
    assert!(report.status_changed);
    assert_eq!(events, ["ProductDiscontinued"]);
    assert_eq!(unchanged(&mut streams, &archived), []);
    let again = file(FileStatus::Active, "Blouse", priced(&[("S", 1), ("M", 1)]));
    assert_eq!(unchanged(&mut streams, &again), [ImportNote::StaysDiscontinued]);
}

#[test]
fn a_file_that_calls_it_a_draft_takes_nothing_off_sale() {
    let mut streams = InMemoryStreams::default();
    run(&mut streams, &file(FileStatus::Active, "Shirt", sizes(&["S"])));
    let notes = unchanged(&mut streams, &file(FileStatus::Draft, "Shirt", sizes(&["S"])));
    assert_eq!(notes, [ImportNote::StaysOnSale]);
}

#[test]
fn details_that_no_file_has_stay_and_what_people_changed_is_set_again() {
    let mut streams = InMemoryStreams::default();
    let import = file(FileStatus::Active, "Shirt", sizes(&["S"]));
    run(&mut streams, &import);
    let attributes = DetailChange::Attributes([("care".to_owned(), "cold".to_owned())].into());
    let by_hand = Decide::<Product> {
        stream: product_stream(id(1)),
        command: ProductCommand::Update {
            changes: vec![DetailChange::Name("Blouse".into()), attributes.clone()],
            status: None,
        },
        expected_version: None,
    };
    streams.run(&by_hand).unwrap();
    let (report, events) = run(&mut streams, &import);
    assert_eq!(report.changed, [Field::Name]);
    assert_eq!(events, ["ProductRenamed"]);
    assert!(!state(&streams, 1).differs(&attributes));
}

#[test]
fn other_option_values_of_a_known_variant_are_told_and_left() {
    let mut streams = InMemoryStreams::default();
    run(&mut streams, &file(FileStatus::Active, "Shirt", sizes(&["S", "M"])));
    let renamed = NewVariant {
        sku: sku("S"),
        options: vec![("Size".into(), "small".into())],
        price: eur(1000),
        barcode: String::new(),
    };
    let import = file(FileStatus::Active, "Shirt", Assortment::check(vec![renamed]).unwrap());
    assert_eq!(unchanged(&mut streams, &import), [ImportNote::VariantsDiffer(1)]);
}

#[test]
fn a_sku_of_another_product_refuses_the_import_as_a_whole() {
    let mut streams = InMemoryStreams::default();
    run(&mut streams, &file(FileStatus::Active, "Shirt", sizes(&["S"])));
    streams.run(&draft(2, None, "Blouse", &["M"])).unwrap();
    let before = state(&streams, 1);
    let refused = rejection(&mut streams, &file(FileStatus::Active, "Jacket", priced(&[("S", 1), ("M", 1)])));
    assert_eq!(refused, ProductError::SkuTaken { index: 1, sku: sku("M"), product_id: id(2) });
    assert_eq!(state(&streams, 1), before);
}

#[test]
fn a_refused_variant_is_named_by_its_place_among_all_variants_of_the_file() {
    let mut streams = InMemoryStreams::default();
    run(&mut streams, &file(FileStatus::Active, "Shirt", sizes(&["S", "M"])));
    streams.run(&draft(2, None, "Blouse", &["XL"])).unwrap();
    let import = |skus| file(FileStatus::Active, "Shirt", sizes(skus));
    let taken = ProductError::SkuTaken { index: 3, sku: sku("XL"), product_id: id(2) };
    assert_eq!(rejection(&mut streams, &import(&["S", "L", "M", "XL"])), taken);

    let sized = |text: &str, size: &str| NewVariant {
        sku: sku(text),
        options: vec![("Size".into(), size.into())],
        price: eur(1000),
        barcode: String::new(),
    };
    let variants = vec![sized("S", "small"), sized("N", "new"), sized("X", "M")];
    let import = file(FileStatus::Active, "Shirt", Assortment::check(variants).unwrap());
    let taken = ProductError::OptionValuesTaken { index: 2, sku: sku("M") };
    assert_eq!(rejection(&mut streams, &import), taken);
}

#[test]
fn what_was_due_before_an_import_comes_before_its_prices() {
    let mut streams = InMemoryStreams::default();
    let import =
        |price, now| ImportProduct { now, ..file(FileStatus::Active, "Shirt", priced(&[("S", price)])) };
    run(&mut streams, &import(1000, DateTime::UNIX_EPOCH));
    let due = DateTime::UNIX_EPOCH + TimeDelta::minutes(10);
    let schedule = SchedulePrice {
        product_id: id(1),
        schedule_id: uuid::Uuid::from_u128(1).into(),
        scheduled: ScheduledPrice {
            sku: sku("S"),
            price: eur(900),
            effective_at: due,
            reason: String::new(),
        },
        now: DateTime::UNIX_EPOCH,
        expected_version: None,
    };
    streams.run(&schedule).unwrap();
    let (_, events) = run(&mut streams, &import(800, due));
    assert_eq!(events, ["ScheduledPriceTookEffect", "PriceChanged", "PriceChanged"]);
    assert_eq!(state(&streams, 1).variants[0].price, eur(800));
}
