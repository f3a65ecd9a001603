//! Products with the SKUs and handles that they claim.

use eventsourcing::{Halt, InMemoryStreams};
use product_service::domain::claims::HandleClaim;
use product_service::domain::limits::MAX_NUMBERED_HANDLES;
use product_service::domain::operations::{AddVariants, Changed, handle_stream};
use product_service::domain::product::ProductError;
use product_service::domain::product::ProductStatus;

use crate::support::{draft, handle, id, rejection, sizes, sku, state};

#[test]
fn a_product_is_created_together_with_its_claims() {
    let mut streams = InMemoryStreams::default();
    let (reply, events) = streams.run(&draft(1, Some("shirt"), "Shirt", &["S", "M"])).unwrap();
    assert_eq!(reply, Changed { product_id: id(1), version: 2 });
    let written: Vec<_> =
        events.iter().map(|(s, e)| (s.category(), s.key(), e.event_type.as_str())).collect();
    let product = id(1).to_string();
    assert_eq!(
        written,
        [
            ("product", product.as_str(), "ProductCreated"),
            ("product", product.as_str(), "VariantsAdded"),
            ("handle", "shirt", "HandleClaimed"),
            ("sku", "S", "SkuClaimed"),
            ("sku", "M", "SkuClaimed"),
        ]
    );
}

#[test]
fn a_sku_of_another_product_is_refused_with_its_place_and_nothing_is_written() {
    let mut streams = InMemoryStreams::default();
    streams.run(&draft(1, None, "Shirt", &["S", "M"])).unwrap();
    let refused = rejection(&mut streams, &draft(2, None, "Blouse", &["L", "M"]));
    assert_eq!(refused, ProductError::SkuTaken { index: 1, sku: sku("M"), product_id: id(1) });
    assert_eq!(state(&streams, 2).status, ProductStatus::Absent);
    streams.run(&draft(3, Some("blouse"), "Blouse", &["L"])).unwrap();
}

#[test]
fn a_given_handle_that_is_taken_is_refused() {
    let mut streams = InMemoryStreams::default();
    streams.run(&draft(1, Some("shirt"), "Shirt", &["S"])).unwrap();
    let refused = rejection(&mut streams, &draft(2, Some("shirt"), "Shirt", &["M"]));
    assert_eq!(refused, ProductError::HandleTaken { handle: handle("shirt"), product_id: id(1) });
}

#[test]
fn a_derived_handle_that_is_taken_gets_a_number_and_then_a_part_of_the_id() {
    let mut streams = InMemoryStreams::default();
    let owner = |streams: &InMemoryStreams, text: &str| {
        streams.state::<HandleClaim>(&handle_stream(&handle(text))).owner
    };
    for number in 1..=MAX_NUMBERED_HANDLES + 2 {
        streams.run(&draft(number as u128, None, "Linen Shirt", &[&number.to_string()])).unwrap();
    }
    assert_eq!(owner(&streams, "linen-shirt"), Some(id(1)));
    assert_eq!(owner(&streams, "linen-shirt-2"), Some(id(2)));
    assert_eq!(owner(&streams, "linen-shirt-20"), Some(id(20)));
    assert_eq!(owner(&streams, "linen-shirt-000000000015"), Some(id(21)));
    assert_eq!(owner(&streams, "linen-shirt-000000000016"), Some(id(22)));
}

#[test]
fn added_variants_claim_their_skus_too() {
    let mut streams = InMemoryStreams::default();
    streams.run(&draft(1, None, "Shirt", &["S"])).unwrap();
    streams.run(&draft(2, None, "Blouse", &["M"])).unwrap();
    let add = |number, skus: &[&str], expected_version| AddVariants {
        product_id: id(number),
        assortment: sizes(skus),
        expected_version,
    };
    let taken = rejection(&mut streams, &add(1, &["L", "M"], None));
    assert_eq!(taken, ProductError::SkuTaken { index: 1, sku: sku("M"), product_id: id(2) });
    let own = rejection(&mut streams, &add(1, &["S"], None));
    assert_eq!(own, ProductError::SkuTaken { index: 0, sku: sku("S"), product_id: id(1) });
    assert_eq!(rejection(&mut streams, &add(9, &["X"], None)), ProductError::UnknownProduct);
    assert!(matches!(streams.run(&add(1, &["L"], Some(1))), Err(Halt::StaleVersion { actual: 2, .. })));
    let (reply, _) = streams.run(&add(1, &["L"], Some(2))).unwrap();
    assert_eq!(reply, Changed { product_id: id(1), version: 3 });
}
