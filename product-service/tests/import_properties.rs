//! What holds for every catalogue and every file, not only for those that somebody thought of.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use product_service::import::{
    ImportOptions, ImportedImage, ImportedProduct, ImportedVariant, ProductRows, ProductStatus,
};

const CURRENCIES: &[&str] = &["EUR", "JPY", "KWD"];

/// The names of one generation for the columns that the test writes, in the order of its rows.
const FIRST_NAMES: &str = "Handle,Title,Body (HTML),Vendor,Supplier,Product Category,Tags,Status,Option1 Name,\
    Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,Variant SKU,Variant Price,Currency,\
    Variant Barcode,Variant Inventory Qty,Variant Image,Image Src,Image Position,Image Alt Text";
const SECOND_NAMES: &str = "URL handle,Title,Description,Vendor,Supplier,Product category,Tags,Status,Option1 name,\
    Option1 value,Option2 name,Option2 value,Option3 name,Option3 value,SKU,Price,Currency,\
    Barcode,Inventory quantity,Variant image URL,Product image URL,Image position,Image alt text";

/// Text that survives cleaning as it is: no control characters, no blanks around it.
fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9äß茶\"'<&;#][a-zA-Z0-9äß茶\"' ;<>&#.-]{0,12}[a-zA-Z0-9äß茶\"]"
}

fn list_item() -> impl Strategy<Value = String> {
    "[a-zA-Zäß茶][a-zA-Zäß茶 &'-]{0,8}[a-z]"
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "<p>[a-zß\n\t\", ;]{0,60}</p>"]
}

fn url() -> impl Strategy<Value = String> {
    "https://images\\.example/[a-z0-9,/-]{1,20}"
}

fn status() -> impl Strategy<Value = ProductStatus> {
    prop_oneof![Just(ProductStatus::Active), Just(ProductStatus::Draft), Just(ProductStatus::Archived)]
}

type VariantParts = (Vec<String>, i64, Option<u64>, Option<u32>, Option<String>);

fn variants(options: usize) -> impl Strategy<Value = Vec<VariantParts>> {
    let count = if options == 0 { 1..2 } else { 1..6 };
    let parts = (
        vec(text(), options),
        0..100_000_000_000_i64,
        option::of(0..10_000_000_000_u64),
        option::of(0..=10_000_000_u32),
        option::of(url()),
    );
    vec(parts, count).prop_map(|parts| {
        // Variants differ in their values.
        let distinct: BTreeMap<Vec<String>, VariantParts> =
            parts.into_iter().map(|parts| (parts.0.clone(), parts)).collect();
        distinct.into_values().collect()
    })
}

fn product() -> impl Strategy<Value = ImportedProduct> {
    let options = proptest::sample::subsequence(vec!["Colour", "Size", "Größe, außen"], 0..=3);
    let options = options.prop_flat_map(|options| (variants(options.len()), Just(options)));
    let texts = (text(), body(), text(), prop_oneof![1 => Just(String::new()), 3 => text()]);
    let lists = (
        vec(list_item(), 0..4),
        vec(list_item(), 0..5),
        vec((url(), prop_oneof![Just(String::new()), text()]), 0..4),
    );
    (texts, lists, status(), options, proptest::sample::select(CURRENCIES)).prop_map(
        |(
            (title, body_html, brand, supplier),
            (category_path, tags, images),
            status,
            (variants, options),
            currency,
        )| {
            let variants =
                variants.into_iter().map(|(option_values, price_minor, barcode, quantity, image)| {
                    let barcode = barcode.map(|number| format!("2{number:012}"));
                    let currency = currency.parse().expect("a code of the table");
                    let sku = String::new();
                    ImportedVariant {
                        sku,
                        sku_was_derived: false,
                        option_values,
                        price_minor,
                        currency,
                        barcode,
                        quantity,
                        image,
                        line: 0,
                    }
                });
            let mut product = ImportedProduct {
                attributes: std::collections::BTreeMap::new(),
                handle: String::new(),
                title,
                body_html,
                brand,
                supplier,
                category_path,
                tags,
                status,
                options: options.into_iter().map(str::to_owned).collect(),
                variants: variants.collect(),
                images: images.into_iter().map(|(url, alt)| ImportedImage { url, alt }).collect(),
                first_line: 0,
                last_line: 0,
                warnings: Vec::new(),
            };
            keep_first(&mut product.tags, |tag| tag.to_lowercase());
            keep_first(&mut product.images, |image| image.url.clone());
            product
        },
    )
}

fn keep_first<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = std::collections::BTreeSet::new();
    items.retain(|item| seen.insert(key(item)));
}

/// Products with handles and SKUs that no other has.
fn catalogue() -> impl Strategy<Value = Vec<ImportedProduct>> {
    vec(product(), 0..6).prop_map(|mut products| {
        for (number, product) in products.iter_mut().enumerate() {
            product.handle = format!("product-{number}");
            for (at, variant) in product.variants.iter_mut().enumerate() {
                variant.sku = format!("SKU {number}/{at}");
            }
        }
        products
    })
}

fn price(variant: &ImportedVariant) -> String {
    let exponent = variant.currency.exponent() as usize;
    let digits = format!("{:0>width$}", variant.price_minor, width = exponent + 1);
    let (whole, decimals) = digits.split_at(digits.len() - exponent);
    if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") }
}

/// Writes as Shopify does: what belongs to the product on its first row only, images beside the variants and, when
/// there are more of them, on rows of their own.
fn write(products: &[ImportedProduct], names: &str, crlf: bool, with_skus: bool) -> Vec<u8> {
    let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
    let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
    writer.write_record(names.split(',')).expect("writing to memory");
    for product in products {
        for at in 0..product.variants.len().max(product.images.len()) {
            let (mut row, first) = (vec![product.handle.clone()], at == 0);
            let on_first = |text: String| if first { text } else { String::new() };
            row.push(on_first(product.title.clone()));
            row.push(on_first(product.body_html.clone()));
            row.push(on_first(product.brand.clone()));
            row.push(on_first(product.supplier.clone()));
            row.push(on_first(product.category_path.join(" > ")));
            row.push(on_first(product.tags.join(", ")));
            row.push(on_first(format!("{:?}", product.status).to_lowercase()));
            let variant = product.variants.get(at);
            for option in 0..3 {
                row.push(on_first(product.options.get(option).cloned().unwrap_or_default()));
                row.push(variant.and_then(|v| v.option_values.get(option).cloned()).unwrap_or_default());
            }
            row.push(variant.filter(|_| with_skus).map_or_else(String::new, |v| v.sku.clone()));
            row.push(variant.map_or_else(String::new, price));
            row.push(variant.map_or_else(String::new, |v| v.currency.to_string()));
            row.push(variant.and_then(|v| v.barcode.clone()).unwrap_or_default());
            row.push(variant.and_then(|v| v.quantity).map_or_else(String::new, |q| q.to_string()));
            row.push(variant.and_then(|v| v.image.clone()).unwrap_or_default());
            let image = product.images.get(at);
            row.push(image.map_or_else(String::new, |i| i.url.clone()));
            row.push(image.map_or_else(String::new, |_| (at + 1).to_string()));
            row.push(image.map_or_else(String::new, |i| i.alt.clone()));
            writer.write_record(&row).expect("writing to memory");
        }
    }
    writer.into_inner().expect("writing to memory")
}

/// The products of a file of which none may be refused, without their lines.
fn read(file: &[u8]) -> Vec<ImportedProduct> {
    let rows = ProductRows::new(file, ImportOptions::default()).expect("a readable header");
    let products = rows.map(|product| product.unwrap_or_else(|error| panic!("{error:?}")));
    let without_lines = |mut product: ImportedProduct| {
        product.variants.iter_mut().for_each(|variant| variant.line = 0);
        ImportedProduct { first_line: 0, last_line: 0, ..product }
    };
    products.map(without_lines).collect()
}

/// Pieces that a CSV reader may stumble over.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b",",
        b"\"",
        b"\n",
        b"\r\n",
        b"\r",
        b"\"\"",
        b"a",
        b"b",
        b"Size",
        b"1",
        b"69.99",
        b"-3",
        b"1,299.00",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"https://images.example/a",
        b"Title",
        b"Default Title",
        b"EUR",
        b"active",
        b" ",
        b"a,A,",
        b",,,,,,,",
        b"\xc3",
        b"\xa0",
        b"=cmd()",
    ];
    prop_oneof![4 => proptest::sample::select(known).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..4)]
}

/// Reads a file to its end and returns how many products and errors came of it.
fn exhaust(file: &[u8]) -> usize {
    ProductRows::new(file, ImportOptions::default())
        .map_or(0, |rows| rows.map(|row| format!("{row:?}")).count())
}

proptest! {
    #[test]
    fn every_catalogue_that_is_written_is_read_back_equal(
        products in catalogue(), second in any::<bool>(), crlf in any::<bool>(),
    ) {
        let file = write(&products, if second { SECOND_NAMES } else { FIRST_NAMES }, crlf, true);
        prop_assert_eq!(read(&file), products);
    }

    #[test]
    fn derived_skus_are_unique_and_the_same_in_every_import(products in catalogue()) {
        let file = write(&products, FIRST_NAMES, false, false);
        let once = read(&file);
        let mut skus: Vec<&str> = once.iter().flat_map(|p| &p.variants).map(|v| v.sku.as_str()).collect();
        let count = skus.len();
        skus.sort_unstable();
        skus.dedup();
        prop_assert_eq!(skus.len(), count);
        prop_assert!(skus.iter().all(|sku| !sku.is_empty() && sku.is_ascii()));
        prop_assert_eq!(read(&file), once);
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them(products in catalogue(), crlf in any::<bool>()) {
        let file = write(&products, FIRST_NAMES, crlf, true);
        let text = String::from_utf8(file.clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut next = 2;
        for product in ProductRows::new(&file[..], ImportOptions::default()).unwrap() {
            let product = product.unwrap();
            prop_assert_eq!(product.first_line, next);
            let start = format!("{},", product.handle);
            prop_assert!(lines[next as usize - 1].starts_with(&start), "{start} at line {next}");
            for variant in &product.variants {
                prop_assert!((product.first_line..=product.last_line).contains(&variant.line));
                let row = lines[variant.line as usize - 1];
                prop_assert!(row.starts_with(&start), "{} at line {}", variant.sku, variant.line);
            }
            next = product.last_line + 1;
        }
        prop_assert_eq!(next, lines.len() as u64 + 1);
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
        exhaust(&bytes);
    }

    #[test]
    fn no_rows_under_a_good_header_make_it_panic(pieces in vec(piece(), 0..80)) {
        let mut file = b"Handle,Title,Option1 Name,Option1 Value,SKU,Price,Image Src,Currency,Status\n".to_vec();
        file.extend(pieces.concat());
        exhaust(&file);
    }

    #[test]
    fn no_damage_to_a_good_file_makes_it_panic(
        products in catalogue(), damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = write(&products, FIRST_NAMES, true, true);
        for (place, byte) in damage {
            let at = place.index(file.len());
            file[at] = byte;
        }
        exhaust(&file);
    }
}
