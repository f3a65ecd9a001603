//! Which products a search finds, as SQL: a list of conditions, each with the facet that it belongs to, so that the
//! counts of a facet can be taken without its own.

use sqlx::{Postgres, QueryBuilder};

use super::SearchFilter;
use super::reading::Reading;
use super::terms::{Band, Term};
use crate::application::{PriceRange, status_name};

/// What a shopper chooses from, with the number of products behind every choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    Brand,
    Category,
    Price,
    /// The values of the option with this name.
    Option(String),
    Stock,
}

/// One condition.
#[derive(Clone, Debug)]
struct Condition {
    /// None for what is no facet.
    group: Option<Group>,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// The product has one of these terms.
    Terms(Vec<i64>),
    Price(PriceRange),
    InStock,
}

/// All conditions of a filter.
#[derive(Clone, Debug)]
pub struct Conditions {
    status: &'static str,
    list: Vec<Condition>,
}

/// In stock is what a variant of `s` is.
pub const IN_STOCK: &str = "EXISTS (SELECT FROM variants v JOIN availability a USING (sku) \
                                     WHERE v.product_id = s.product_id AND a.in_stock)";

impl Conditions {
    pub fn of(filter: &SearchFilter) -> Self {
        let terms = |terms: Vec<Term>| Test::Terms(terms.iter().map(|term| term.id().0).collect());
        let mut list = Vec::new();
        if !filter.brands.is_empty() {
            let brands = filter.brands.iter().map(|brand| Term::brand(brand)).collect();
            list.push(Condition { group: Some(Group::Brand), test: terms(brands) });
        }
        if let Some(category) = &filter.category {
            let test = terms(vec![Term::category(category)]);
            list.push(Condition { group: Some(Group::Category), test });
        }
        if let Some(supplier) = &filter.supplier {
            list.push(Condition { group: None, test: terms(vec![Term::supplier(supplier)]) });
        }
        let mut names: Vec<&str> = filter.options.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for wanted in names {
            let values = filter.options.iter().filter(|(name, _)| name == wanted);
            let test = terms(values.map(|(name, value)| Term::option(name, value)).collect());
            list.push(Condition { group: Some(Group::Option(wanted.to_owned())), test });
        }
        if let Some(range) = filter.price {
            list.push(Condition { group: Some(Group::Price), test: Test::Price(range) });
        }
        if filter.in_stock {
            list.push(Condition { group: Some(Group::Stock), test: Test::InStock });
        }
        Self { status: status_name(filter.status), list }
    }

    /// Facets in which something is chosen.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.list.iter().filter_map(|condition| condition.group.as_ref())
    }

    /// Whether everything is found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether nothing is left of the conditions without those of a facet.
    pub fn is_empty_without(&self, group: Option<&Group>) -> bool {
        self.without(group).next().is_none()
    }

    fn without<'a>(&'a self, group: Option<&'a Group>) -> impl Iterator<Item = &'a Test> {
        let others = self.list.iter().filter(move |c| c.group.is_none() || c.group.as_ref() != group);
        others.map(|condition| &condition.test)
    }

    /// `WHERE` with all conditions on `product_search s`, except those of one facet.
    pub fn push_without(&self, sql: &mut QueryBuilder<Postgres>, reading: &Reading, group: Option<&Group>) {
        sql.push(" WHERE s.status = ").push_bind(self.status);
        if !reading.is_empty() {
            sql.push(" AND s.words @@ ").push_bind(reading.matching()).push("::tsquery");
        }
        for test in self.without(group) {
            match test {
                Test::Terms(terms) => has_one_of(sql, terms.clone()),
                Test::Price(range) => in_range(sql, range),
                Test::InStock => {
                    sql.push(" AND ").push(IN_STOCK);
                }
            }
        }
    }

    /// `WHERE` with all conditions.
    pub fn push(&self, sql: &mut QueryBuilder<Postgres>, reading: &Reading) {
        self.push_without(sql, reading, None);
    }
}

fn has_one_of(sql: &mut QueryBuilder<Postgres>, terms: Vec<i64>) {
    // Both are found through the index; the planner knows better how many the first one finds.
    sql.push(if terms.len() == 1 { " AND s.terms @> " } else { " AND s.terms && " }).push_bind(terms);
}

/// The bands lead to the products, and the prices themselves are asked where a band is cut.
fn in_range(sql: &mut QueryBuilder<Postgres>, range: &PriceRange) {
    let bands = Band::overlapping(range.lowest, range.highest);
    let ends = bands.first().zip(bands.last());
    let is_cut = ends.is_none_or(|(first, last)| {
        range.lowest.unwrap_or(0) != first.lowest || range.highest != last.highest
    });
    has_one_of(sql, bands.into_iter().map(|band| Term::band(range.currency, band).id().0).collect());
    if is_cut {
        sql.push(" AND EXISTS (SELECT FROM unnest(s.prices) price WHERE price >= ");
        sql.push_bind(range.lowest.unwrap_or(0));
        if let Some(highest) = range.highest {
            sql.push(" AND price <= ").push_bind(highest);
        }
        sql.push(")");
    }
}
