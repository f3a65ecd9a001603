//! Which column means what. Shopify has renamed nearly all columns once, and files of both generations are about;
//! the table lists both names of each. Names are compared without regard to case, blanks around them and a byte
//! order mark; unknown columns never stop an import, they are named in its summary.

use csv::ByteRecord;
use serde::Serialize;

use super::issue::FileError;
use super::limits::{MAX_COLUMN_NAME_CHARS, MAX_COLUMNS};
use super::text;

/// What the import reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Handle,
    Title,
    Body,
    Vendor,
    Category,
    Type,
    Tags,
    Published,
    Status,
    OptionName1,
    OptionName2,
    OptionName3,
    OptionValue1,
    OptionValue2,
    OptionValue3,
    Sku,
    Barcode,
    Price,
    Quantity,
    ImageUrl,
    ImagePosition,
    ImageAlt,
    VariantImage,
    Currency,
    Supplier,
    Attributes,
}

const FIELDS: usize = Field::Attributes as usize + 1;
pub(super) const OPTION_NAMES: [Field; 3] = [Field::OptionName1, Field::OptionName2, Field::OptionName3];
pub(super) const OPTION_VALUES: [Field; 3] = [Field::OptionValue1, Field::OptionValue2, Field::OptionValue3];

/// A column: what it is read as (nothing for those that only Shopify has a use for), and the names that the first
/// generation, the second and a few older exports give it.
type Column = (Option<Field>, &'static [&'static str]);

const COLUMNS: &[Column] = &[
    (Some(Field::Handle), &["Handle", "URL handle"]),
    (Some(Field::Title), &["Title"]),
    (Some(Field::Body), &["Body (HTML)", "Description"]),
    (Some(Field::Vendor), &["Vendor"]),
    (Some(Field::Category), &["Product Category", "Standardized Product Type", "Standard Product Type"]),
    (Some(Field::Type), &["Type", "Custom Product Type"]),
    (Some(Field::Tags), &["Tags"]),
    (Some(Field::Published), &["Published", "Published on online store"]),
    (Some(Field::Status), &["Status"]),
    (Some(Field::OptionName1), &["Option1 Name"]),
    (Some(Field::OptionName2), &["Option2 Name"]),
    (Some(Field::OptionName3), &["Option3 Name"]),
    (Some(Field::OptionValue1), &["Option1 Value"]),
    (Some(Field::OptionValue2), &["Option2 Value"]),
    (Some(Field::OptionValue3), &["Option3 Value"]),
    (Some(Field::Sku), &["Variant SKU", "SKU"]),
    (Some(Field::Barcode), &["Variant Barcode", "Barcode"]),
    (Some(Field::Price), &["Variant Price", "Price"]),
    (Some(Field::Quantity), &["Variant Inventory Qty", "Inventory quantity"]),
    (Some(Field::ImageUrl), &["Image Src", "Product image URL"]),
    (Some(Field::ImagePosition), &["Image Position"]),
    (Some(Field::ImageAlt), &["Image Alt Text"]),
    (Some(Field::VariantImage), &["Variant Image", "Variant image URL"]),
    // Ours; Shopify's format has none of them. A supplier may also come as a product metafield with the key `supplier`.
    (Some(Field::Currency), &["Currency"]),
    (Some(Field::Supplier), &["Supplier"]),
    (Some(Field::Attributes), &["Attributes (JSON)"]),
    // Shopify's, of no use here.
    (None, &["Variant Compare At Price", "Compare-at price"]),
    (None, &["Cost per item"]),
    (None, &["Variant Taxable", "Charge tax"]),
    (None, &["Variant Tax Code", "Tax code"]),
    (None, &["Variant Inventory Tracker", "Inventory tracker"]),
    (None, &["Variant Inventory Policy", "Continue selling when out of stock"]),
    (None, &["Variant Grams", "Weight value (grams)"]),
    (None, &["Variant Weight Unit", "Weight unit for display"]),
    (None, &["Variant Requires Shipping", "Requires shipping"]),
    (None, &["Variant Fulfillment Service", "Fulfillment service"]),
    (None, &["Option1 Linked To"]),
    (None, &["Option2 Linked To"]),
    (None, &["Option3 Linked To"]),
    (None, &["Unit Price Total Measure"]),
    (None, &["Unit Price Total Measure Unit"]),
    (None, &["Unit Price Base Measure"]),
    (None, &["Unit Price Base Measure Unit"]),
    (None, &["Gift Card"]),
    (None, &["SEO Title"]),
    (None, &["SEO Description"]),
    (None, &["Collection"]),
];

/// Groups of columns of no use here: one for each market, or one for each field of an advertisement.
const UNUSED_PREFIXES: &[&str] =
    &["Google Shopping /", "Included /", "Price /", "Compare At Price /", "Compare-at price /"];

/// A column of the file that is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoredColumn {
    /// As the header spells it.
    pub name: String,
    pub reason: IgnoredBecause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoredBecause {
    /// Part of Shopify's format, but products here have nothing of the kind.
    NotUsed,
    Metafield,
    Unknown,
}

/// Where each field stands in a row.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    places: [Option<usize>; FIELDS],
    pub ignored: Vec<IgnoredColumn>,
}

impl Columns {
    /// Reads the header line.
    pub fn from_header(header: &ByteRecord) -> Result<Self, FileError> {
        if matches!(header.get(0), Some([0xff, 0xfe, ..] | [0xfe, 0xff, ..])) {
            return Err(FileError::Utf16);
        }
        if header.len() > MAX_COLUMNS {
            return Err(FileError::TooManyColumns { found: header.len(), limit: MAX_COLUMNS });
        }
        let mut columns = Columns { names: Vec::new(), places: [None; FIELDS], ignored: Vec::new() };
        for (at, name) in header.iter().enumerate() {
            let name = std::str::from_utf8(name).map_err(|_| FileError::HeaderNotUtf8 { number: at + 1 })?;
            let name: String = text::line(name).chars().take(MAX_COLUMN_NAME_CHARS).collect();
            columns.place(at, &name)?;
            columns.names.push(name);
        }
        columns.require(&[Field::Title], header)?;
        columns.require(&[Field::Price], header)?;
        Ok(columns)
    }

    fn place(&mut self, at: usize, name: &str) -> Result<(), FileError> {
        let Some(field) = field_of(name) else {
            if !name.is_empty() {
                self.ignored.push(IgnoredColumn { name: name.to_owned(), reason: why_ignored(name) });
            }
            return Ok(());
        };
        match self.places[field as usize] {
            // Our own column counts more than a metafield, wherever it stands.
            Some(earlier)
                if field == Field::Supplier && is_metafield(name) != is_metafield(&self.names[earlier]) =>
            {
                if is_metafield(&self.names[earlier]) {
                    self.places[field as usize] = Some(at);
                }
                Ok(())
            }
            Some(earlier) => {
                Err(FileError::RepeatedColumn { first: self.names[earlier].clone(), second: name.to_owned() })
            }
            None => {
                self.places[field as usize] = Some(at);
                Ok(())
            }
        }
    }

    fn require(&self, fields: &[Field], header: &ByteRecord) -> Result<(), FileError> {
        let Some(field) = fields.iter().find(|field| !self.has(**field)) else { return Ok(()) };
        if let (1, Some(only)) = (header.len(), header.get(0)) {
            for (byte, found) in [(b';', "semicolons"), (b'\t', "tabs"), (b'|', "bars")] {
                if only.contains(&byte) {
                    return Err(FileError::Delimiter { found });
                }
            }
        }
        let names: Vec<String> = names_of(*field).iter().map(|name| format!("\"{name}\"")).collect();
        Err(FileError::MissingColumn { wanted: names.join(" or ") })
    }

    pub fn has(&self, field: Field) -> bool {
        self.places[field as usize].is_some()
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether suppliers have the column that is ours, not a metafield: then an empty cell says that there is none.
    pub fn has_own_supplier(&self) -> bool {
        self.has(Field::Supplier) && !is_metafield(self.name(Field::Supplier))
    }

    /// The name as the header spells it, or the usual one if the file has no such column.
    pub fn name(&self, field: Field) -> &str {
        self.places[field as usize].map_or(names_of(field)[0], |at| &self.names[at])
    }

    /// The cell; none if the file has no such column or the row is too short.
    pub fn cell<'r>(&self, field: Field, record: &'r ByteRecord) -> Option<&'r [u8]> {
        record.get(self.places[field as usize]?)
    }
}

/// The name under which a field is written.
pub(super) fn written_name(field: Field) -> &'static str {
    names_of(field)[0]
}

fn names_of(field: Field) -> &'static [&'static str] {
    COLUMNS.iter().find(|(of, _)| *of == Some(field)).map_or(&[""], |(_, names)| names)
}

fn field_of(name: &str) -> Option<Field> {
    if is_supplier_metafield(name) {
        return Some(Field::Supplier);
    }
    COLUMNS
        .iter()
        .find(|(_, names)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
        .and_then(|(field, _)| *field)
}

fn why_ignored(name: &str) -> IgnoredBecause {
    let starts_with =
        |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let known =
        COLUMNS.iter().flat_map(|(_, names)| names.iter()).any(|known| known.eq_ignore_ascii_case(name));
    if is_metafield(name) {
        IgnoredBecause::Metafield
    } else if known || UNUSED_PREFIXES.iter().any(starts_with) {
        IgnoredBecause::NotUsed
    } else {
        IgnoredBecause::Unknown
    }
}

/// `Care (product.metafields.custom.care)` as Shopify writes it.
fn is_metafield(name: &str) -> bool {
    name.contains(".metafields.") && name.ends_with(')')
}

fn is_supplier_metafield(name: &str) -> bool {
    let key = name.rsplit_once("(product.metafields.").and_then(|(_, path)| path.strip_suffix(')'));
    key.and_then(|path| path.rsplit_once('.')).is_some_and(|(_, key)| key.eq_ignore_ascii_case("supplier"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &[&str]) -> Result<Columns, FileError> {
        Columns::from_header(&ByteRecord::from(header.to_vec()))
    }

    #[test]
    fn every_field_has_its_names_in_the_table_and_no_name_stands_there_twice() {
        let mut names: Vec<String> =
            COLUMNS.iter().flat_map(|(_, names)| names.iter()).map(|name| name.to_lowercase()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(COLUMNS.iter().filter(|(field, _)| field.is_some()).count(), FIELDS);
    }

    #[test]
    fn both_generations_and_padded_names_of_any_case_are_understood() {
        let first =
            columns(&["\u{feff}Handle", " Title ", "Variant SKU", "VARIANT PRICE", "Image Src"]).unwrap();
        let second = columns(&["URL handle", "Title", "SKU\t", "Price", "Product image URL"]).unwrap();
        for read in [&first, &second] {
            for (at, field) in
                [Field::Handle, Field::Title, Field::Sku, Field::Price, Field::ImageUrl].iter().enumerate()
            {
                assert_eq!(read.places[*field as usize], Some(at), "{field:?}");
            }
            assert!(read.ignored.is_empty());
        }
        assert_eq!(first.name(Field::Price), "VARIANT PRICE");
        assert_eq!(second.name(Field::Quantity), "Variant Inventory Qty");
    }

    #[test]
    fn columns_that_are_not_read_are_listed_with_the_reason() {
        let read = columns(&[
            "Title",
            "Price",
            "",
            "Variant Grams",
            "Google Shopping / MPN",
            "Price / South America",
            "Care (product.metafields.custom.care)",
            "Shelf",
        ])
        .unwrap();
        let reasons: Vec<IgnoredBecause> = read.ignored.iter().map(|column| column.reason).collect();
        use IgnoredBecause::{Metafield, NotUsed, Unknown};
        assert_eq!(reasons, [NotUsed, NotUsed, NotUsed, Metafield, Unknown]);
    }

    #[test]
    fn our_supplier_column_counts_more_than_a_metafield_wherever_it_stands() {
        let metafield = "Supplier (product.metafields.custom.supplier)";
        for (header, place, own) in [
            (vec!["Title", "Price", metafield], 2, false),
            (vec!["Title", "Price", metafield, "Supplier"], 3, true),
            (vec!["Title", "Price", "Supplier", metafield], 2, true),
        ] {
            let columns = columns(&header).unwrap();
            assert_eq!(columns.places[Field::Supplier as usize], Some(place), "{header:?}");
            assert_eq!(columns.has_own_supplier(), own, "{header:?}");
        }
        assert!(!columns(&["Title", "Price"]).unwrap().has_own_supplier());
    }

    #[test]
    fn a_header_that_cannot_be_read_says_what_to_do() {
        let message = |header: &[&str]| columns(header).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            message(&["Handle;Title;Variant Price"]),
            "the columns are separated by semicolons: save the file with commas"
        );
        assert_eq!(message(&["Handle", "Title"]), "the header has no column \"Variant Price\" or \"Price\"");
        assert_eq!(
            message(&["Title", "Price", "SKU", "Variant SKU"]),
            "the columns \"SKU\" and \"Variant SKU\" mean the same: remove one"
        );
        let utf16 = ByteRecord::from(vec![vec![0xff, 0xfe, b'H', 0]]);
        assert!(matches!(Columns::from_header(&utf16), Err(FileError::Utf16)));
        let latin1 = ByteRecord::from(vec![b"Title".to_vec(), b"Gr\xf6\xdfe".to_vec()]);
        assert!(matches!(Columns::from_header(&latin1), Err(FileError::HeaderNotUtf8 { number: 2 })));
    }
}
