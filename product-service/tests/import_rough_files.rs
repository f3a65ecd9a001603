//! Files as real shops export them, of our own invention: what must import does, what must not is refused by name,
//! with its line and column, and never takes another product with it.

use std::path::Path;

use product_service::import::{
    FileError, IgnoredBecause, ImportError, ImportOptions, ImportSummary, ImportedProduct, ProductRows,
    ProductStatus, RefusedProduct, Rule, limits,
};

/// Everything a file yields.
struct Outcome {
    products: Vec<ImportedProduct>,
    refused: Vec<RefusedProduct>,
    summary: ImportSummary,
}

impl Outcome {
    fn of(bytes: &[u8]) -> Outcome {
        let mut rows = ProductRows::new(bytes, ImportOptions::default()).expect("a readable header");
        let (mut products, mut refused) = (Vec::new(), Vec::new());
        for row in rows.by_ref() {
            match row {
                Ok(product) => products.push(product),
                Err(ImportError::Refused(product)) => refused.push(product),
                Err(ImportError::File(error)) => panic!("the file ends early: {error}"),
            }
        }
        assert_eq!(rows.bytes_read(), bytes.len() as u64);
        Outcome { products, refused, summary: rows.summary().clone() }
    }

    fn of_fixture(name: &str) -> Outcome {
        Outcome::of(&fixture(name))
    }

    fn product(&self, handle: &str) -> &ImportedProduct {
        self.products.iter().find(|product| product.handle == handle).expect(handle)
    }

    /// Line, column and rule of each error of a refused product.
    fn errors(&self, handle: &str) -> Vec<(u64, &str, Rule)> {
        let refused: Vec<&RefusedProduct> =
            self.refused.iter().filter(|product| product.handle == handle).collect();
        assert!(!refused.is_empty(), "{handle} is not refused");
        let errors = refused.into_iter().flat_map(|product| &product.errors);
        errors.map(|error| (error.line, error.column.as_deref().unwrap_or_default(), error.rule)).collect()
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn skus(product: &ImportedProduct) -> Vec<&str> {
    product.variants.iter().map(|variant| variant.sku.as_str()).collect()
}

#[test]
fn a_file_with_the_first_names_a_byte_order_mark_crlf_and_padded_headers_imports_whole() {
    let outcome = Outcome::of_fixture("first_names.csv");
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);

    let apron = outcome.product("linen-apron");
    assert_eq!(apron.title, "Linen Apron");
    assert_eq!(apron.body_html, "<p>Washed linen.</p>\n<ul>\n  <li>Two pockets, \"deep\"</li>\n</ul>");
    assert_eq!((apron.brand.as_str(), apron.supplier.as_str()), ("Tannfelt", "Tannfelt"));
    assert_eq!(apron.category_path, ["Home", "Kitchen", "Textiles"]);
    assert_eq!(apron.tags, ["linen", "kitchen"]);
    assert_eq!(apron.status, ProductStatus::Active);
    assert_eq!(apron.options, ["Colour", "Size"]);
    assert_eq!((apron.first_line, apron.last_line), (2, 8));
    let urls: Vec<&str> = apron.images.iter().map(|image| image.url.as_str()).collect();
    let expected = ["1", "2", "3"].map(|n| format!("https://images.example/apron-{n}.jpg"));
    assert_eq!(urls, expected);
    assert_eq!(apron.images[1].alt, "Apron, folded");

    let variants: Vec<(&str, Vec<&str>, i64, Option<u32>)> = apron
        .variants
        .iter()
        .map(|v| {
            (v.sku.as_str(), v.option_values.iter().map(String::as_str).collect(), v.price_minor, v.quantity)
        })
        .collect();
    assert_eq!(
        variants,
        [
            ("linen-apron_dark-blue_m", vec!["Dark Blue", "M"], 5_000, Some(12)),
            ("linen-apron_dark-blue_l", vec!["Dark Blue", "L"], 5_000, Some(0)),
            ("linen-apron_sand_m", vec!["Sand", "M"], 5_250, None),
        ]
    );
    assert!(apron.variants.iter().all(|v| v.sku_was_derived && v.currency.code() == "EUR"));
    assert_eq!(apron.variants[0].image.as_deref(), Some("https://images.example/apron-blue.jpg"));
    let warnings: Vec<(u64, Rule)> =
        apron.warnings.iter().map(|warning| (warning.line, warning.rule)).collect();
    assert_eq!(warnings, [(6, Rule::QuantityNegative)]);
}

#[test]
fn the_single_option_title_with_its_default_is_no_option() {
    let outcome = Outcome::of_fixture("first_names.csv");
    let bowl = outcome.product("tea-bowl");
    assert!(bowl.options.is_empty());
    assert!(bowl.variants[0].option_values.is_empty());
    assert_eq!(skus(bowl), ["tea-bowl"]);
    assert_eq!(bowl.variants[0].barcode.as_deref(), Some("2000000000015"));
    assert_eq!(bowl.category_path, ["Tableware"], "the type stands in for a missing category");
    assert_eq!(bowl.status, ProductStatus::Draft);
    assert_eq!(bowl.first_line, 11, "blank rows and lines before it are counted");
}

#[test]
fn a_free_product_keeps_its_sku_and_its_price_of_zero() {
    let outcome = Outcome::of_fixture("first_names.csv");
    let card = &outcome.product("linen-apron-card").variants[0];
    assert_eq!((card.sku.as_str(), card.sku_was_derived, card.price_minor), ("CARD-1", false, 0));
}

#[test]
fn both_generations_of_names_make_the_same_products() {
    let strip = |outcome: Outcome| {
        let mut products = outcome.products;
        for product in &mut products {
            (product.first_line, product.last_line) = (0, 0);
            product.variants.iter_mut().for_each(|variant| variant.line = 0);
            product.warnings.clear();
        }
        products
    };
    let (first, second) = (Outcome::of_fixture("first_names.csv"), Outcome::of_fixture("second_names.csv"));
    assert_eq!(first.summary.derived_skus, 4);
    assert_eq!(strip(first), strip(second));
}

#[test]
fn columns_that_are_not_read_are_reported_once_with_the_reason() {
    let summary = Outcome::of_fixture("first_names.csv").summary;
    let ignored = |reason| {
        let columns = summary.ignored_columns.iter().filter(move |column| column.reason == reason);
        columns.map(|column| column.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(ignored(IgnoredBecause::Metafield), ["Care (product.metafields.custom.care)"]);
    assert_eq!(ignored(IgnoredBecause::Unknown), ["Shelf"]);
    assert!(ignored(IgnoredBecause::NotUsed).contains(&"Google Shopping / MPN"));
    assert_eq!((summary.rows, summary.products, summary.variants, summary.refused), (6, 3, 5, 0));
}

#[test]
fn each_broken_row_is_reported_by_line_column_and_rule() {
    let outcome = Outcome::of_fixture("broken_rows.csv");
    for (handle, line, column, rule) in [
        ("thousands", 3, "Variant Price", Rule::PriceSeparator),
        ("negative", 6, "Variant Price", Rule::PriceNegative),
        ("not-a-number", 7, "Variant Price", Rule::PriceFormat),
        ("huge", 8, "Variant Price", Rule::PriceTooLarge),
        ("three-decimals", 9, "Variant Price", Rule::PriceDecimals),
        ("no-price", 10, "Variant Price", Rule::PriceMissing),
        ("no-title", 13, "Title", Rule::TitleMissing),
        ("half-quantity", 15, "Variant Inventory Qty", Rule::QuantityFormat),
        ("huge-quantity", 16, "Variant Inventory Qty", Rule::QuantityTooLarge),
        ("bad-image", 17, "Image Src", Rule::ImageUrl),
        ("no-option-name", 18, "Option1 Name", Rule::OptionNameMissing),
        ("no-option-value", 20, "Option2 Value", Rule::OptionValueMissing),
        ("same-twice", 22, "Option1 Value", Rule::VariantRepeated),
        ("renamed", 24, "Option1 Name", Rule::OptionNameConflict),
        ("taken-sku", 27, "Variant SKU", Rule::SkuRepeated),
        ("no-currency", 30, "Currency", Rule::CurrencyUnknown),
        ("two-currencies", 32, "Currency", Rule::CurrencyMixed),
    ] {
        assert_eq!(outcome.errors(handle), [(line, column, rule)], "{handle}");
    }
    assert_eq!(
        outcome.errors("unknown-status"),
        [(14, "Status", Rule::StatusUnknown), (14, "Published", Rule::PublishedUnknown)]
    );
}

#[test]
fn broken_products_take_no_other_with_them() {
    let outcome = Outcome::of_fixture("broken_rows.csv");
    let handles: Vec<&str> = outcome.products.iter().map(|product| product.handle.as_str()).collect();
    assert_eq!(handles, ["good-first", "good-last"]);
    assert_eq!(outcome.summary.refused, outcome.refused.len() as u64);
}

#[test]
fn an_error_in_one_row_refuses_the_whole_product_with_the_lines_of_all_its_rows() {
    let outcome = Outcome::of_fixture("broken_rows.csv");
    let kettle = outcome.refused.iter().find(|product| product.handle == "thousands").unwrap();
    assert_eq!((kettle.first_line, kettle.last_line), (3, 5));
    assert_eq!(
        kettle.errors[0].to_string(),
        "line 3, column \"Variant Price\": \"1,299.00\": thousands separators and decimal commas are ambiguous: \
         write 1299.00"
    );
}

#[test]
fn a_handle_that_reappears_is_refused_once_and_names_the_line_of_the_first() {
    let outcome = Outcome::of_fixture("broken_rows.csv");
    assert_eq!(outcome.errors("good-first"), [(25, "Handle", Rule::HandleReappears)]);
    let again = outcome.refused.iter().find(|product| product.handle == "good-first").unwrap();
    assert!(again.errors[0].message.contains("line 2"), "{}", again.errors[0]);
    assert_eq!(outcome.product("good-first").title, "Good First");
}

#[test]
fn a_row_without_handle_and_title_makes_the_product_above_it_doubtful() {
    let outcome = Outcome::of_fixture("broken_rows.csv");
    let errors = outcome.errors("no-variant");
    assert_eq!(errors, [(12, "Handle", Rule::HandleMissing)]);
}

#[test]
fn a_product_of_nothing_but_images_is_refused() {
    let outcome = Outcome::of(b"Handle,Title,Image Src,Price\na,A,https://images.example/a.jpg,\n");
    assert_eq!(outcome.errors("a"), [(2, "Price", Rule::VariantMissing)]);
}

#[test]
fn rows_of_the_wrong_length_are_refused_because_their_cells_may_have_moved() {
    let outcome = Outcome::of_fixture("broken_rows.csv");
    for (handle, line) in [("too-short", 28), ("too-long", 29)] {
        assert_eq!(outcome.errors(handle)[0], (line, "", Rule::RowShape));
    }
}

#[test]
fn an_empty_cell_of_our_own_supplier_column_means_no_supplier_and_elsewhere_the_vendor_counts() {
    let metafield = "Supplier (product.metafields.custom.supplier)";
    for (header, cells, supplier) in [
        (String::new(), "", "Orvelle"),
        (format!(",{metafield}"), ",", "Orvelle"),
        (format!(",{metafield}"), ",Lyspunkt", "Lyspunkt"),
        (",Supplier".to_owned(), ",", ""),
        (",Supplier".to_owned(), ", ", ""),
        (",Supplier".to_owned(), ",Lyspunkt", "Lyspunkt"),
        (format!(",{metafield},Supplier"), ",Lyspunkt,", ""),
    ] {
        let file = format!("Handle,Title,Price,Vendor{header}\nlamp,Lamp,1.00,Orvelle{cells}\n");
        let outcome = Outcome::of(file.as_bytes());
        let lamp = outcome.product("lamp");
        assert_eq!((lamp.brand.as_str(), lamp.supplier.as_str()), ("Orvelle", supplier), "{file}");
    }
}

#[test]
fn what_spreadsheets_do_to_a_file_is_undone_or_reported() {
    let outcome = Outcome::of_fixture("spreadsheet.csv");
    assert!(outcome.refused.iter().all(|product| product.handle == "desk-lamp"), "{:?}", outcome.refused);
    let lamp = outcome.product("desk-lamp");
    assert_eq!(skus(lamp), ["00417"], "the apostrophe that keeps a number text is no part of it");
    assert_eq!(lamp.title, "Desk Lamp");
    assert_eq!(lamp.supplier, "Lyspunkt Trading");
    assert_eq!(lamp.variants[0].barcode, None);
    assert_eq!(lamp.variants[0].quantity, Some(0));
    assert_eq!(lamp.images.len(), 1, "an image that is named twice is one image");
    assert!(lamp.options.is_empty());
    let warnings: Vec<(u64, Rule)> =
        lamp.warnings.iter().map(|warning| (warning.line, warning.rule)).collect();
    assert_eq!(
        warnings,
        [
            (2, Rule::ImagePosition),
            (2, Rule::QuantityNegative),
            (2, Rule::BarcodeMangled),
            (3, Rule::ValueConflict),
            (2, Rule::OptionUnused),
        ]
    );
    assert_eq!(outcome.product("floor-lamp").variants[0].barcode.as_deref(), Some("2000000000022"));
}

#[test]
fn status_and_published_decide_together_whether_a_product_is_sold() {
    let outcome = Outcome::of_fixture("spreadsheet.csv");
    for (handle, status) in [
        ("desk-lamp", ProductStatus::Active),
        ("floor-lamp", ProductStatus::Draft),
        ("wall-lamp", ProductStatus::Archived),
        ("hidden-lamp", ProductStatus::Draft),
    ] {
        assert_eq!(outcome.product(handle).status, status, "{handle}");
    }
}

#[test]
fn prices_have_the_decimals_of_the_currency_that_the_file_names() {
    let outcome = Outcome::of_fixture("currencies.csv");
    let prices = |handle| {
        let variants = outcome.product(handle).variants.iter();
        variants.map(|variant| (variant.price_minor, variant.currency.code())).collect::<Vec<_>>()
    };
    assert_eq!(prices("rice-bowl"), [(1_200, "JPY"), (1_500, "JPY")]);
    assert_eq!(prices("date-box"), [(4_250, "KWD")]);
    assert_eq!(prices("plain-box"), [(425, "EUR")]);
}

#[test]
fn the_caller_names_the_currency_when_the_file_does_not() {
    let options = ImportOptions { default_currency: "JPY".parse().unwrap() };
    let rows = ProductRows::new(&b"Handle,Title,Price\na,A,50\nb,B,50.50\n"[..], options).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = rows.partition(Result::is_ok);
    assert_eq!(good[0].as_ref().unwrap().variants[0].price_minor, 50);
    assert!(
        matches!(&bad[0], Err(ImportError::Refused(product)) if product.errors[0].rule == Rule::PriceDecimals)
    );
}

#[test]
fn derived_skus_are_unique_readable_where_they_can_be_and_the_same_in_every_import() {
    let outcome = Outcome::of_fixture("derived_skus.csv");
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    let all: Vec<&str> = outcome.products.iter().flat_map(skus).collect();
    assert_eq!(
        all,
        [
            "frame_8-x-10_oak_068b2bc55446",
            "frame_8-x-10_wei_da21e42d16a2",
            "frame_8-x-10_oak",
            "frame_8-x-10_oak_ca41fb613ddb",
            "frame_8-x-10_oak_5c7699ac821b",
            "frame-8-x-10_oak",
            "b8f16297b62f",
            "53bf078b240c",
            "mixed_blue",
            "mixed_blue_4c06fec48187",
            "no-handle-at-all",
        ],
        "stock hangs on these: they must never change"
    );
}

#[test]
fn the_order_of_rows_and_products_does_not_change_a_derived_sku() {
    let forward = b"Handle,Title,Option1 Name,Option1 Value,Price\n\
        a,A,Size,Small,5\na,,,Gr\xc3\xb6\xc3\x9fe,5\nb,B,Size,S/M,5\n";
    let backward = b"Handle,Title,Option1 Name,Option1 Value,Price\n\
        b,B,Size,S/M,5\na,A,Size,Gr\xc3\xb6\xc3\x9fe,5\na,,,Small,5\n";
    let sorted = |bytes: &[u8]| {
        let outcome = Outcome::of(bytes);
        let mut skus: Vec<String> = outcome.products.iter().flat_map(skus).map(str::to_owned).collect();
        skus.sort_unstable();
        skus
    };
    assert_eq!(sorted(forward), sorted(backward));
    assert_eq!(sorted(forward).len(), 3);
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line_and_column_unless_it_is_not_read() {
    let outcome = Outcome::of_fixture("latin1.csv");
    let handles: Vec<&str> = outcome.products.iter().map(|product| product.handle.as_str()).collect();
    assert_eq!(handles, ["good-one", "good-two"]);
    let errors = outcome.errors("kaesebrett");
    assert_eq!(errors[..2], [(3, "Title", Rule::InvalidUtf8), (4, "Vendor", Rule::InvalidUtf8)]);
    assert_eq!(outcome.errors("gl\u{fffd}hwein"), [(5, "Handle", Rule::InvalidUtf8)]);
}

#[test]
fn text_beyond_its_limit_is_refused_and_text_at_it_is_not() {
    for (column, limit, in_bytes) in [
        ("Title", limits::MAX_NAME_CHARS, false),
        ("Vendor", limits::MAX_NAME_CHARS, false),
        ("Tags", limits::MAX_NAME_CHARS, false),
        ("Type", limits::MAX_NAME_CHARS, false),
        ("SKU", limits::MAX_SKU_CHARS, false),
        ("Barcode", limits::MAX_BARCODE_CHARS, false),
        ("Image Alt Text", limits::MAX_ALT_CHARS, false),
        ("Description", limits::MAX_BODY_BYTES, true),
    ] {
        let letter = if in_bytes { "a" } else { "\u{e4}" };
        let file = |length: usize| {
            let title = if column == "Title" { "" } else { ",Title" };
            let cell = if column == "Title" { "" } else { ",T" };
            format!("Handle,{column},Price{title}\na,{},1{cell}\n", letter.repeat(length))
        };
        let at_limit = Outcome::of(file(limit).as_bytes());
        assert_eq!(at_limit.refused, [], "{column}");
        let beyond = Outcome::of(file(limit + 1).as_bytes());
        assert_eq!(beyond.errors("a").first(), Some(&(2, column, Rule::TooLong)), "{column}");
    }
}

#[test]
fn more_variants_images_or_errors_than_a_product_may_have_are_refused_and_not_kept() {
    let mut variants = String::from("Handle,Title,Option1 Name,Option1 Value,Price\na,A,Size,0,1\n");
    let mut images = String::from("Handle,Title,Image Src,Price\na,A,https://images.example/0,1\n");
    let mut errors = variants.clone();
    for n in 1..=limits::MAX_VARIANTS {
        variants.push_str(&format!("a,,,{n},1\n"));
        images.push_str(&format!("a,,https://images.example/{n},\n"));
        errors.push_str(&format!("a,,,{n},free\n"));
    }
    assert_eq!(Outcome::of(variants.as_bytes()).errors("a"), [(2_050, "", Rule::TooMany)]);
    let outcome = Outcome::of(images.as_bytes());
    assert_eq!(outcome.errors("a")[0], (252, "Image Src", Rule::TooMany));
    let outcome = Outcome::of(errors.as_bytes());
    assert_eq!(outcome.errors("a").len(), limits::MAX_ISSUES);
    // The variant beyond the limit is not asked for its price.
    assert_eq!(outcome.refused[0].error_count(), limits::MAX_VARIANTS as u64);
}

#[test]
fn a_quote_that_is_never_closed_ends_the_reading_instead_of_swallowing_the_file() {
    let endless = std::io::Read::chain(
        &b"Handle,Title,Description,Price\ngood,Good,,1\nbad,Bad,\"<p>"[..],
        std::io::repeat(b'x'),
    );
    let mut rows = ProductRows::new(endless, ImportOptions::default()).unwrap();
    let error = rows.next().unwrap().unwrap_err();
    assert!(matches!(error, ImportError::File(FileError::RowTooLong { line: 3, .. })), "{error:?}");
    assert!(rows.next().is_none());

    let short = Outcome::of(b"Handle,Title,Description,Price\nbad,Bad,\"<p>,1\ngood,Good,,1\n");
    assert_eq!(short.errors("bad")[0], (2, "", Rule::RowShape));
}

#[test]
fn headers_that_cannot_be_read_say_why() {
    let error =
        |bytes: &'static [u8]| ProductRows::new(bytes, ImportOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error(b""), FileError::Empty));
    assert!(matches!(error(b"\xef\xbb\xbf"), FileError::Empty));
    assert!(matches!(error(b"\r\n\r\n"), FileError::Empty));
    assert!(matches!(error(b"\xff\xfeH\0a\0n\0d\0l\0e\0"), FileError::Utf16));
    assert!(matches!(error(b"Handle\tTitle\tVariant Price\n"), FileError::Delimiter { found: "tabs" }));
    assert!(matches!(error(b"Handle,Price\na,1\n"), FileError::MissingColumn { .. }));
    assert!(matches!(error(b"Handle,URL handle,Title,Price\n"), FileError::RepeatedColumn { .. }));
}

#[test]
fn a_file_of_nothing_but_a_header_has_no_products() {
    let outcome = Outcome::of(b"Handle,Title,Variant Price");
    assert_eq!((outcome.products.len(), outcome.refused.len(), outcome.summary.rows), (0, 0, 0));
}

#[test]
fn control_characters_do_not_get_into_products_or_messages() {
    let outcome =
        Outcome::of(b"Handle,Title,Description,Price\na,\x1b[31mRed\0,<p>\0\x07b</p>,1\nb,B,,\x1b[2J\n");
    let product = outcome.product("a");
    assert_eq!((product.title.as_str(), product.body_html.as_str()), ("[31mRed", "<p>b</p>"));
    assert!(
        outcome.refused.iter().flat_map(|p| &p.errors).all(|e| !e.to_string().contains(char::is_control))
    );
}

#[test]
fn a_price_of_nothing_but_blanks_of_any_kind_is_missing_not_zero() {
    let outcome = Outcome::of("Handle,Title,SKU,Price\na,A,A-1,\u{a0}\u{2003}\n".as_bytes());
    assert_eq!(outcome.errors("a"), [(2, "Price", Rule::PriceMissing)]);
}
