//! Whatever commands come in whatever order: a SKU and a handle belong to one product at most, the claims say whose
//! they are, and a refused command leaves nothing behind.

use std::collections::HashMap;

use chrono::DateTime;
use eventsourcing::{Halt, InMemoryStreams};
use product_service::domain::claims::{HandleClaim, SkuClaim};
use product_service::domain::details::DetailChange;
use product_service::domain::operations::{
    AddVariants, FileStatus, ImportProduct, handle_stream, sku_stream,
};
use product_service::domain::product::ProductStatus;
use proptest::prelude::*;

use crate::support::{draft, handle, id, sizes, state};

const PRODUCTS: u128 = 5;
const SKUS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const HANDLES: [&str; 3] = ["shirt", "shirt-2", "blouse"];

#[derive(Clone, Debug)]
enum Step {
    Create { product: u128, handle: Option<usize>, skus: Vec<usize> },
    Add { product: u128, skus: Vec<usize> },
    Import { product: u128, handle: usize, skus: Vec<usize> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let skus = || prop::sample::subsequence((0..SKUS.len()).collect::<Vec<_>>(), 1..4).prop_shuffle();
    let product = || 1..=PRODUCTS;
    let handle = || 0..HANDLES.len();
    let step =
        prop_oneof![
            (product(), prop::option::of(handle()), skus())
                .prop_map(|(product, handle, skus)| Step::Create { product, handle, skus }),
            (product(), skus()).prop_map(|(product, skus)| Step::Add { product, skus }),
            (product(), handle(), skus()).prop_map(|(product, handle, skus)| Step::Import {
                product,
                handle,
                skus
            }),
        ];
    prop::collection::vec(step, 1..30)
}

fn names(skus: &[usize]) -> Vec<&'static str> {
    skus.iter().map(|at| SKUS[*at]).collect()
}

/// Whether it was carried out.
fn run(streams: &mut InMemoryStreams, step: &Step) -> bool {
    fn done<T, R: std::fmt::Debug>(result: Result<T, Halt<R>>) -> bool {
        match result {
            Ok(_) => true,
            Err(Halt::Rejected(_)) => false,
            Err(halt) => panic!("{halt:?}"),
        }
    }
    match step {
        Step::Create { product, handle, skus } => {
            let handle = handle.map(|at| HANDLES[at]);
            done(streams.run(&draft(*product, handle, "Shirt", &names(skus))))
        }
        Step::Add { product, skus } => {
            let assortment = sizes(&names(skus));
            done(streams.run(&AddVariants { product_id: id(*product), assortment, expected_version: None }))
        }
        Step::Import { product, handle: at, skus } => done(streams.run(&ImportProduct {
            new_product_id: id(*product),
            handle: handle(HANDLES[*at]),
            details: vec![DetailChange::Name("Shirt".into())],
            assortment: sizes(&names(skus)),
            status: FileStatus::Active,
            now: DateTime::UNIX_EPOCH,
        })),
    }
}

proptest! {
    #[test]
    fn no_sku_and_no_handle_ever_has_two_owners(steps in steps()) {
        let mut streams = InMemoryStreams::default();
        for step in &steps {
            let before: Vec<_> = (1..=PRODUCTS).map(|product| state(&streams, product)).collect();
            if !run(&mut streams, step) {
                let after: Vec<_> = (1..=PRODUCTS).map(|product| state(&streams, product)).collect();
                prop_assert_eq!(before, after, "a refused command changed something");
            }
        }
        let mut owners = HashMap::new();
        for product in 1..=PRODUCTS {
            for variant in &state(&streams, product).variants {
                let earlier = owners.insert(variant.sku.clone(), id(product));
                prop_assert_eq!(earlier, None, "{} stands in two products, or twice in one", variant.sku);
            }
        }
        for variant in sizes(&SKUS).variants() {
            let claimed = streams.state::<SkuClaim>(&sku_stream(variant)).owner;
            prop_assert_eq!(claimed, owners.get(&variant.sku).copied());
        }
        for name in HANDLES {
            if let Some(owner) = streams.state::<HandleClaim>(&handle_stream(&handle(name))).owner {
                let there = (1..=PRODUCTS).find(|product| id(*product) == owner);
                let there = there.expect("the owner is one of them");
                prop_assert_ne!(state(&streams, there).status, ProductStatus::Absent);
            }
        }
    }

    #[test]
    fn importing_the_same_twice_writes_no_event(steps in steps(), repeated in steps()) {
        let mut streams = InMemoryStreams::default();
        for step in &steps {
            run(&mut streams, step);
        }
        for step in &repeated {
            let Step::Import { product, handle: at, skus } = step else { continue };
            let import = ImportProduct {
                new_product_id: id(*product),
                handle: handle(HANDLES[*at]),
                details: vec![DetailChange::Name("Blouse".into())],
                assortment: sizes(&names(skus)),
                status: FileStatus::Discontinued,
                now: DateTime::UNIX_EPOCH,
            };
            if streams.run(&import).is_ok() {
                let (_, events) = streams.run(&import).unwrap();
                prop_assert!(events.is_empty(), "{:?}", events);
            }
        }
    }
}
