//! What search knows of a product: its words with the weight of the place where they stand, its terms, and what results
//! are sorted by. A document is made of the product alone, so that anybody can make it again and compare.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::terms::{Band, Term};
use super::words::{fold, stem, without_markup, words};
use crate::domain::Currency;

/// Stored with every document. A change of what documents hold raises it, and those of another number are made again.
pub const FORMAT: i16 = 1;
/// Bytes of distinct words in a document; those that matter most come first, and what is behind is not found.
const MAX_WORD_BYTES: usize = 128 * 1024;
/// Bytes of a description that are read for words.
const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;
/// Bytes of the key that products are sorted by their name with.
pub const MAX_NAME_KEY_BYTES: usize = 400;
/// Words of a product that are suggested and that typing errors are compared with.
const MAX_VOCABULARY: usize = 200;
/// Shorter words are not suggested.
const MIN_VOCABULARY_CHARS: usize = 3;
/// Stands before words of all places but descriptions, which are indexed a second time so: what a product is, not what is
/// said about it.
pub const MARK: char = '=';

/// Everything that a document is made of, for the products of `$1`.
pub const SELECT_SOURCES: &str = "SELECT p.product_id, p.name, p.description, p.brand, p.category_path, p.supplier, \
        p.attributes, p.tags, p.status, p.options, p.currency, \
        octet_length(p.description) + (p.variant_count + p.scheduled_count) * 256 AS size, \
        (SELECT coalesce(jsonb_agg(jsonb_build_object('sku', v.sku, 'values', v.option_values, 'price', v.price) \
                    ORDER BY v.ordinal), '[]') FROM variants v WHERE v.product_id = p.product_id) AS variants \
   FROM products p WHERE p.product_id = ANY($1) ORDER BY p.product_id";

/// A product as the tables have it.
#[derive(Clone, Debug)]
pub struct Source {
    pub product_id: Uuid,
    pub name: String,
    pub description: String,
    pub brand: String,
    pub category_path: Vec<String>,
    pub supplier: String,
    pub attributes: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub status: String,
    pub options: Vec<String>,
    pub currency: Currency,
    /// About how many bytes a reply with it has.
    pub size: i32,
    pub variants: Vec<SourceVariant>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SourceVariant {
    pub sku: String,
    pub values: Vec<String>,
    pub price: i64,
}

impl Source {
    /// From a row of [`SELECT_SOURCES`].
    pub fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let currency = Currency::from_code(row.try_get("currency")?);
        Ok(Self {
            product_id: row.try_get("product_id")?,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            brand: row.try_get("brand")?,
            category_path: row.try_get::<Json<_>, _>("category_path")?.0,
            supplier: row.try_get("supplier")?,
            attributes: row.try_get::<Json<_>, _>("attributes")?.0,
            tags: row.try_get::<Json<_>, _>("tags")?.0,
            status: row.try_get("status")?,
            options: row.try_get::<Json<_>, _>("options")?.0,
            currency: currency
                .map_err(|_| sqlx::Error::Decode("a product has an unknown currency".into()))?,
            size: row.try_get("size")?,
            variants: row.try_get::<Json<_>, _>("variants")?.0,
        })
    }
}

/// A row of the table `product_search`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    pub product_id: Uuid,
    pub format: i16,
    pub status: String,
    /// A tsvector as text.
    pub words: String,
    pub terms: Vec<i64>,
    /// Words that may be suggested, folded.
    pub vocabulary: Vec<String>,
    /// Distinct, in order.
    pub prices: Vec<i64>,
    pub lowest_price: i64,
    pub currency: &'static str,
    pub name_key: String,
    pub size: i32,
}

/// Weights of places, the heaviest first: the name; brand and SKUs; categories, tags and options; the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    A,
    B,
    C,
    D,
}

impl Weight {
    fn letter(self) -> char {
        match self {
            Self::A => 'A',
            Self::B => 'B',
            Self::C => 'C',
            Self::D => 'D',
        }
    }
}

impl Document {
    /// The document, and the terms behind its numbers.
    pub fn of(source: &Source) -> (Self, Vec<Term>) {
        let mut prices: Vec<i64> = source.variants.iter().map(|variant| variant.price).collect();
        prices.sort_unstable();
        prices.dedup();
        let terms: Vec<Term> = terms(source, &prices).into_iter().collect();
        let mut ids: Vec<i64> = terms.iter().map(|term| term.id().0).collect();
        ids.sort_unstable();
        let document = Self {
            product_id: source.product_id,
            format: FORMAT,
            status: source.status.clone(),
            words: indexed_words(source),
            terms: ids,
            vocabulary: vocabulary(source),
            lowest_price: prices.first().copied().unwrap_or(0),
            prices,
            currency: source.currency.code(),
            name_key: name_key(&fold(&source.name)).to_owned(),
            size: source.size,
        };
        (document, terms)
    }
}

/// The beginning of a folded name that products are sorted by.
pub fn name_key(folded: &str) -> &str {
    &folded[..folded.floor_char_boundary(MAX_NAME_KEY_BYTES)]
}

fn terms(source: &Source, prices: &[i64]) -> BTreeSet<Term> {
    let mut terms = BTreeSet::from([Term::any()]);
    if !source.brand.is_empty() {
        terms.insert(Term::brand(&source.brand));
    }
    if !source.supplier.is_empty() {
        terms.insert(Term::supplier(&source.supplier));
    }
    terms.extend(Term::categories(&source.category_path));
    for variant in &source.variants {
        let options = source.options.iter().zip(&variant.values);
        terms.extend(options.map(|(name, value)| Term::option(name, value)));
    }
    terms.extend(prices.iter().map(|price| Term::band(source.currency, Band::of(*price))));
    terms
}

/// The words of a place, the places that weigh most first.
fn places(source: &Source) -> impl Iterator<Item = (Weight, String)> {
    let values = source.variants.iter().flat_map(|variant| &variant.values);
    let described = &source.description[..source.description.floor_char_boundary(MAX_DESCRIPTION_BYTES)];
    let middle = source.category_path.iter().chain(&source.tags).chain(values);
    let named = [(Weight::A, fold(&source.name)), (Weight::B, fold(&source.brand))];
    let skus = source.variants.iter().map(|variant| (Weight::B, fold(&variant.sku)));
    let last = source.attributes.values().chain([&source.supplier]).map(|text| (Weight::D, fold(text)));
    (named.into_iter())
        .chain(middle.map(|text| (Weight::C, fold(text))))
        .chain(skus)
        .chain(last)
        .chain([(Weight::D, fold(&without_markup(described)))])
}

/// Every word and its stem with the highest of their weights. Positions are all the same, since only weights are asked.
fn indexed_words(source: &Source) -> String {
    let mut weights: BTreeMap<String, Weight> = BTreeMap::new();
    let mut left = MAX_WORD_BYTES;
    let mut add = |word: String, weight: Weight| {
        let Some(rest) = left.checked_sub(word.len()) else { return };
        weights.entry(word).and_modify(|known| *known = weight.min(*known)).or_insert_with(|| {
            left = rest;
            weight
        });
    };
    for (weight, text) in places(source) {
        for word in words(&text) {
            for form in forms(word) {
                if weight < Weight::D {
                    add(format!("{MARK}{form}"), weight);
                }
                add(form, weight);
            }
        }
    }
    // Letters and digits alone, and the mark: nothing to escape.
    let words = weights.into_iter().map(|(word, weight)| format!("'{word}':1{}", weight.letter()));
    words.collect::<Vec<_>>().join(" ")
}

/// A word as it is written, and its stem if that is another.
pub fn forms(word: &str) -> impl Iterator<Item = String> {
    let stem = stem(word);
    let other = (stem != word).then_some(stem);
    std::iter::once(word.to_owned()).chain(other)
}

/// Words without digits of the places that shoppers see first, distinct and in order.
fn vocabulary(source: &Source) -> Vec<String> {
    let values = source.variants.iter().flat_map(|variant| &variant.values);
    let texts = [&source.name, &source.brand].into_iter().chain(&source.category_path).chain(&source.tags);
    let mut found = BTreeSet::new();
    for text in texts.chain(values) {
        let folded = fold(text);
        let known = |word: &&str| {
            word.chars().count() >= MIN_VOCABULARY_CHARS && !word.contains(|c: char| c.is_numeric())
        };
        for word in words(&folded).filter(known) {
            if found.len() == MAX_VOCABULARY {
                return found.into_iter().collect();
            }
            found.insert(word.to_owned());
        }
    }
    found.into_iter().collect()
}
