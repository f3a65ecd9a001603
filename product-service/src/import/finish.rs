//! The rules that need a whole product: options, SKUs, status, category. What comes out holds them all, or is refused
//! with every reason.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::columns::{Columns, Field, OPTION_NAMES, OPTION_VALUES};
use super::draft::{ProductDraft, VariantDraft};
use super::issue::{RefusedProduct, Rule, quoted};
use super::limits::{MAX_CATEGORY_DEPTH, MAX_NAME_CHARS, MAX_TAGS};
use super::{ImportOptions, ImportedProduct, ImportedVariant, ProductStatus, sku};
use crate::domain::Handle;
use crate::domain::details::DetailChange;

/// What Shopify calls the option of a product that has none, and the value of its only variant.
const NO_OPTION: &str = "Title";
const NO_OPTION_VALUE: &str = "Default Title";

/// Whether an only option of an only variant is how Shopify writes that there is none.
pub(super) fn means_no_option(name: &str, value: &str) -> bool {
    name.eq_ignore_ascii_case(NO_OPTION) && value.eq_ignore_ascii_case(NO_OPTION_VALUE)
}

/// Where handles and SKUs have stood in this file: 24 bytes for each, whatever its length.
#[derive(Default)]
pub(super) struct Seen(HashMap<[u8; 16], u64>);

impl Seen {
    /// The line on which the text stood first, if it is not now.
    pub fn insert(&mut self, text: &str, line: u64) -> Option<u64> {
        let digest = Sha256::digest(text.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        let first = *self.0.entry(key).or_insert(line);
        (first != line).then_some(first)
    }
}

impl ProductDraft {
    /// A handle keeps to the catalogue's rule, or the shop would refuse the product later and without its line.
    fn check_handle(&mut self, columns: &Columns) {
        // One that is missing has been reported.
        if !self.handle.is_empty()
            && let Err(why) = Handle::parse(&self.handle)
        {
            let message = format!("{} {why}", quoted(&self.handle));
            let column = Some(columns.name(Field::Handle));
            self.errors.push(self.first_line, column, Rule::HandleFormat, message);
        }
    }

    pub fn finish(
        mut self,
        columns: &Columns,
        options: &ImportOptions,
        skus: &mut Seen,
    ) -> Result<ImportedProduct, RefusedProduct> {
        let product = if let Some(line) = self.stood_before_at {
            let message =
                format!("the handle stood at line {line}: the rows of a product must stand together");
            self.errors.push(
                self.first_line,
                Some(columns.name(Field::Handle)),
                Rule::HandleReappears,
                message,
            );
            None
        } else {
            self.check_handle(columns);
            Some(self.product(columns, options, skus))
        };
        match product {
            Some(product) if self.errors.is_empty() => {
                Ok(ImportedProduct { warnings: self.warnings.list, ..product })
            }
            _ => Err(RefusedProduct {
                handle: self.handle,
                first_line: self.first_line,
                last_line: self.last_line,
                errors: self.errors.list,
                more_errors: self.errors.more,
                warnings: self.warnings.list,
            }),
        }
    }

    fn product(&mut self, columns: &Columns, options: &ImportOptions, skus: &mut Seen) -> ImportedProduct {
        if self.title.is_none() {
            let name = Some(columns.name(Field::Title));
            self.errors.push(
                self.first_line,
                name,
                Rule::TitleMissing,
                "a product needs a title in its first row",
            );
        }
        if self.variants.is_empty() {
            let name = Some(columns.name(Field::Price));
            self.errors.push(
                self.first_line,
                name,
                Rule::VariantMissing,
                "no row of the product has a price",
            );
        }
        let used = self.used_options(columns);
        let category_path = self.category_path(columns);
        let tags = self.tags(columns);
        let attributes = self.attributes(columns);
        let variants = self.variants(&used, columns, options, skus);
        let mut images = std::mem::take(&mut self.images);
        images.sort_by_key(|(position, _)| *position);
        let brand = self.brand.take().unwrap_or_default();
        // Shopify's files know no supplier, and the vendor is the best guess; our own column leaves nothing to guess.
        let guessed = if columns.has_own_supplier() { String::new() } else { brand.clone() };
        let supplier = self.supplier.take().unwrap_or(guessed);
        ImportedProduct {
            handle: self.handle.clone(),
            title: self.title.take().unwrap_or_default(),
            body_html: self.body_html.take().unwrap_or_default(),
            supplier,
            brand,
            category_path,
            tags,
            attributes,
            status: self.status(),
            options: used.iter().map(|at| self.option_names[*at].clone().unwrap_or_default()).collect(),
            variants,
            images: images.into_iter().map(|(_, image)| image).collect(),
            first_line: self.first_line,
            last_line: self.last_line,
            warnings: Vec::new(),
        }
    }

    /// Active, unless the file says otherwise or does not show the product.
    fn status(&self) -> ProductStatus {
        match self.status {
            None | Some(ProductStatus::Active) if self.published == Some(false) => ProductStatus::Draft,
            status => status.unwrap_or(ProductStatus::Active),
        }
    }

    /// Which of the three options the product has. Shopify writes the option `Title` with the value `Default Title`
    /// for a product that has none.
    fn used_options(&mut self, columns: &Columns) -> Vec<usize> {
        let first_with = |at: usize| self.variants.iter().find(|variant| variant.values[at].is_some());
        let used: Vec<usize> = (0..3).filter(|at| first_with(*at).is_some()).collect();
        if let ([0], [only]) = (used.as_slice(), self.variants.as_slice())
            && !self.has_exact_option
            && means_no_option(
                self.option_names[0].as_deref().unwrap_or(NO_OPTION),
                only.values[0].as_deref().unwrap_or(NO_OPTION_VALUE),
            )
        {
            return Vec::new();
        }
        for (at, field) in OPTION_NAMES.into_iter().enumerate() {
            let (name, column) = (&self.option_names[at], columns.name(field));
            match (name, first_with(at)) {
                (None, Some(variant)) => {
                    let message = "the option has values but no name";
                    self.errors.push(variant.line, Some(column), Rule::OptionNameMissing, message);
                }
                (Some(name), None) if !name.eq_ignore_ascii_case(NO_OPTION) => {
                    let message = format!("no variant has a value for {}, it is left out", quoted(name));
                    self.warnings.push(self.first_line, Some(column), Rule::OptionUnused, message);
                }
                (Some(name), Some(variant))
                    if self.option_names[..at].iter().flatten().any(|other| other == name) =>
                {
                    let message = format!("two options are named {}", quoted(name));
                    self.errors.push(variant.line, Some(column), Rule::OptionNameRepeated, message);
                }
                _ => {}
            }
        }
        used
    }

    fn category_path(&mut self, columns: &Columns) -> Vec<String> {
        let (path, field) = match (self.category.take(), self.product_type.take()) {
            (Some(category), _) => (category, Field::Category),
            (None, product_type) => (product_type.unwrap_or_default(), Field::Type),
        };
        self.check_list(&path, MAX_CATEGORY_DEPTH, "category levels", columns.name(field));
        path
    }

    fn tags(&mut self, columns: &Columns) -> Vec<String> {
        let tags = self.tags.take().unwrap_or_default();
        self.check_list(&tags, MAX_TAGS, "tags", columns.name(Field::Tags));
        tags
    }

    fn attributes(&mut self, columns: &Columns) -> BTreeMap<String, String> {
        let attributes = self.attributes.take().unwrap_or_default();
        let change = DetailChange::Attributes(attributes.clone());
        for (field, why) in change.violations() {
            let name = Some(columns.name(Field::Attributes));
            let message = format!("{} {why}", quoted(&field));
            self.errors.push(self.first_line, name, Rule::AttributesFormat, message);
        }
        attributes
    }

    fn check_list(&mut self, items: &[String], limit: usize, what: &str, column: &str) {
        if items.len() > limit {
            let message = format!("a product has at most {limit} {what}");
            self.errors.push(self.first_line, Some(column), Rule::TooMany, message);
        }
        if let Some(item) = items.iter().find(|item| item.chars().count() > MAX_NAME_CHARS) {
            let message = format!("{} is longer than {MAX_NAME_CHARS} characters", quoted(item));
            self.errors.push(self.first_line, Some(column), Rule::TooLong, message);
        }
    }

    fn variants(
        &mut self,
        used: &[usize],
        columns: &Columns,
        options: &ImportOptions,
        skus: &mut Seen,
    ) -> Vec<ImportedVariant> {
        let currency = self.currency.unwrap_or(options.default_currency);
        let mut lines_of_values: HashMap<Vec<String>, u64> = HashMap::new();
        let mut own_skus: HashSet<String> =
            self.variants.iter().filter_map(|variant| variant.sku.clone()).collect();
        let mut variants = Vec::with_capacity(self.variants.len());
        for variant in std::mem::take(&mut self.variants) {
            let Some(option_values) = self.option_values(&variant, used, columns) else { continue };
            if let Some(line) = lines_of_values.get(&option_values) {
                let message = format!("the variant at line {line} has the same option values");
                let name = Some(columns.name(Field::OptionValue1));
                self.errors.push(variant.line, name, Rule::VariantRepeated, message);
                continue;
            }
            lines_of_values.insert(option_values.clone(), variant.line);
            let sku_was_derived = variant.sku.is_none();
            let sku = variant.sku.unwrap_or_else(|| {
                sku::derive(&self.handle, &option_values, |plain| own_skus.contains(plain))
            });
            own_skus.insert(sku.clone());
            if let Some(line) = skus.insert(&sku, variant.line) {
                let message =
                    format!("{} stands at line {line} already: a SKU is unique in the shop", quoted(&sku));
                self.errors.push(variant.line, Some(columns.name(Field::Sku)), Rule::SkuRepeated, message);
            }
            let VariantDraft { line, price_minor, barcode, quantity, image, .. } = variant;
            variants.push(ImportedVariant {
                sku,
                sku_was_derived,
                option_values,
                price_minor,
                currency,
                barcode,
                quantity,
                image,
                line,
            });
        }
        variants
    }

    /// The values of the options that the product has; none, and an error, if one is missing.
    fn option_values(
        &mut self,
        variant: &VariantDraft,
        used: &[usize],
        columns: &Columns,
    ) -> Option<Vec<String>> {
        let mut values = Vec::with_capacity(used.len());
        for at in used {
            match &variant.values[*at] {
                Some(value) => values.push(value.clone()),
                None => {
                    let name = Some(columns.name(OPTION_VALUES[*at]));
                    let message = "other variants of the product have a value here";
                    self.errors.push(variant.line, name, Rule::OptionValueMissing, message);
                }
            }
        }
        (values.len() == used.len()).then_some(values)
    }
}
