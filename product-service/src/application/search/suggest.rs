//! Suggestions while somebody types: brands, categories and products whose words begin with what is there so far, also
//! with a typing error in it. Few of each, so that every question ends early.

use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::begin;
use super::document::{forms, name_key};
use super::reading::Reading;
use super::terms::{Term, TermKind};
use super::words::{fold, words};
use crate::application::{CATEGORY_SEPARATOR, Queries, status_name};
use crate::domain::ProductId;
use crate::domain::product::ProductStatus;

/// Suggestions in a reply.
pub const MAX_SUGGESTIONS: usize = 10;
/// Brands, and categories, among them.
const MAX_OF_A_KIND: usize = 3;
/// Products that have the words, of which the best ones are suggested.
const MAX_LOOKED_AT: i64 = 200;
/// Follows every name that begins with a text.
const BEHIND_ALL: char = char::MAX;

/// What something typed may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    pub kind: SuggestionKind,
    /// A brand, a category path or the name of a product.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuggestionKind {
    /// With the number of its products.
    Brand(u64),
    Category(u64),
    Product(ProductId),
}

/// The words of a brand or of a category's last level, as a tsvector; other terms are not suggested.
pub fn suggested_words(term: &Term) -> String {
    let text = match term.kind {
        TermKind::Brand => term.value.as_str(),
        TermKind::Category => term.value.rsplit(CATEGORY_SEPARATOR).next().unwrap_or_default(),
        _ => return String::new(),
    };
    let folded = fold(text);
    let mut found: Vec<String> = words(&folded).flat_map(forms).collect();
    found.sort_unstable();
    found.dedup();
    found.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

impl Queries {
    /// At most `MAX_SUGGESTIONS` for what is typed so far: brands and categories of most products, then products,
    /// those before the others whose name begins so.
    pub async fn suggest(&self, typed: &str) -> Result<Vec<Suggestion>, sqlx::Error> {
        let folded = fold(typed);
        if folded.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = begin(self.pool()).await?;
        let plain = Reading::plain(typed);
        let mut found = suggestions(&mut transaction, &plain, Some(name_key(&folded))).await?;
        if found.is_empty() {
            let reading = plain.clone().completed_in(&mut transaction).await?;
            if let Some(reading) = reading {
                found = suggestions(&mut transaction, &reading, None).await?;
            }
        }
        transaction.rollback().await?;
        Ok(found)
    }
}

async fn suggestions(
    connection: &mut PgConnection,
    reading: &Reading,
    name: Option<&str>,
) -> Result<Vec<Suggestion>, sqlx::Error> {
    let mut found = Vec::new();
    for kind in [TermKind::Brand, TermKind::Category] {
        found.extend(terms(connection, reading, kind).await?);
    }
    let mut products = match name {
        Some(name) => named(connection, name).await?,
        None => Vec::new(),
    };
    if found.len() + products.len() < MAX_SUGGESTIONS {
        products.extend(with_words(connection, reading).await?);
    }
    let mut seen: Vec<String> = Vec::new();
    for (product_id, text) in products {
        if found.len() == MAX_SUGGESTIONS {
            break;
        }
        if !seen.contains(&text) {
            seen.push(text.clone());
            found.push(Suggestion { kind: SuggestionKind::Product(product_id.into()), text });
        }
    }
    Ok(found)
}

async fn terms(
    connection: &mut PgConnection,
    reading: &Reading,
    kind: TermKind,
) -> Result<Vec<Suggestion>, sqlx::Error> {
    let rows: Vec<(String, i32)> = sqlx::query_as(
        "SELECT value, products FROM search_terms WHERE kind = $1 AND products > 0 AND words @@ $2::tsquery \
          ORDER BY products DESC, value LIMIT $3",
    )
    .bind(kind as i16)
    .bind(reading.completing())
    .bind(MAX_OF_A_KIND as i64)
    .persistent(false)
    .fetch_all(connection)
    .await?;
    let suggestion = |(text, products): (String, i32)| {
        let products = u64::from(products.unsigned_abs());
        let kind = match kind {
            TermKind::Brand => SuggestionKind::Brand(products),
            _ => SuggestionKind::Category(products),
        };
        Suggestion { kind, text }
    };
    Ok(rows.into_iter().map(suggestion).collect())
}

/// Products whose name begins so, in the order of names.
async fn named(connection: &mut PgConnection, beginning: &str) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT s.product_id, p.name FROM product_search s JOIN products p USING (product_id) \
          WHERE s.status = $1 AND s.name_key >= $2 AND s.name_key < $3 ORDER BY s.name_key, s.product_id LIMIT $4",
    )
    .bind(status_name(ProductStatus::Active))
    .bind(beginning)
    .bind(format!("{beginning}{BEHIND_ALL}"))
    .bind(MAX_SUGGESTIONS as i64)
    .persistent(false)
    .fetch_all(connection)
    .await
}

/// The best of some products that have all words outside of their description.
async fn with_words(
    connection: &mut PgConnection,
    reading: &Reading,
) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let mut sql = QueryBuilder::new(
        "SELECT b.product_id, p.name FROM (SELECT l.product_id FROM (SELECT s.product_id, s.words FROM product_search s \
          WHERE s.status = ",
    );
    sql.push_bind(status_name(ProductStatus::Active)).push(" AND s.words @@ ").push_bind(reading.marked());
    sql.push("::tsquery LIMIT ").push(MAX_LOOKED_AT).push(") l ORDER BY ts_rank(l.words, ");
    sql.push_bind(reading.ranking()).push("::tsquery) DESC, l.product_id DESC LIMIT ").push(MAX_SUGGESTIONS);
    sql.push(") b JOIN products p USING (product_id)");
    sql.build_query_as().persistent(false).fetch_all(connection).await
}
