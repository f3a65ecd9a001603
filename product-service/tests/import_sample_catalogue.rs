//! The sample catalogue is data that people try the shop with; it holds what the documentation says of it.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use product_service::import::{ImportOptions, ImportedProduct, ProductRows, ProductStatus};

fn catalogue() -> Vec<ImportedProduct> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/sample/catalogue.csv");
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = ProductRows::new(file, ImportOptions::default()).expect("a readable header");
    rows.map(|product| product.unwrap_or_else(|error| panic!("{error:?}"))).collect()
}

fn count<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> usize {
    items.collect::<HashSet<T>>().len()
}

/// The check digit of EAN-13: weights 1 and 3 in turn, the sum is a multiple of ten.
fn is_ean13(barcode: &str) -> bool {
    let digits = barcode.bytes().map(|byte| u32::from(byte.wrapping_sub(b'0')));
    let sum: u32 = digits.clone().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    barcode.len() == 13 && digits.clone().all(|digit| digit < 10) && sum.is_multiple_of(10)
}

#[test]
fn the_sample_catalogue_imports_without_an_error_or_a_warning() {
    for product in catalogue() {
        assert_eq!(product.warnings, [], "{}", product.handle);
    }
}

#[test]
fn the_sample_catalogue_is_large_and_varied_enough_to_try_the_shop_with() {
    let products = catalogue();
    assert!(products.len() >= 120, "{} products", products.len());
    assert_eq!(count(products.iter().map(|product| &product.brand)), 12);
    assert_eq!(count(products.iter().map(|product| &product.category_path)), 10);
    assert_eq!(count(products.iter().map(|product| &product.supplier)), 8);
    assert_eq!(count(products.iter().map(|product| product.options.len())), 4, "none to three options");
    assert_eq!(count(products.iter().map(|product| product.status)), 3, "every status");
    for product in &products {
        assert!(product.category_path.len() >= 2 && !product.tags.is_empty(), "{}", product.handle);
        assert!(product.body_html.starts_with("<p>") && !product.images.is_empty(), "{}", product.handle);
    }
}

#[test]
fn every_barcode_of_the_sample_catalogue_is_valid_unique_and_in_the_internal_range() {
    let products = catalogue();
    let variants = products.iter().flat_map(|product| &product.variants);
    let barcodes: Vec<&str> = variants.clone().filter_map(|variant| variant.barcode.as_deref()).collect();
    assert_eq!(barcodes.len(), variants.count());
    assert_eq!(count(barcodes.iter()), barcodes.len());
    assert!(barcodes.iter().all(|barcode| barcode.starts_with('2') && is_ean13(barcode)));
}

#[test]
fn the_sample_catalogue_has_the_free_scarce_and_sold_out_pieces_that_demos_need() {
    let products = catalogue();
    let sold = products.iter().filter(|product| product.status == ProductStatus::Active);
    let variants: Vec<_> = sold.flat_map(|product| &product.variants).collect();
    let find = |sku: &str| variants.iter().find(|variant| variant.sku == sku).expect("a SKU that demos name");
    assert_eq!(find("TAN-LINEN-SWATCH-CARD").price_minor, 0);
    assert_eq!(find("OST-GLAZE-COLOUR-CARD").price_minor, 0);
    assert_eq!(find("BRU-FOUNDERS-PETTY-KNIFE").quantity, Some(3));
    assert!(variants.iter().any(|variant| variant.quantity == Some(0)));
    assert!(variants.iter().any(|variant| variant.sku_was_derived));
}
