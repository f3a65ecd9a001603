//! The order of what is found, and its pages. A page begins behind the sort key of the last product shown, so that it
//! moves with nothing but that product's own place.
//!
//! What is few is found through the words and sorted; the most relevant first means what [`MATCH_WEIGHTS`] say. What is
//! many is read from an index in its order until a page is full; of the most relevant, products that have the words
//! outside of their description come first there, and among equals the newest.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::conditions::Conditions;
use super::reading::Reading;
use crate::domain::{Currency, ProductId};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchOrder {
    /// The newest first if there is no query.
    Relevance,
    /// The cheapest first, by the lowest price of a product, one currency after the other.
    PriceAscending,
    PriceDescending,
    Newest,
    /// By name without regard to accents and case.
    Name,
}

/// Whether what is found was counted to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Few,
    Many,
}

/// What a word is worth in a description; in a category, tag or option; in a brand or SKU; in a name.
const MATCH_WEIGHTS: &str = "'{0.05, 0.3, 0.5, 1.0}'";
/// Names that are the query, and names that begin with it, come before all others: what a rank is multiplied by to be a
/// whole number, and what it is raised by.
const RANK_SCALE: &str = "1000000";
const WHOLE_NAME: &str = "4000000";
const NAME_BEGINS: &str = "2000000";

impl SearchOrder {
    /// What it means for a query.
    pub(super) fn of(self, reading: &Reading) -> Self {
        if self == Self::Relevance && reading.is_empty() { Self::Newest } else { self }
    }
}

/// What a product is sorted by, before its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Rank of few, or 1 and 0 of many.
    Rank(i64),
    Price(String, i64),
    Name(String),
    None,
}

/// One product of a page.
pub(super) struct Found {
    pub product_id: Uuid,
    pub key: Key,
    /// About how many bytes it has.
    pub size: i32,
}

impl Key {
    pub fn encode(&self) -> String {
        match self {
            Self::Rank(rank) => rank.to_string(),
            Self::Price(currency, price) => format!("{currency}{price}"),
            Self::Name(name) => name.clone(),
            Self::None => String::new(),
        }
    }

    /// `None` for what is no key of this order.
    pub fn decode(order: SearchOrder, mode: Mode, text: &str) -> Option<Self> {
        match order {
            SearchOrder::Relevance => {
                let rank = text.parse().ok()?;
                (mode == Mode::Few || [0, 1].contains(&rank)).then_some(Self::Rank(rank))
            }
            SearchOrder::PriceAscending | SearchOrder::PriceDescending => {
                let (currency, price) = text.split_at_checked(3)?;
                let currency = Currency::from_code(currency).ok()?;
                Some(Self::Price(currency.code().to_owned(), price.parse().ok()?))
            }
            SearchOrder::Newest => text.is_empty().then_some(Self::None),
            SearchOrder::Name => Some(Self::Name(text.to_owned())),
        }
    }
}

/// Products behind `after`, up to `size` and one more.
pub(super) async fn page(
    connection: &mut PgConnection,
    conditions: &Conditions,
    reading: &Reading,
    (order, mode): (SearchOrder, Mode),
    after: Option<&(Key, ProductId)>,
    size: u32,
) -> Result<Vec<Found>, sqlx::Error> {
    let wanted = size as usize + 1;
    if (order, mode) != (SearchOrder::Relevance, Mode::Many) {
        let mut sql = statement(conditions, reading, (order, mode), after, wanted);
        return fetch(connection, &mut sql, order, None).await;
    }
    let mut found = Vec::new();
    for (rank, marked) in [(1, true), (0, false)] {
        let after = match after {
            Some((Key::Rank(last), _)) if *last < rank => continue,
            Some((Key::Rank(last), product_id)) if *last == rank => Some(*product_id),
            _ => None,
        };
        let mut sql = tier(conditions, reading, marked, after, wanted - found.len());
        found.extend(fetch(connection, &mut sql, order, Some(rank)).await?);
        if found.len() == wanted {
            break;
        }
    }
    Ok(found)
}

async fn fetch(
    connection: &mut PgConnection,
    sql: &mut QueryBuilder<Postgres>,
    order: SearchOrder,
    tier: Option<i64>,
) -> Result<Vec<Found>, sqlx::Error> {
    let rows = sql.build().fetch_all(connection).await?;
    rows.iter().map(|row| Found::of(row, order, tier)).collect()
}

impl Found {
    /// What a row has, of one of the two tiers of [`Mode::Many`] or sorted by its rank.
    fn of(row: &PgRow, order: SearchOrder, tier: Option<i64>) -> Result<Self, sqlx::Error> {
        let key = match (order, tier) {
            (SearchOrder::Relevance, Some(tier)) => Key::Rank(tier),
            (SearchOrder::Relevance, None) => Key::Rank(row.try_get("rank")?),
            (SearchOrder::PriceAscending | SearchOrder::PriceDescending, _) => {
                Key::Price(row.try_get("currency")?, row.try_get("lowest_price")?)
            }
            (SearchOrder::Newest, _) => Key::None,
            (SearchOrder::Name, _) => Key::Name(row.try_get("name_key")?),
        };
        Ok(Self { product_id: row.try_get("product_id")?, key, size: row.try_get("size")? })
    }
}

/// The first page of what is few, as a part of the statement that counts it: what was found is read once for both.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstPage {
    pub order: SearchOrder,
    pub size: u32,
}

impl FirstPage {
    /// Columns of `product_search s` that it is made of.
    pub fn needs(self) -> &'static str {
        match self.order {
            SearchOrder::Relevance => ", s.size, s.currency, s.lowest_price, s.name_key, s.words",
            _ => ", s.size, s.currency, s.lowest_price, s.name_key",
        }
    }

    /// As many columns as [`push`](Self::push) selects, for rows that are no products.
    pub const NOTHING: &'static str = ", NULL::uuid AS product_id, NULL::integer AS size, NULL::bigint AS rank, \
                                        NULL::text AS currency, NULL::bigint AS lowest_price, NULL::text AS name_key";

    /// The products of the page out of those in `from`, behind the columns before them.
    pub fn push(self, sql: &mut QueryBuilder<Postgres>, reading: &Reading, from: &str) {
        sql.push(", s.product_id, s.size, s.rank, s.currency, s.lowest_price, s.name_key FROM (SELECT s.*");
        if self.order == SearchOrder::Relevance {
            push_rank(sql, reading);
        } else {
            sql.push(", NULL::bigint AS rank");
        }
        sql.push(" FROM ").push(from).push(" s) s");
    }

    /// Its order, and its end.
    pub fn push_end(self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(sorted_by(self.order)).push(" LIMIT ").push_bind(i64::from(self.size) + 1);
    }

    /// One of its products.
    pub fn found(self, row: &PgRow) -> Result<Found, sqlx::Error> {
        Found::of(row, self.order, None)
    }
}

fn sorted_by(order: SearchOrder) -> &'static str {
    match order {
        SearchOrder::Relevance => " ORDER BY s.rank DESC, s.product_id DESC",
        SearchOrder::PriceAscending => " ORDER BY s.currency, s.lowest_price, s.product_id",
        SearchOrder::PriceDescending => " ORDER BY s.currency DESC, s.lowest_price DESC, s.product_id DESC",
        SearchOrder::Newest => " ORDER BY s.product_id DESC",
        SearchOrder::Name => " ORDER BY s.name_key, s.product_id",
    }
}

/// One statement for the page of an order.
fn statement(
    conditions: &Conditions,
    reading: &Reading,
    (order, mode): (SearchOrder, Mode),
    after: Option<&(Key, ProductId)>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT s.product_id, s.size");
    match order {
        SearchOrder::Relevance => sql.push(", s.rank"),
        SearchOrder::PriceAscending | SearchOrder::PriceDescending => {
            sql.push(", s.currency, s.lowest_price")
        }
        SearchOrder::Newest => &mut sql,
        SearchOrder::Name => sql.push(", s.name_key"),
    };
    sql.push(" FROM ");
    if mode == Mode::Few {
        // Found first and sorted then: OFFSET 0 keeps the planner from walking an index in order instead.
        sql.push("(SELECT s.product_id, s.size, s.currency, s.lowest_price, s.name_key");
        if order == SearchOrder::Relevance {
            push_rank(&mut sql, reading);
        }
        sql.push(" FROM product_search s");
        conditions.push(&mut sql, reading);
        sql.push(" OFFSET 0) s WHERE true");
    } else {
        sql.push("product_search s");
        conditions.push(&mut sql, reading);
    }
    if let Some((key, product_id)) = after {
        behind(&mut sql, order, key, *product_id);
    }
    sql.push(sorted_by(order));
    sql.push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    sql
}

fn push_rank(sql: &mut QueryBuilder<Postgres>, reading: &Reading) {
    sql.push(", (").push(RANK_SCALE).push(" * ts_rank(").push(MATCH_WEIGHTS).push(", s.words, ");
    sql.push_bind(reading.ranking()).push("::tsquery))::bigint + CASE WHEN s.name_key = ");
    sql.push_bind(reading.folded()).push(" THEN ").push(WHOLE_NAME).push(" WHEN starts_with(s.name_key, ");
    sql.push_bind(reading.folded()).push(") THEN ").push(NAME_BEGINS).push(" ELSE 0 END AS rank");
}

fn behind(sql: &mut QueryBuilder<Postgres>, order: SearchOrder, key: &Key, product_id: ProductId) {
    let (columns, sign) = match order {
        SearchOrder::Relevance => ("s.rank, ", "<"),
        SearchOrder::PriceAscending => ("s.currency, s.lowest_price, ", ">"),
        SearchOrder::PriceDescending => ("s.currency, s.lowest_price, ", "<"),
        SearchOrder::Newest => ("", "<"),
        SearchOrder::Name => ("s.name_key, ", ">"),
    };
    sql.push(" AND (").push(columns).push("s.product_id) ").push(sign).push(" (");
    match key {
        Key::Rank(rank) => {
            sql.push_bind(*rank).push(", ");
        }
        Key::Price(currency, price) => {
            sql.push_bind(currency.clone()).push(", ").push_bind(*price).push(", ");
        }
        Key::Name(name) => {
            sql.push_bind(name.clone()).push(", ");
        }
        Key::None => {}
    }
    sql.push_bind(product_id.as_uuid()).push(")");
}

/// The newest of those that have the words outside of their description, or only there.
fn tier(
    conditions: &Conditions,
    reading: &Reading,
    marked: bool,
    after: Option<ProductId>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT s.product_id, s.size FROM product_search s");
    conditions.push(&mut sql, reading);
    let words = if marked { reading.marked() } else { format!("!({})", reading.marked()) };
    sql.push(" AND s.words @@ ").push_bind(words).push("::tsquery");
    if let Some(after) = after {
        sql.push(" AND s.product_id < ").push_bind(after.as_uuid());
    }
    sql.push(" ORDER BY s.product_id DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    sql
}
