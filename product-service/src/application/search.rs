//! Search: which products a query and filters find, in which order, and how many there are behind each further choice.
//! PostgreSQL finds and counts; what words and terms are is decided here, for documents and queries alike.
//!
//! Reading order: `words` folds texts, `terms` numbers what is filtered by, `document` is what is stored of a
//! product, `reading` what a query means, `conditions` and `order` make statements of it, `facets` counts.

mod conditions;
mod document;
mod facets;
mod order;
mod reading;
mod spelling;
mod suggest;
mod terms;
mod words;

pub use document::{Document, FORMAT, SELECT_SOURCES, Source};
pub use facets::{Counted, Facets, OptionFacet, PriceBand, ValueFacet};
pub use order::SearchOrder;
pub use spelling::deletions;
pub use suggest::{Suggestion, SuggestionKind, suggested_words};
pub use terms::{Term, TermId, TermKind};

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::Queries;
use super::list::PriceRange;
use super::queries::fitting;
use super::views::ProductView;
use crate::domain::ProductId;
use crate::domain::product::ProductStatus;
use conditions::Conditions;
use facets::Count;
use order::{FirstPage, Key, Mode};
use reading::Reading;

/// Products that are counted one by one. What is found beyond is told as "at least", and comes in an order that an index
/// has.
pub const MAX_COUNTED: usize = 1_000;
/// Characters of a query.
pub const MAX_QUERY_CHARS: usize = 200;
/// Values of brands or options in one filter.
pub const MAX_FILTER_VALUES: usize = 20;
/// Values of a facet in a reply, those of most products.
pub const MAX_FACET_VALUES: usize = 50;
/// Options that are facets in a reply, those of most products.
pub const MAX_OPTION_FACETS: usize = 20;

/// All statements of a search see one moment and one version of the tables, for which the lock is
/// (`eventsourcing::rebuild::NO_SWITCH`). Every question has an index; what the planner guesses about texts and
/// arrays would now and then make it read the whole table instead, and no search may take long.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off; \
                     SET LOCAL random_page_cost = 1.1; SET LOCAL work_mem = '16MB'; SET LOCAL jit = off; \
                     SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL statement_timeout = '5s'; \
                     SET LOCAL plan_cache_mode = force_custom_plan; \
                     LOCK TABLE eventsourcing.rebuilds IN ACCESS SHARE MODE";

/// Which products to find. Every condition must hold.
#[derive(Clone, Debug)]
pub struct SearchFilter {
    pub status: ProductStatus,
    pub query: String,
    /// One of these, if there are any.
    pub brands: Vec<String>,
    /// A category path joined by ` > `; its subtree matches.
    pub category: Option<String>,
    pub supplier: Option<String>,
    pub price: Option<PriceRange>,
    /// Names and values: for every name one of its values.
    pub options: Vec<(String, String)>,
    /// Only products with a variant in stock.
    pub in_stock: bool,
}

/// Where a page begins: what was decided for the first one, and the last product shown. Opaque outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageStart {
    pub reading: String,
    pub key: String,
    pub product_id: ProductId,
}

/// A page of what was found.
#[derive(Clone, Debug)]
pub struct SearchPage {
    pub products: Vec<ProductView>,
    /// Behind which product the next page begins; none on the last page.
    pub next: Option<PageStart>,
    /// What is found in all, on the first page.
    pub overview: Option<Overview>,
}

/// What is told with the first page.
#[derive(Clone, Debug)]
pub struct Overview {
    pub total: Counted,
    pub facets: Facets,
    /// What was searched instead of the query.
    pub corrected: Option<String>,
    /// No product has all words, so these have some.
    pub some_words: bool,
}

/// Why a page was not found.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("the page was not made for this search")]
    PageStart,
    #[error(transparent)]
    Read(#[from] sqlx::Error),
}

impl Queries {
    /// At most `size` products behind `start`. A product that stays as it is comes on exactly one page, whatever happens
    /// to others meanwhile.
    pub async fn search(
        &self,
        filter: &SearchFilter,
        order: SearchOrder,
        start: Option<&PageStart>,
        size: u32,
    ) -> Result<SearchPage, SearchError> {
        let conditions = Conditions::of(filter);
        let mut transaction = begin(self.pool()).await?;
        let mut page = None;
        let (reading, mode, after, overview) = match start {
            Some(start) => {
                let (mode, reading) = decode(&start.reading).ok_or(SearchError::PageStart)?;
                let key = Key::decode(order.of(&reading), mode, &start.key).ok_or(SearchError::PageStart)?;
                (reading, mode, Some((key, start.product_id)), None)
            }
            None => {
                let (reading, mut count) = find(&mut transaction, filter, &conditions, order, size).await?;
                page = count.take_page();
                let (mode, overview) = self.overview(&mut transaction, &conditions, &reading, count).await?;
                (reading, mode, None, Some(overview))
            }
        };
        let found = match page {
            Some(found) => found,
            None => {
                let sorted = (order.of(&reading), mode);
                order::page(&mut transaction, &conditions, &reading, sorted, after.as_ref(), size).await?
            }
        };
        transaction.rollback().await?;
        let shown = fitting(found.iter().map(|found| found.size), size as usize);
        let next = found[..shown].last().filter(|_| shown < found.len());
        let next = next.map(|last| PageStart {
            reading: encode(mode, &reading),
            key: last.key.encode(),
            product_id: last.product_id.into(),
        });
        let ids: Vec<Uuid> = found[..shown].iter().map(|found| found.product_id).collect();
        Ok(SearchPage { products: self.in_order(&ids).await?, next, overview })
    }

    async fn overview(
        &self,
        connection: &mut PgConnection,
        conditions: &Conditions,
        reading: &Reading,
        count: Count,
    ) -> Result<(Mode, Overview), sqlx::Error> {
        let total = count.total();
        let many = total.at_least || total.products > MAX_COUNTED as u64;
        let mode = if many { Mode::Many } else { Mode::Few };
        let facets = count.into_facets(connection, conditions).await?;
        Ok((mode, Overview { total, facets, corrected: reading.corrected(), some_words: reading.is_any() }))
    }
}

/// Reads the query, and counts what it finds.
async fn find(
    connection: &mut PgConnection,
    filter: &SearchFilter,
    conditions: &Conditions,
    order: SearchOrder,
    size: u32,
) -> Result<(Reading, Count), sqlx::Error> {
    let page = |reading: &Reading| FirstPage { order: order.of(reading), size };
    let plain = Reading::plain(&filter.query);
    let count = Count::take(connection, conditions, &plain, filter.status, page(&plain)).await?;
    if !count.is_empty() || plain.is_empty() {
        return Ok((plain, count));
    }
    let is_narrowed = !conditions.is_empty();
    let reading = plain.clone().corrected_in(connection, filter.status, is_narrowed).await?;
    if reading == plain {
        return Ok((plain, count));
    }
    let count = Count::take(connection, conditions, &reading, filter.status, page(&reading)).await?;
    Ok((reading, count))
}

async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(BEGIN).await
}

const MANY: char = '+';

fn encode(mode: Mode, reading: &Reading) -> String {
    match mode {
        Mode::Few => reading.encode(),
        Mode::Many => format!("{MANY}{}", reading.encode()),
    }
}

fn decode(text: &str) -> Option<(Mode, Reading)> {
    let (mode, reading) = text.strip_prefix(MANY).map_or((Mode::Few, text), |rest| (Mode::Many, rest));
    Some((mode, Reading::decode(reading)?))
}
