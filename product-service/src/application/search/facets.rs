//! Counts: how many products a search finds, and how many it would find with each further choice. A facet in which
//! something is chosen already is counted without that choice, so that every count is the length of the list that its
//! value leads to.
//!
//! Up to [`MAX_COUNTED`] products are looked at; their terms come as one value and are counted here, which costs a tenth
//! of counting them in the database. Where nothing restricts what is counted, the counts of all active products are kept
//! in `search_terms`.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, QueryBuilder, Row};

use super::conditions::{Conditions, Group, IN_STOCK};
use super::order::{FirstPage, Found};
use super::reading::Reading;
use super::terms::{Band, Term, TermId, TermKind};
use super::{MAX_COUNTED, MAX_FACET_VALUES, MAX_OPTION_FACETS};
use crate::domain::product::ProductStatus;

/// Products that are asked whether one of their variants is in stock, which is two more tables for each.
const MAX_STOCK_COUNTED: usize = 100;
/// Values of options that are looked up, those of most products.
const MAX_OPTION_TERMS: usize = 1_000;
/// In place of the number of a facet: the row is a product.
const PAGE: i32 = -1;

/// A number of products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub products: u64,
    /// There are more, and nobody counted them.
    pub at_least: bool,
}

/// The choices of one facet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueFacet {
    /// Those of most products first.
    pub values: Vec<(String, u64)>,
    /// All counts are "at least".
    pub at_least: bool,
}

/// The values of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFacet {
    pub name: String,
    pub facet: ValueFacet,
}

/// Products with a price in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBand {
    pub currency: String,
    pub band: Band,
    pub products: u64,
}

/// All facets of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    pub brands: ValueFacet,
    pub categories: ValueFacet,
    pub options: Vec<OptionFacet>,
    /// The cheapest first.
    pub prices: Vec<PriceBand>,
    pub prices_at_least: bool,
    pub in_stock: Counted,
}

/// What was counted.
pub(super) struct Count {
    /// With all conditions.
    main: Scan,
    /// Without those of a facet.
    others: Vec<(Group, Scan)>,
    in_stock: Counted,
    /// The first page of what is few, where that was counted one by one.
    page: Option<Vec<Found>>,
}

#[derive(Default)]
struct Scan {
    total: Counted,
    terms: HashMap<i64, u64>,
}

impl Count {
    pub async fn take(
        connection: &mut PgConnection,
        conditions: &Conditions,
        reading: &Reading,
        status: ProductStatus,
        page: FirstPage,
    ) -> Result<Self, sqlx::Error> {
        // What is in stock is found in the list that is narrowed to it.
        let facets = conditions.groups().filter(|group| **group != Group::Stock);
        let wanted: Vec<Option<&Group>> = std::iter::once(None).chain(facets.map(Some)).collect();
        let is_kept = |group: Option<&Group>| {
            status == ProductStatus::Active && reading.is_empty() && conditions.is_empty_without(group)
        };
        let (kept, counted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|group| is_kept(*group));
        let mut main = None;
        let mut others = Vec::new();
        let mut in_stock = None;
        let mut products = Vec::new();
        let narrowed = conditions.groups().any(|group| *group == Group::Stock);
        for group in kept {
            let scan = kept_counts(connection, group).await?;
            match group {
                Some(group) => others.push((group.clone(), scan)),
                None => main = Some(scan),
            }
        }
        if !counted.is_empty() {
            let mut sql = counting(conditions, reading, &counted, !narrowed, page);
            for row in sql.build().fetch_all(&mut *connection).await? {
                let number: i32 = row.try_get("scan")?;
                if number == PAGE {
                    products.push(page.found(&row)?);
                    continue;
                }
                let group = usize::try_from(number).ok().and_then(|number| counted.get(number)).copied();
                let scan = Scan::of(&row)?;
                match group.flatten() {
                    Some(group) => others.push((group.clone(), scan)),
                    None => {
                        let products = row.try_get::<i64, _>("stocked")?.unsigned_abs();
                        let at_least = scan.total.products > MAX_STOCK_COUNTED as u64;
                        in_stock = Some(Counted { products, at_least });
                        main = Some(scan);
                    }
                }
            }
        }
        let main: Scan = main.unwrap_or_default();
        // What is kept was not read one by one, and of what is many no page came along.
        let page = (in_stock.is_some() && !main.total.at_least).then_some(products);
        let in_stock = match in_stock {
            _ if narrowed => main.total,
            Some(counted) => counted,
            None => stocked_newest(connection, main.total).await?,
        };
        Ok(Self { main, others, in_stock, page })
    }

    /// The first page, if it was found with the counts.
    pub fn take_page(&mut self) -> Option<Vec<Found>> {
        self.page.take()
    }

    pub fn total(&self) -> Counted {
        self.main.total
    }

    /// Whether nothing was found, with the conditions of any facet left out either.
    pub fn is_empty(&self) -> bool {
        self.main.total.products == 0 && self.others.iter().all(|(_, scan)| scan.total.products == 0)
    }

    fn of(&self, group: &Group) -> &Scan {
        self.others.iter().find(|(other, _)| other == group).map_or(&self.main, |(_, scan)| scan)
    }

    pub async fn into_facets(
        self,
        connection: &mut PgConnection,
        conditions: &Conditions,
    ) -> Result<Facets, sqlx::Error> {
        let brands = self.of(&Group::Brand).most(TermKind::Brand, MAX_FACET_VALUES);
        let categories = self.of(&Group::Category).most(TermKind::Category, MAX_FACET_VALUES);
        let prices = self.of(&Group::Price).most(TermKind::Band, MAX_FACET_VALUES);
        let chosen: Vec<&Group> =
            conditions.groups().filter(|group| matches!(group, Group::Option(_))).collect();
        let mut options = self.main.most(TermKind::Option, MAX_OPTION_TERMS);
        let mut of_chosen = Vec::new();
        for group in &chosen {
            of_chosen.push(self.of(group).most(TermKind::Option, MAX_OPTION_TERMS));
        }
        let mut all: Vec<i64> = [&brands, &categories, &prices, &options]
            .into_iter()
            .chain(&of_chosen)
            .flatten()
            .map(|(id, _)| *id)
            .collect();
        all.sort_unstable();
        all.dedup();
        let known = values(connection, &all).await?;

        let value = |(id, products): &(i64, u64)| Some((known.get(id)?.value.clone(), *products));
        let facet = |found: &[(i64, u64)], group: &Group| ValueFacet {
            values: most_first(found.iter().filter_map(value).collect()),
            at_least: self.of(group).total.at_least,
        };
        let named = |found: &[(i64, u64)]| {
            let mut named: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
            for (id, products) in found {
                if let Some((name, value)) = known.get(id).and_then(Term::as_option) {
                    named.entry(name.to_owned()).or_default().push((value.to_owned(), *products));
                }
            }
            named
        };
        let is_chosen =
            |name: &str| chosen.iter().any(|group| matches!(group, Group::Option(of) if of == name));
        options.retain(|(id, _)| {
            known.get(id).and_then(Term::as_option).is_some_and(|(name, _)| !is_chosen(name))
        });
        let mut by_option: Vec<OptionFacet> = Vec::new();
        for (name, values) in named(&options) {
            let facet = ValueFacet { values: most_first(values), at_least: self.main.total.at_least };
            by_option.push(OptionFacet { name, facet });
        }
        by_option
            .sort_by_key(|option| std::cmp::Reverse(option.facet.values.first().map(|(_, count)| *count)));
        for (group, found) in chosen.iter().zip(&of_chosen) {
            let Group::Option(name) = group else { continue };
            let values = named(found).remove(name).unwrap_or_default();
            let facet = ValueFacet { values: most_first(values), at_least: self.of(group).total.at_least };
            by_option.insert(0, OptionFacet { name: name.clone(), facet });
        }
        by_option.truncate(MAX_OPTION_FACETS);
        let mut bands: Vec<PriceBand> = prices
            .iter()
            .filter_map(|(id, products)| {
                let (currency, band) = known.get(id)?.as_band()?;
                Some(PriceBand { currency: currency.to_owned(), band, products: *products })
            })
            .collect();
        bands.sort_by(|one, other| (&one.currency, one.band).cmp(&(&other.currency, other.band)));
        Ok(Facets {
            brands: facet(&brands, &Group::Brand),
            categories: facet(&categories, &Group::Category),
            options: by_option,
            prices: bands,
            prices_at_least: self.of(&Group::Price).total.at_least,
            in_stock: self.in_stock,
        })
    }
}

/// Most products first, by value among equals.
fn most_first(mut values: Vec<(String, u64)>) -> Vec<(String, u64)> {
    values.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    values.truncate(MAX_FACET_VALUES);
    values
}

impl Scan {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let found = row.try_get::<i64, _>("products")?.unsigned_abs();
        let limit = MAX_COUNTED as u64;
        let total = Counted { products: found.min(limit), at_least: found > limit };
        let terms = counted_terms(row.try_get("terms")?)
            .ok_or_else(|| sqlx::Error::Decode("terms are not as PostgreSQL sends them".into()))?;
        Ok(Self { total, terms })
    }

    /// The terms of a kind that most products have.
    fn most(&self, kind: TermKind, limit: usize) -> Vec<(i64, u64)> {
        let of_kind = self.terms.iter().filter(|(id, _)| TermId(**id).kind() == Some(kind));
        let mut found: Vec<(i64, u64)> = of_kind.map(|(id, products)| (*id, *products)).collect();
        found.sort_unstable_by_key(|(id, products)| (std::cmp::Reverse(*products), *id));
        found.truncate(limit);
        found
    }
}

/// One row for each facet that is counted, the number of which it is among `groups`, and one with [`PAGE`] for each
/// product of the first page if few are found in all.
fn counting(
    conditions: &Conditions,
    reading: &Reading,
    groups: &[Option<&Group>],
    with_stock: bool,
    page: FirstPage,
) -> QueryBuilder<sqlx::Postgres> {
    let mut sql = QueryBuilder::new("");
    if groups.contains(&None) {
        sql.push("WITH found AS MATERIALIZED (SELECT s.product_id, s.terms").push(page.needs());
        sql.push(" FROM product_search s");
        conditions.push(&mut sql, reading);
        sql.push(" LIMIT ").push(MAX_COUNTED + 1).push(") ");
    }
    for (number, group) in groups.iter().enumerate() {
        if number > 0 {
            sql.push(" UNION ALL ");
        }
        sql.push("SELECT ").push(number).push("::integer AS scan, count(*) AS products, ");
        if with_stock && group.is_none() {
            sql.push("(SELECT count(*) FROM (SELECT product_id FROM found LIMIT ").push(MAX_STOCK_COUNTED);
            sql.push(") s WHERE ").push(IN_STOCK).push(") AS stocked");
        } else {
            sql.push("0::bigint AS stocked");
        }
        sql.push(", coalesce(string_agg(array_send(s.terms), ''), '') AS terms").push(FirstPage::NOTHING);
        if group.is_none() {
            sql.push(" FROM found s");
        } else {
            sql.push(" FROM (SELECT s.terms FROM product_search s");
            conditions.push_without(&mut sql, reading, *group);
            sql.push(" LIMIT ").push(MAX_COUNTED + 1).push(") s");
        }
    }
    if groups.contains(&None) {
        sql.push(" UNION ALL (SELECT ").push(PAGE).push(", 0, 0, ''::bytea");
        page.push(&mut sql, reading, "found");
        sql.push(" WHERE (SELECT count(*) FROM found) <= ").push(MAX_COUNTED);
        page.push_end(&mut sql);
        sql.push(")");
    }
    sql
}

/// How often each term occurs in arrays of bigint that were sent one after the other.
fn counted_terms(mut sent: &[u8]) -> Option<HashMap<i64, u64>> {
    let mut counts = HashMap::new();
    while !sent.is_empty() {
        let dimensions = take(&mut sent)?;
        let (_flags, _element_type) = (take(&mut sent)?, take(&mut sent)?);
        if dimensions == 0 {
            continue;
        }
        let (length, _lower_bound) = (take(&mut sent)?, take(&mut sent)?);
        for _ in 0..length {
            let _size = take(&mut sent)?;
            let (id, rest) = sent.split_first_chunk()?;
            sent = rest;
            *counts.entry(i64::from_be_bytes(*id)).or_default() += 1;
        }
    }
    Some(counts)
}

fn take(sent: &mut &[u8]) -> Option<i32> {
    let (number, rest) = sent.split_first_chunk()?;
    *sent = rest;
    Some(i32::from_be_bytes(*number))
}

/// What is kept of all active products.
async fn kept_counts(connection: &mut PgConnection, group: Option<&Group>) -> Result<Scan, sqlx::Error> {
    let option = match group {
        Some(Group::Option(name)) => Some(Term::option(name, "").value),
        _ => None,
    };
    let rows: Vec<(i64, i32)> = sqlx::query_as(
        "SELECT f.term, f.products FROM generate_series(0, 5) AS kinds (kind), LATERAL ( \
             SELECT t.term, t.products FROM search_terms t \
              WHERE t.kind = kinds.kind AND t.products > 0 \
                AND (kinds.kind <> $3 OR $2::text IS NULL OR starts_with(t.value, $2)) \
              ORDER BY t.products DESC LIMIT CASE WHEN kinds.kind = $3 THEN $4 ELSE $1 END) f",
    )
    .bind(MAX_FACET_VALUES as i64)
    .bind(option)
    .bind(TermKind::Option as i32)
    .bind(MAX_OPTION_TERMS as i64)
    .fetch_all(connection)
    .await?;
    let terms: HashMap<i64, u64> =
        rows.into_iter().map(|(term, products)| (term, u64::from(products.unsigned_abs()))).collect();
    let products = terms.get(&Term::any().id().0).copied().unwrap_or(0);
    Ok(Scan { total: Counted { products, at_least: false }, terms })
}

/// How many of the newest active products are in stock, of so many in all.
async fn stocked_newest(connection: &mut PgConnection, total: Counted) -> Result<Counted, sqlx::Error> {
    let mut sql = QueryBuilder::new(
        "SELECT count(*) FROM (SELECT s.product_id FROM product_search s WHERE s.status = ",
    );
    sql.push_bind(crate::application::status_name(ProductStatus::Active));
    sql.push(" ORDER BY s.product_id DESC LIMIT ").push(MAX_STOCK_COUNTED).push(") s WHERE ").push(IN_STOCK);
    let products: i64 = sql.build_query_scalar().fetch_one(connection).await?;
    let at_least = total.products > MAX_STOCK_COUNTED as u64;
    Ok(Counted { products: products.unsigned_abs(), at_least })
}

/// The terms behind numbers.
async fn values(connection: &mut PgConnection, ids: &[i64]) -> Result<HashMap<i64, Term>, sqlx::Error> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT term, value FROM search_terms WHERE term = ANY($1)")
            .bind(ids)
            .fetch_all(connection)
            .await?;
    let term = |(id, value)| Some((id, Term { kind: TermId(id).kind()?, value }));
    Ok(rows.into_iter().filter_map(term).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(terms: &[i64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut number = |number: i32| bytes.extend(number.to_be_bytes());
        if terms.is_empty() {
            [0, 0, 20].into_iter().for_each(&mut number);
        } else {
            [1, 0, 20, terms.len() as i32, 1].into_iter().for_each(&mut number);
        }
        for term in terms {
            bytes.extend(8_i32.to_be_bytes());
            bytes.extend(term.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn terms_are_counted_as_they_were_sent() {
        let bytes = [sent(&[5, 7]), sent(&[]), sent(&[7, -1])].concat();
        let counts = counted_terms(&bytes).unwrap();
        assert_eq!(counts, HashMap::from([(5, 1), (7, 2), (-1, 1)]));
        assert_eq!(counted_terms(&bytes[..bytes.len() - 1]), None);
        assert_eq!(counted_terms(&[]), Some(HashMap::new()));
    }
}
