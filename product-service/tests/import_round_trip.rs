//! What is written is read back as it was, whatever stands in it, and is then written the same.

use std::collections::BTreeMap;

use contracts::shop::product::v1 as wire;
use contracts::shop::r#type::v1::Money;
use product_service::import::{ImportOptions, ProductRows, ProductWriter, to_request};
use proptest::prelude::*;

fn write(products: &[wire::Product]) -> String {
    let mut writer = ProductWriter::new(Vec::new()).expect("memory takes everything");
    products.iter().for_each(|product| writer.write(product).expect("the format has room for it"));
    String::from_utf8(writer.finish().expect("memory takes everything")).expect("texts are UTF-8")
}

/// What a file says, as the products that an empty shop would have after its import.
fn read(file: &str) -> Vec<wire::Product> {
    let rows = ProductRows::new(file.as_bytes(), ImportOptions::default()).expect("it has a header");
    let product = |request: wire::ImportProductRequest| wire::Product {
        handle: request.handle,
        name: request.name,
        description: request.description,
        brand: request.brand,
        category_path: request.category_path,
        supplier: request.supplier,
        attributes: request.attributes,
        tags: request.tags,
        images: request.images,
        status: request.status,
        variants: request.variants,
        ..Default::default()
    };
    rows.map(|read| {
        let read = read.unwrap_or_else(|error| panic!("{error:?}\n{file}"));
        assert_eq!(read.warnings, [], "{file}");
        product(to_request(&read))
    })
    .collect()
}

fn assert_survives(products: &[wire::Product]) -> String {
    let file = write(products);
    assert_eq!(read(&file), products, "{file}");
    file
}

fn variant(sku: &str, options: &[(&str, &str)], currency: &str, minor_units: i64) -> wire::Variant {
    let option = |(name, value): &(&str, &str)| wire::OptionValue {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    wire::Variant {
        sku: sku.to_owned(),
        options: options.iter().map(option).collect(),
        price: Some(Money { currency_code: currency.to_owned(), minor_units }),
        ..Default::default()
    }
}

fn product(handle: &str, variants: Vec<wire::Variant>) -> wire::Product {
    wire::Product {
        handle: handle.to_owned(),
        name: "A mug".to_owned(),
        status: wire::ProductStatus::Active.into(),
        variants,
        ..Default::default()
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn what_a_plain_reader_would_take_for_something_else_survives() {
    let plain = || vec![variant("S", &[], "EUR", 100)];
    let image = |url: &str| wire::Image { url: url.to_owned(), alt_text: "One, \"two\"".to_owned() };
    let hostile = [
        wire::Product { tags: texts(&["a, b", "A", "a", "json:x", "\u{feff}"]), ..product("tags", plain()) },
        wire::Product { tags: vec!["t".repeat(255); 1], ..product("long-tag", plain()) },
        wire::Product { description: "one\r\ntwo\rthree\n".to_owned(), ..product("breaks", plain()) },
        wire::Product { description: " \n ".to_owned(), ..product("blank", plain()) },
        wire::Product { description: "json:\"x\"".to_owned(), ..product("marked", plain()) },
        wire::Product { name: "json:\"x\"".to_owned(), ..product("marked-name", plain()) },
        wire::Product { name: "\u{feff}\u{feff}".to_owned(), ..product("invisible", plain()) },
        wire::Product {
            brand: "=1+1".to_owned(),
            supplier: "@sum".to_owned(),
            ..product("formula", plain())
        },
        wire::Product {
            brand: "Vendor".to_owned(),
            supplier: String::new(),
            ..product("no-supplier", plain())
        },
        wire::Product {
            category_path: texts(&["\u{feff}a", "json:", "c, d"]),
            ..product("category", plain())
        },
        wire::Product {
            images: vec![
                image("https://a.example/1"),
                image("https://a.example/1"),
                image("https://a.example/2"),
            ],
            ..product("images", plain())
        },
        wire::Product {
            attributes: BTreeMap::from([
                ("a\"b".to_owned(), "c, d".to_owned()),
                ("e".to_owned(), String::new()),
            ]),
            ..product("attributes", plain())
        },
        product("apostrophe", vec![variant("'1", &[], "EUR", 1)]),
        product("no-option", vec![variant("T", &[("Title", "Default Title")], "EUR", 1)]),
        product("no-option-2", vec![variant("U", &[("title", "DEFAULT TITLE")], "EUR", 1)]),
        product("title", vec![variant("V", &[("Title", "Two")], "EUR", 1)]),
        product("\u{feff}handle", vec![variant("json:1", &[("\u{feff}", "json:\"2\"")], "EUR", 1)]),
        product("yen", vec![variant("Y", &[], "JPY", 1_200)]),
        product("dinar", vec![variant("K", &[], "KWD", 1_005)]),
        product("free", vec![variant("F", &[], "EUR", 0)]),
        product(
            "cents",
            vec![
                variant("C", &[("A", "1"), ("B", "x"), ("C", "y")], "EUR", 7),
                variant("D", &[("A", "1"), ("B", "x"), ("C", "z")], "EUR", 100_000_000_000),
            ],
        ),
    ];
    let barcodes = ["'4", "4.25012E+12", "4006381333931", "=4"].iter().enumerate().map(|(n, barcode)| {
        let variant = variant(&format!("B{n}"), &[], "EUR", 1);
        product(&format!("barcode-{n}"), vec![wire::Variant { barcode: (*barcode).to_owned(), ..variant }])
    });
    // Each product has a SKU of its own, since a file has each only once.
    let mut all: Vec<_> = hostile.into_iter().chain(barcodes).collect();
    for (n, product) in all.iter_mut().enumerate() {
        let only = product.variants.len() == 1 && product.variants[0].sku == "S";
        if only {
            product.variants[0].sku = format!("S{n}");
        }
    }
    for status in [wire::ProductStatus::Draft, wire::ProductStatus::Discontinued] {
        let sku = format!("{status:?}");
        let one = product(&sku.to_lowercase(), vec![variant(&sku, &[], "EUR", 1)]);
        all.push(wire::Product { status: status.into(), ..one });
    }
    let file = assert_survives(&all);
    assert!(file.contains(",=1+1,"), "a formula is written as it is: {file}");
    assert_eq!(write(&read(&file)), file);
}

#[test]
fn what_needs_no_mark_is_written_as_other_shops_write_it() {
    let mug = wire::Product {
        description: "<p>Holds \"coffee\",\nor tea.</p>".to_owned(),
        brand: "Harbour".to_owned(),
        category_path: texts(&["Kitchen", "Mugs"]),
        tags: texts(&["gift", "blue"]),
        ..product(
            "mug",
            vec![variant("M", &[("Size", "S")], "EUR", 1_250), variant("N", &[("Size", "L")], "EUR", 5)],
        )
    };
    assert_eq!(
        assert_survives(&[mug]),
        "Handle,Title,Body (HTML),Vendor,Product Category,Tags,Status,Option1 Name,Option1 Value,Option2 Name,\
         Option2 Value,Option3 Name,Option3 Value,Variant SKU,Variant Barcode,Variant Price,Currency,Image Src,\
         Image Position,Image Alt Text,Supplier,Attributes (JSON)\n\
         mug,A mug,\"<p>Holds \"\"coffee\"\",\nor tea.</p>\",Harbour,Kitchen > Mugs,\"gift, blue\",active,Size,S,,,,,M,,\
         12.50,EUR,,,,,\n\
         mug,,,,,,,,L,,,,,N,,0.05,EUR,,,,,\n"
    );
}

/// A text on one line as the catalogue takes it: no control characters, no blanks around it.
fn line() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("json:".to_owned()),
        Just("\"".to_owned()),
        Just(", ".to_owned()),
        Just("'".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("[\"a\"]".to_owned()),
        "[a-zA-Z0-9=+@\u{e4}\u{8336}\u{1f600} >]{0,6}",
    ];
    proptest::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat().trim().to_owned())
}

fn filled() -> impl Strategy<Value = String> {
    line().prop_filter("is empty", |text| !text.is_empty())
}

fn block() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![line(), Just("\r".to_owned()), Just("\n".to_owned()), Just("\t ".to_owned())],
        0..5,
    )
    .prop_map(|pieces| pieces.concat())
}

fn list() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set(filled(), 0..4).prop_map(|texts| texts.into_iter().collect())
}

fn any_product() -> impl Strategy<Value = wire::Product> {
    let words = (filled(), block(), line(), line());
    let lists = (list(), list(), proptest::collection::btree_map(filled(), line(), 0..3));
    let variants =
        (filled(), filled(), proptest::collection::btree_map(filled(), (filled(), 0i64..1_000_000), 1..4));
    let images = proptest::collection::vec((0u8..3, line()), 0..4);
    (words, lists, variants, images, 1i32..=3).prop_map(|(words, lists, variants, images, status)| {
        let (name, description, brand, supplier) = words;
        let (path, tags, attributes) = lists;
        let (option, barcode, variants) = variants;
        let variants = variants.into_iter().map(|(sku, (value, price))| wire::Variant {
            barcode: barcode.clone(),
            ..variant(&sku, &[(&option, &format!("{value} {sku}"))], "EUR", price)
        });
        let image =
            |(n, alt_text): (u8, String)| wire::Image { url: format!("https://a.example/{n}"), alt_text };
        wire::Product {
            name,
            description,
            brand,
            supplier,
            category_path: path.into_iter().map(|level| level.replace('>', "-").trim().to_owned()).collect(),
            tags,
            attributes,
            images: images.into_iter().map(image).collect(),
            status,
            ..product("mug", variants.collect())
        }
    })
}

proptest! {
    #[test]
    fn whatever_the_catalogue_takes_survives_the_file(product in any_product()) {
        let file = write(std::slice::from_ref(&product));
        prop_assert_eq!(read(&file), vec![product]);
    }
}
