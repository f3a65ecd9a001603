//! Product files as nobody would write them: every row of every file is accepted or reported with its line, and what is
//! accepted is a product that the shop takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;

use product_service::domain::details::{DetailChange, Image};
use product_service::domain::{Assortment, Currency, Handle, NewVariant, Price, Sku};
use product_service::import::{
    ImportError, ImportOptions, ImportedProduct, ProductRows, RefusedProduct, Rule, to_request,
};

/// Cases of a property in an ordinary run.
const CASES: u32 = 1_000;
/// Times more in a long one.
const LONG: u32 = 100;
/// Longest message about a row, in characters: it goes to a terminal.
const MAX_MESSAGE_CHARS: usize = 400;

const COLUMNS: [&str; 20] = [
    "Handle",
    "Title",
    "Body (HTML)",
    "Vendor",
    "Supplier",
    "Product Category",
    "Tags",
    "Status",
    "Option1 Name",
    "Option1 Value",
    "Option2 Name",
    "Option2 Value",
    "Variant SKU",
    "Variant Price",
    "Currency",
    "Variant Barcode",
    "Variant Inventory Qty",
    "Image Src",
    "Image Position",
    "Image Alt Text",
];

fn config() -> ProptestConfig {
    let cases = if testkit::is_long() { CASES * LONG } else { CASES };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A cell that often fits its column and now and then does anything.
fn cell(column: &'static str) -> BoxedStrategy<Vec<u8>> {
    let fitting: Vec<&'static str> = match column {
        "Handle" => vec!["a", "a", "a", "b", "B", "", "a/b", "two words", "ä", "a%2e", "\u{1b}[31m"],
        "Title" => vec!["Mug", "Mug", "", " ", "Tasse \u{200b}", "a\tb", "=cmd()"],
        "Variant Price" => {
            vec!["1", "12.50", "0", "", "-1", "1,299.00", "1e9", "1.999", "NaN", "١٢", "1000000000.01"]
        }
        "Currency" => vec!["", "", "EUR", "eur", "JPY", "XXX", "EURO"],
        "Status" => vec!["", "active", "draft", "archived", "ACTIVE", "yes", "aktiv"],
        "Option1 Name" => vec!["", "Size", "Size", "Colour", "Title", " "],
        "Option2 Name" => vec!["", "", "Size", "Cut"],
        "Option1 Value" => vec!["", "S", "M", "L", "Default Title", "S "],
        "Option2 Value" => vec!["", "", "slim", "wide"],
        "Variant SKU" => vec!["", "", "A-1", "A-2", "A-3", " A-1", "a\u{0}b", "4242424242424242"],
        "Variant Barcode" => vec!["", "4006381333931", "4.00638E+12", "'4006381333931", "x"],
        "Variant Inventory Qty" => vec!["", "1", "0", "-1", "1.0", "99999999999999999999", "many"],
        "Image Src" => {
            vec!["", "https://i.example/a", "javascript:x", "//i.example", "https://a b", "HTTP://i"]
        }
        "Image Position" => vec!["", "1", "2", "0", "-1", "x"],
        "Product Category" => vec!["", "Home > Kitchen", ">", "a > > b", " > > > > > > > > > > > "],
        "Tags" => vec!["", "a, b", "a,A,a", ",,,", "  "],
        _ => vec!["", "words", "two\nlines", "two\r\nlines", "\u{0}", "<b>&amp;</b>"],
    };
    prop_oneof![
        30 => prop::sample::select(fitting).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<String>().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..6),
        1 => (0..3_000_usize).prop_map(|length| vec![b'x'; length]),
    ]
    .boxed()
}

/// Rows of a file, most of the right length.
fn rows() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let row = COLUMNS.map(cell).to_vec();
    let row = (row, 0..40_usize).prop_map(|(mut row, length)| {
        // One in twenty is too short or too long.
        match length {
            0 => row.truncate(7),
            1 => row.push(b"one too many".to_vec()),
            _ => {}
        }
        row
    });
    vec(row, 1..12)
}

/// The file, and the line on which each of its rows that says something begins.
fn written(rows: &[Vec<Vec<u8>>]) -> (Vec<u8>, Vec<u64>) {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    writer.write_record(COLUMNS).unwrap();
    let mut lines = Vec::new();
    for row in rows {
        writer.flush().unwrap();
        let line = breaks(writer.get_ref()) + 1;
        if row.iter().any(|cell| !cell.iter().all(u8::is_ascii_whitespace)) {
            lines.push(line);
        }
        writer.write_record(row).unwrap();
    }
    (writer.into_inner().unwrap(), lines)
}

/// Line breaks as an editor counts them.
fn breaks(bytes: &[u8]) -> u64 {
    let returns = bytes.iter().filter(|byte| **byte == b'\r').count();
    let feeds =
        bytes.iter().enumerate().filter(|(at, byte)| **byte == b'\n' && (*at == 0 || bytes[at - 1] != b'\r'));
    (returns + feeds.count()) as u64
}

/// What came of a file: the lines of each product, in order, and whether reading broke off.
fn read(file: &[u8]) -> Result<(Vec<(u64, u64)>, bool), TestCaseError> {
    let Ok(products) = ProductRows::new(file, ImportOptions::default()) else {
        return Ok((Vec::new(), true));
    };
    let mut ranges = Vec::new();
    for product in products {
        match product {
            Ok(product) => {
                ranges.push((product.first_line, product.last_line));
                check_accepted(&product)?;
            }
            Err(ImportError::Refused(refused)) => {
                ranges.push((refused.first_line, refused.last_line));
                check_refused(&refused)?;
            }
            Err(ImportError::File(error)) => {
                prop_assert!(error.to_string().chars().count() <= MAX_MESSAGE_CHARS, "{}", error);
                return Ok((ranges, true));
            }
        }
    }
    Ok((ranges, false))
}

/// A refusal says where and what, in words that a terminal can show.
fn check_refused(refused: &RefusedProduct) -> Result<(), TestCaseError> {
    prop_assert!(!refused.errors.is_empty(), "{refused:?}");
    for issue in refused.errors.iter().chain(&refused.warnings) {
        prop_assert!(
            (refused.first_line..=refused.last_line).contains(&issue.line),
            "{issue} of {refused:?}"
        );
        // Only what is wrong with a row or product as a whole is at no column.
        match &issue.column {
            Some(column) => prop_assert!(COLUMNS.contains(&column.as_str()), "{issue}"),
            None => prop_assert!(
                matches!(
                    issue.rule,
                    Rule::RowShape
                        | Rule::EmptyRow
                        | Rule::TooMany
                        | Rule::VariantMissing
                        | Rule::VariantRepeated
                ),
                "{issue:?}"
            ),
        }
        prop_assert!(
            !issue.message.is_empty() && issue.message.chars().count() <= MAX_MESSAGE_CHARS,
            "{issue}"
        );
        prop_assert!(!issue.message.chars().any(char::is_control), "{:?}", issue.message);
    }
    Ok(())
}

/// What the reader lets pass, the catalogue takes: its rules are the same.
fn check_accepted(product: &ImportedProduct) -> Result<(), TestCaseError> {
    let request = to_request(product);
    prop_assert!(Handle::parse(&request.handle).is_ok(), "handle {:?}", request.handle);
    let image = |image: &contracts::shop::product::v1::Image| Image {
        url: image.url.clone(),
        alt_text: image.alt_text.clone(),
    };
    for change in [
        DetailChange::Name(request.name.clone()),
        DetailChange::Description(request.description.clone()),
        DetailChange::Brand(request.brand.clone()),
        DetailChange::CategoryPath(request.category_path.clone()),
        DetailChange::Supplier(request.supplier.clone()),
        DetailChange::Tags(request.tags.clone()),
        DetailChange::Images(request.images.iter().map(image).collect()),
    ] {
        prop_assert_eq!(change.violations(), []);
    }
    let variants = request.variants.iter().map(|variant| {
        let price = variant.price.as_ref().expect("every variant has a price");
        let currency = Currency::from_code(&price.currency_code).map_err(|_| "currency")?;
        Ok::<_, &str>(NewVariant {
            sku: Sku::parse(&variant.sku).map_err(|_| "sku")?,
            options: variant.options.iter().map(|o| (o.name.clone(), o.value.clone())).collect(),
            price: Price::new(price.minor_units, currency).map_err(|_| "price")?,
            barcode: variant.barcode.clone(),
        })
    });
    let variants = variants.collect::<Result<Vec<_>, _>>();
    prop_assert!(variants.is_ok(), "{:?}: {request:?}", variants.err());
    let assortment = Assortment::check(variants.unwrap());
    prop_assert!(assortment.is_ok(), "{:?}: {request:?}", assortment.err());
    Ok(())
}

#[test]
fn a_handle_that_the_catalogue_would_not_take_is_refused_with_its_line() {
    let file = b"Handle,Title,Price\na/b,Mug,1\ngood,Mug,1\n";
    let products: Vec<_> = ProductRows::new(&file[..], ImportOptions::default()).unwrap().collect();
    let [Err(ImportError::Refused(refused)), Ok(good)] = &products[..] else { panic!("{products:?}") };
    let issue = &refused.errors[0];
    assert_eq!((issue.line, issue.column.as_deref(), issue.rule), (2, Some("Handle"), Rule::HandleFormat));
    assert_eq!(good.handle, "good");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_row_is_of_exactly_one_product_that_is_accepted_or_refused(rows in rows()) {
        let (file, lines) = written(&rows);
        let (ranges, broke_off) = read(&file)?;
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0, "{:?} overlap", pair);
        }
        for line in lines {
            let covered = ranges.iter().filter(|(first, last)| (*first..=*last).contains(&line)).count();
            prop_assert!(covered == 1 || (broke_off && covered == 0), "line {} is in {} of {:?}", line, covered, ranges);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_to_their_end_or_to_an_error(
        header in prop::bool::ANY, bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(b",\"\n\r a0.".to_vec())], 0..300),
    ) {
        let header = if header { format!("{}\n", COLUMNS.join(",")).into_bytes() } else { Vec::new() };
        read(&[header, bytes].concat())?;
    }

    #[test]
    fn a_file_that_is_damaged_is_read_to_its_end_or_to_an_error(
        rows in rows(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), keep in any::<prop::sample::Index>(),
    ) {
        let (mut file, _) = written(&rows);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(keep.index(2 * file.len()).max(1));
        // Of another header nothing is known but that it is read or refused.
        if file.starts_with(COLUMNS.join(",").as_bytes()) {
            read(&file)?;
        } else if let Ok(products) = ProductRows::new(&file[..], ImportOptions::default()) {
            prop_assert!(products.count() <= rows.len() * 4_000);
        }
    }
}
