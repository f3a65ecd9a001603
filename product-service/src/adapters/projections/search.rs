//! The tables `product_search`, `search_words` and `search_terms`: documents of products, made again from `products` and
//! `variants` whenever an event of theirs was applied, and what all active products have in common. Documents made by an
//! older program are replaced in the background.
//!
//! A document is made of several rows that were read before it is written, so whoever makes some holds a lock from
//! before the reading to the end of the transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventsourcing::{HandlerError, Rebuilds};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::application::search::{
    Document, FORMAT, SELECT_SOURCES, Source, Term, TermId, deletions, suggested_words,
};
use crate::application::status_name;
use crate::domain::product::ProductStatus;

/// Of this database and schema: nobody else makes documents in the same tables meanwhile.
const LOCK: i64 = 7_310_577_125_411;
/// Documents that are made at once; more changed products are done in turns.
const BATCH: usize = 200;
/// Pause between two looks at whether documents have to be made, and after a failure.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Makes the documents of these products again.
pub(super) async fn refresh(connection: &mut PgConnection, products: &[Uuid]) -> Result<(), HandlerError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended(current_schema()::text, $1))")
        .bind(LOCK)
        .execute(&mut *connection)
        .await?;
    for batch in products.chunks(BATCH) {
        let rows = sqlx::query(SELECT_SOURCES).bind(batch).fetch_all(&mut *connection).await?;
        let mut changes = Changes::default();
        let mut documents = Vec::with_capacity(rows.len());
        for row in &rows {
            let (document, terms) = Document::of(&Source::of(row)?);
            changes.add(&document, terms);
            documents.push(document);
        }
        for (status, vocabulary, terms) in before(connection, batch).await? {
            changes.subtract(&status, vocabulary, terms);
        }
        store(connection, &documents).await?;
        changes.words.store(connection).await?;
        changes.terms.store(connection).await?;
    }
    Ok(())
}

/// What the documents of these products have counted so far: status, words and terms.
async fn before(
    connection: &mut PgConnection,
    products: &[Uuid],
) -> Result<Vec<(String, Vec<String>, Vec<i64>)>, sqlx::Error> {
    sqlx::query_as("SELECT status, vocabulary, terms FROM product_search WHERE product_id = ANY($1)")
        .bind(products)
        .fetch_all(connection)
        .await
}

async fn store(connection: &mut PgConnection, documents: &[Document]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO product_search AS old (product_id, format, status, words, terms, vocabulary, prices, \
                lowest_price, currency, name_key, size) \
         SELECT product_id, format, status, words::tsvector, terms, vocabulary, prices, lowest_price, currency, \
                name_key, size \
           FROM json_to_recordset($1::text::json) AS new (product_id uuid, format smallint, status text, words text, \
                terms bigint[], vocabulary text[], prices bigint[], lowest_price bigint, currency text, \
                name_key text, size integer) \
         ON CONFLICT (product_id) DO UPDATE SET format = excluded.format, status = excluded.status, \
                words = excluded.words, terms = excluded.terms, vocabulary = excluded.vocabulary, \
                prices = excluded.prices, lowest_price = excluded.lowest_price, currency = excluded.currency, \
                name_key = excluded.name_key, size = excluded.size \
          WHERE (old.format, old.status, old.words, old.terms, old.vocabulary, old.prices, old.currency, \
                 old.name_key, old.size) \
                IS DISTINCT FROM (excluded.format, excluded.status, excluded.words, excluded.terms, \
                 excluded.vocabulary, excluded.prices, excluded.currency, excluded.name_key, excluded.size)",
    )
    .bind(json(&documents)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Rows for a statement, as one parameter.
fn json(rows: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// How many more or fewer active products have a word or a term.
#[derive(Default)]
struct Changes {
    words: WordChanges,
    terms: TermChanges,
}

impl Changes {
    fn add(&mut self, document: &Document, terms: Vec<Term>) {
        let active = is_active(&document.status);
        for term in terms {
            let change = self.terms.0.entry(term.id()).or_default();
            change.products += active;
            change.documents += 1;
            change.term = Some(term);
        }
        for word in &document.vocabulary {
            *self.words.0.entry(word.clone()).or_default() += active;
        }
    }

    fn subtract(&mut self, status: &str, vocabulary: Vec<String>, terms: Vec<i64>) {
        let active = is_active(status);
        for term in terms {
            let change = self.terms.0.entry(TermId(term)).or_default();
            change.products -= active;
            change.documents -= 1;
        }
        for word in vocabulary {
            *self.words.0.entry(word).or_default() -= active;
        }
    }
}

/// 1 for a product that everybody sees, else 0.
fn is_active(status: &str) -> i32 {
    i32::from(status == status_name(ProductStatus::Active))
}

#[derive(Default)]
struct WordChanges(BTreeMap<String, i32>);

impl WordChanges {
    async fn store(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.0.retain(|_, by| *by != 0);
        if self.0.is_empty() {
            return Ok(());
        }
        let (words, by): (Vec<&str>, Vec<i32>) = self.0.iter().map(|(word, by)| (word.as_str(), *by)).unzip();
        let known: Vec<(String, i32)> = sqlx::query_as(
            "UPDATE search_words w SET products = products + by FROM unnest($1::text[], $2::integer[]) c (word, by) \
              WHERE w.word = c.word RETURNING w.word, w.products",
        )
        .bind(words)
        .bind(by)
        .fetch_all(&mut *connection)
        .await?;
        let gone: Vec<&str> =
            known.iter().filter(|(_, products)| *products <= 0).map(|(word, _)| word.as_str()).collect();
        if !gone.is_empty() {
            let delete = "DELETE FROM search_words WHERE word = ANY($1)";
            sqlx::query(delete).bind(gone).execute(&mut *connection).await?;
        }
        let known: BTreeSet<&str> = known.iter().map(|(word, _)| word.as_str()).collect();
        let new = self.0.iter().filter(|(word, by)| **by > 0 && !known.contains(word.as_str()));
        let new: Vec<NewWord<'_>> =
            new.map(|(word, by)| NewWord { word, products: *by, deletions: deletions(word) }).collect();
        if !new.is_empty() {
            sqlx::query(
                "INSERT INTO search_words (word, products, deletions) SELECT word, products, deletions \
                   FROM json_to_recordset($1::text::json) AS new (word text, products integer, deletions integer[])",
            )
            .bind(json(&new)?)
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct NewWord<'a> {
    word: &'a str,
    products: i32,
    deletions: Vec<i32>,
}

#[derive(Default)]
struct TermChanges(BTreeMap<TermId, TermChange>);

#[derive(Default)]
struct TermChange {
    /// Active ones.
    products: i32,
    /// Of any status.
    documents: i32,
    /// Known of those that a new document has.
    term: Option<Term>,
}

impl TermChanges {
    async fn store(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.0.retain(|_, change| (change.products, change.documents) != (0, 0));
        if self.0.is_empty() {
            return Ok(());
        }
        let known: Vec<(i64, i32)> = sqlx::query_as(
            "UPDATE search_terms t SET products = t.products + c.products, documents = t.documents + c.documents \
               FROM unnest($1::bigint[], $2::integer[], $3::integer[]) c (term, products, documents) \
              WHERE t.term = c.term RETURNING t.term, t.documents",
        )
        .bind(self.0.keys().map(|id| id.0).collect::<Vec<_>>())
        .bind(self.0.values().map(|change| change.products).collect::<Vec<_>>())
        .bind(self.0.values().map(|change| change.documents).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
        let gone: Vec<i64> =
            known.iter().filter(|(_, documents)| *documents <= 0).map(|(term, _)| *term).collect();
        if !gone.is_empty() {
            let delete = "DELETE FROM search_terms WHERE term = ANY($1)";
            sqlx::query(delete).bind(gone).execute(&mut *connection).await?;
        }
        let known: BTreeSet<i64> = known.into_iter().map(|(term, _)| term).collect();
        let new = self.0.iter().filter(|(id, _)| !known.contains(&id.0));
        let new: Vec<NewTerm<'_>> = new
            .filter_map(|(id, change)| {
                let term = change.term.as_ref()?;
                let (kind, words) = (term.kind as i16, suggested_words(term));
                let TermChange { products, documents, .. } = *change;
                Some(NewTerm { term: id.0, kind, value: &term.value, words, products, documents })
            })
            .collect();
        if !new.is_empty() {
            sqlx::query(
                "INSERT INTO search_terms (term, kind, value, words, products, documents) \
                 SELECT term, kind, value, words::tsvector, products, documents FROM json_to_recordset($1::text::json) \
                     AS new (term bigint, kind smallint, value text, words text, products integer, \
                             documents integer)",
            )
            .bind(json(&new)?)
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct NewTerm<'a> {
    term: i64,
    kind: i16,
    value: &'a str,
    words: String,
    products: i32,
    documents: i32,
}

/// Makes the documents that are missing or of another format, until there are none: those of a database that an older
/// program has filled, and of a former version of the tables that serves again. Products that change meanwhile get theirs
/// from the projection.
pub async fn complete_search(pool: PgPool, rebuilds: Rebuilds, stop: CancellationToken) {
    let mut completed = None;
    while !stop.is_cancelled() {
        let look = async {
            let version = rebuilds.switches(super::MODEL).await.map_err(|error| error.to_string())?;
            if completed != Some(version) {
                complete(&pool).await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(version)
        };
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look => looked,
        };
        match looked {
            Ok(version) => completed = Some(version),
            Err(error) => tracing::warn!(error, "documents of products are not complete yet; tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn complete(pool: &PgPool) -> Result<(), HandlerError> {
    let mut after = Uuid::nil();
    loop {
        let mut transaction = pool.begin().await?;
        // In steps through all products: to look for those without a document would read both tables every time.
        let step: Vec<(Uuid, bool)> = sqlx::query_as(
            "SELECT p.product_id, EXISTS (SELECT FROM product_search s \
                     WHERE s.product_id = p.product_id AND s.format = $1 OFFSET 0) \
               FROM (SELECT product_id FROM products WHERE product_id > $2 ORDER BY product_id LIMIT $3) p \
              ORDER BY p.product_id",
        )
        .bind(FORMAT)
        .bind(after)
        .bind(BATCH as i64)
        .fetch_all(&mut *transaction)
        .await?;
        let Some((last, _)) = step.last() else { return Ok(()) };
        after = *last;
        let missing: Vec<Uuid> = step.iter().filter(|(_, made)| !made).map(|(id, _)| *id).collect();
        if !missing.is_empty() {
            refresh(&mut transaction, &missing).await?;
        }
        transaction.commit().await?;
    }
}

/// A document beside what its product's rows give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Same,
    /// Of an older program; it will be made anew ([`complete_search`]), and answers searches until then.
    Older,
    Differs,
}

/// The next products behind an id, in the order of ids, each with what its document is like. Empty behind the last one.
pub async fn compare_documents(
    connection: &mut PgConnection,
    after: Uuid,
) -> Result<Vec<(Uuid, Compared)>, sqlx::Error> {
    let next = "SELECT product_id FROM products WHERE product_id > $1 ORDER BY product_id LIMIT $2";
    let products: Vec<Uuid> =
        sqlx::query_scalar(next).bind(after).bind(BATCH as i64).fetch_all(&mut *connection).await?;
    let rows = sqlx::query(SELECT_SOURCES).bind(&products).fetch_all(&mut *connection).await?;
    let documents: Result<Vec<Document>, sqlx::Error> =
        rows.iter().map(|row| Ok(Document::of(&Source::of(row)?).0)).collect();
    let compared: Vec<(Uuid, bool, bool)> = sqlx::query_as(
        "SELECT product_id, coalesce(old.format < new.format, false), coalesce((old.format, old.status, old.words, old.terms, old.vocabulary, old.prices, \
                old.lowest_price, old.currency, old.name_key, old.size) = (new.format, new.status, \
                new.words::tsvector, new.terms, new.vocabulary, new.prices, new.lowest_price, new.currency, \
                new.name_key, new.size), false) \
           FROM json_to_recordset($1::text::json) AS new (product_id uuid, format smallint, status text, words text, \
                terms bigint[], vocabulary text[], prices bigint[], lowest_price bigint, currency text, \
                name_key text, size integer) LEFT JOIN product_search old USING (product_id) ORDER BY product_id",
    )
    .bind(json(&documents?)?)
    .fetch_all(connection)
    .await?;
    let compared = compared.into_iter().map(|(id, older, same)| match (older, same) {
        (true, _) => (id, Compared::Older),
        (false, true) => (id, Compared::Same),
        (false, false) => (id, Compared::Differs),
    });
    Ok(compared.collect())
}

/// How many words and how many terms have another number of products than the documents have.
pub async fn miscounted(connection: &mut PgConnection) -> Result<[(&'static str, i64); 2], sqlx::Error> {
    let words: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT word, count(*) AS products FROM product_search, unnest(vocabulary) AS word \
                                WHERE status = 'active' GROUP BY word) d FULL JOIN search_words w USING (word) \
          WHERE d.products IS DISTINCT FROM w.products",
    )
    .fetch_one(&mut *connection)
    .await?;
    let terms: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT term, count(*) AS documents, count(*) FILTER (WHERE status = 'active') AS products \
                                 FROM product_search, unnest(terms) AS term GROUP BY term) d \
                FULL JOIN search_terms t USING (term) \
          WHERE (d.documents, d.products) IS DISTINCT FROM (t.documents, t.products)",
    )
    .fetch_one(connection)
    .await?;
    Ok([("words", words), ("terms", terms)])
}
