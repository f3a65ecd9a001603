//! How a query is read: which words it has, what may be meant by those that no product has, and whether all of them must
//! be found. A reading depends on the query alone, never on filters, so that a filter narrows what was found and the
//! counts of facets hold for it; and it travels in page tokens, so that all pages are of one reading.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::document::{MARK, forms};
use super::spelling::{deletions, distance, distance_to_beginning, forgiven};
use super::words::{fold, words};
use crate::application::status_name;
use crate::domain::product::ProductStatus;

/// Words of a query; what follows is not searched.
pub const MAX_QUERY_WORDS: usize = 10;
/// Words that may be meant by one with a typing error.
const MAX_MEANT: usize = 3;
/// A last word of so many letters also finds words that begin with it.
pub const MIN_PREFIX_CHARS: usize = 3;
/// Known words that are compared with one that is not known, the most frequent first.
const MAX_CANDIDATES: i64 = 500;
/// Products in which a word is looked for one by one, before the index of words is asked.
const NEWEST: i64 = 500;

/// A query as it is searched. The default one finds everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    words: Vec<Word>,
    /// Products with some of the words are found, too.
    any: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// One of these is found.
    meant: Vec<String>,
    /// So are words that begin with it.
    prefix: bool,
    corrected: bool,
}

/// The first letters of a word that is not typed to its end, which are taken to be right.
const RIGHT_CHARS: usize = 2;

const ANY: char = '|';
const PREFIX: char = '*';
const CORRECTED: char = '~';

impl Reading {
    /// The words as they were typed.
    pub fn plain(query: &str) -> Self {
        let folded = fold(query);
        let mut typed: Vec<&str> = words(&folded).take(MAX_QUERY_WORDS).collect();
        let last = typed.last().copied();
        let mut seen = std::collections::HashSet::new();
        typed.retain(|word| seen.insert(*word));
        let word = |word: &str| Word {
            meant: vec![word.to_owned()],
            prefix: Some(word) == last && word.chars().count() >= MIN_PREFIX_CHARS,
            corrected: false,
        };
        Self { words: typed.into_iter().map(word).collect(), any: false }
    }

    /// Whether it finds everything.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The most likely words in place of those that were corrected; none if none was.
    pub fn corrected(&self) -> Option<String> {
        let meant = self.words.iter().filter_map(|word| word.meant.first()).map(String::as_str);
        self.words.iter().any(|word| word.corrected).then(|| meant.collect::<Vec<_>>().join(" "))
    }

    /// Whether only some of the words must be found.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// What products must match, as a tsquery.
    pub fn matching(&self) -> String {
        let words: Vec<String> =
            self.words.iter().map(|word| format!("({})", word.operands().join("|"))).collect();
        words.join(if self.any { "|" } else { "&" })
    }

    /// What products match that have the words elsewhere than in their description, as a tsquery.
    pub fn marked(&self) -> String {
        let words: Vec<String> =
            self.words.iter().map(|word| format!("({})", word.marked().join("|"))).collect();
        words.join(if self.any { "|" } else { "&" })
    }

    /// Every word by itself, as a tsquery: the more of them a product has, the higher is its rank.
    pub fn ranking(&self) -> String {
        self.words.iter().flat_map(|word| word.operands()).collect::<Vec<_>>().join("|")
    }

    /// All words, the last one of which may be the beginning of another however short it is: for lists of few words.
    pub fn completing(&self) -> String {
        let mut words: Vec<String> =
            self.words.iter().map(|word| word.operands().join("|")).map(|word| format!("({word})")).collect();
        if let (Some(last), Some(typed)) =
            (words.last_mut(), self.words.last().and_then(|word| word.meant.first()))
        {
            *last = format!("({last}|'{typed}':*)");
        }
        words.join("&")
    }

    /// The words that may become of what is typed with errors in it; none if it has none or nobody knows.
    pub async fn completed_in(self, connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let mut words = Vec::with_capacity(self.words.len());
        for word in self.words {
            let known = exists(connection, ProductStatus::Active, &word.operands().join("|")).await?;
            let meant = if known { Some(word) } else { word.corrected_in(connection).await? };
            let Some(meant) = meant else { return Ok(None) };
            words.push(meant);
        }
        let corrected = words.iter().any(|word| word.corrected);
        Ok(corrected.then_some(Self { words, any: false }))
    }

    /// The words as typed, as the beginning of a folded name would have them.
    pub fn folded(&self) -> String {
        self.words
            .iter()
            .filter_map(|word| word.meant.first())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// For page tokens.
    pub fn encode(&self) -> String {
        let word = |word: &Word| {
            let mut text = word.meant.join(",");
            text.extend(word.prefix.then_some(PREFIX));
            text.extend(word.corrected.then_some(CORRECTED));
            text
        };
        let words = self.words.iter().map(word).collect::<Vec<_>>().join(" ");
        if self.any { format!("{ANY}{words}") } else { words }
    }

    /// The reading of a token; `None` for what was not made here.
    pub fn decode(text: &str) -> Option<Self> {
        let (any, text) = text.strip_prefix(ANY).map_or((false, text), |rest| (true, rest));
        let word = |text: &str| {
            let (text, corrected) = text.strip_suffix(CORRECTED).map_or((text, false), |rest| (rest, true));
            let (text, prefix) = text.strip_suffix(PREFIX).map_or((text, false), |rest| (rest, true));
            let meant: Vec<String> = text.split(',').map(str::to_owned).collect();
            let is_word = |word: &String| {
                let folded = fold(word);
                folded == *word && words(&folded).eq([word.as_str()])
            };
            let valid = meant.len() <= MAX_MEANT && meant.iter().all(is_word);
            valid.then_some(Word { meant, prefix, corrected })
        };
        let words: Option<Vec<Word>> = text.split_terminator(' ').map(word).collect();
        words.filter(|words| words.len() <= MAX_QUERY_WORDS).map(|words| Self { words, any })
    }

    /// What was meant by a query that finds nothing as it was typed: words that no product of this status has are taken
    /// for others, and if no product has all of them, some are enough. It remains as it is if that does not help. What
    /// filters narrow may have left out the products that have all words, so only then is that asked, and the query
    /// remains as it is if there are any.
    pub async fn corrected_in(
        self,
        connection: &mut PgConnection,
        status: ProductStatus,
        is_narrowed: bool,
    ) -> Result<Self, sqlx::Error> {
        if is_narrowed && exists(connection, status, &self.matching()).await? {
            return Ok(self);
        }
        let operands: Vec<String> = self.words.iter().map(|word| word.operands().join("|")).collect();
        let found = which_exist(connection, status, &operands).await?;
        if !found.contains(&false) {
            return Ok(Self { any: true, ..self });
        }
        let mut known = Vec::with_capacity(self.words.len());
        for (word, found) in self.words.iter().zip(&found) {
            let meant = if *found { Some(word.clone()) } else { word.corrected_in(connection).await? };
            known.extend(meant);
        }
        let corrected = Self { words: known, any: false };
        if corrected.is_empty() {
            return Ok(self);
        }
        let all_known = corrected.words.len() == self.words.len();
        if all_known && exists(connection, status, &corrected.matching()).await? {
            return Ok(corrected);
        }
        let some = Self { any: true, ..corrected };
        // A word that was found as it was typed is one of some.
        let helps = found.contains(&true) || exists(connection, status, &some.matching()).await?;
        Ok(if helps { some } else { self })
    }
}

impl Word {
    /// What it is found by, each as an operand of a tsquery: letters and digits alone, so that nothing is to be escaped.
    /// A beginning is looked for where words are few.
    fn operands(&self) -> Vec<String> {
        let whole = self.meant.iter().flat_map(|meant| forms(meant)).map(|form| format!("'{form}'"));
        whole.chain(self.begun()).collect()
    }

    /// The same, elsewhere than in descriptions.
    fn marked(&self) -> Vec<String> {
        let whole = self.meant.iter().flat_map(|meant| forms(meant)).map(|form| format!("'{MARK}{form}'"));
        whole.chain(self.begun()).collect()
    }

    fn begun(&self) -> impl Iterator<Item = String> + '_ {
        self.meant.iter().filter(|_| self.prefix).map(|meant| format!("'{MARK}{meant}':*"))
    }

    /// The nearest known words, the most frequent first.
    async fn corrected_in(&self, connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let Some(typed) = self.meant.first() else { return Ok(None) };
        let errors = forgiven(typed.chars().count());
        let candidates = candidates(connection, typed).await?;
        let whole = nearest(&candidates, errors, |word| distance(typed, word));
        if !whole.is_empty() {
            return Ok(Some(Self { meant: whole, prefix: false, corrected: true }));
        }
        if !self.prefix {
            return Ok(None);
        }
        let candidates = begun_alike(connection, typed).await?;
        let begun = nearest(&candidates, errors.min(1), |word| distance_to_beginning(typed, word));
        let begun = Some(begun).filter(|words| !words.is_empty());
        Ok(begun.map(|meant| Self { meant, prefix: false, corrected: true }))
    }
}

/// Known words that share a deletion with what was typed, the most frequent first.
async fn candidates(connection: &mut PgConnection, typed: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT word FROM search_words WHERE deletions && $1 ORDER BY products DESC, word LIMIT $2",
    )
    .bind(deletions(typed))
    .bind(MAX_CANDIDATES)
    .fetch_all(connection)
    .await
}

/// Known words that begin with the same letters, the most frequent first: of a word that is not typed to its end,
/// deletions say little.
async fn begun_alike(connection: &mut PgConnection, typed: &str) -> Result<Vec<String>, sqlx::Error> {
    let beginning: String = typed.chars().take(RIGHT_CHARS).collect();
    sqlx::query_scalar(
        "SELECT word FROM search_words WHERE word >= $1 AND word < $2 ORDER BY products DESC, word LIMIT $3",
    )
    .bind(&beginning)
    .bind(format!("{beginning}{}", char::MAX))
    .bind(MAX_CANDIDATES)
    .fetch_all(connection)
    .await
}

/// The candidates of the smallest distance that is forgiven.
fn nearest(candidates: &[String], errors: usize, distance: impl Fn(&str) -> usize) -> Vec<String> {
    let measured: Vec<(usize, &String)> = candidates.iter().map(|word| (distance(word), word)).collect();
    let least = measured.iter().map(|(distance, _)| *distance).min().filter(|least| *least <= errors);
    let nearest = measured.into_iter().filter(|(distance, _)| Some(*distance) == least);
    nearest.take(MAX_MEANT).map(|(_, word)| word.clone()).collect()
}

/// Whether some product matches.
async fn exists(
    connection: &mut PgConnection,
    status: ProductStatus,
    tsquery: &str,
) -> Result<bool, sqlx::Error> {
    Ok(which_exist(connection, status, &[tsquery.to_owned()]).await? == [true])
}

/// Of each whether some product matches it.
async fn which_exist(
    connection: &mut PgConnection,
    status: ProductStatus,
    tsqueries: &[String],
) -> Result<Vec<bool>, sqlx::Error> {
    existence(status, tsqueries).build_query_scalar().fetch_one(connection).await
}

/// What many products have is found among the newest, and what few have in the index of words, which is slow for what
/// many have. Left to choose, the planner takes a word that it knows nothing of for a frequent one, and looks for it
/// through all products.
fn existence(status: ProductStatus, tsqueries: &[String]) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("WITH ");
    for (number, tsquery) in tsqueries.iter().enumerate() {
        sql.push(if number > 0 { ", found" } else { "found" }).push(number);
        sql.push(" AS MATERIALIZED (SELECT status FROM product_search WHERE words @@ ");
        sql.push_bind(tsquery.clone()).push("::tsquery)");
    }
    sql.push(" SELECT ARRAY[");
    for (number, tsquery) in tsqueries.iter().enumerate() {
        sql.push(if number > 0 { ", CASE" } else { "CASE" });
        sql.push(" WHEN EXISTS (SELECT FROM (SELECT words FROM product_search WHERE status = ");
        sql.push_bind(status_name(status)).push(" ORDER BY product_id DESC LIMIT ").push(NEWEST);
        sql.push(") s WHERE words @@ ").push_bind(tsquery.clone()).push("::tsquery) THEN true ELSE ");
        sql.push("EXISTS (SELECT FROM found").push(number).push(" WHERE status = ");
        sql.push_bind(status_name(status)).push(") END");
    }
    sql.push("]");
    sql
}

#[cfg(test)]
mod tests {
    use eventsourcing::{EventLog, LogOptions};
    use sqlx::{AssertSqlSafe, Execute, Row};
    use testkit::TestDatabase;

    use super::*;

    /// 20,000 documents: every word of 800 is in some, and one is in all.
    const FILL: &str = "
        INSERT INTO product_search (product_id, format, status, words, terms, vocabulary, prices, lowest_price, currency,
                                    name_key, size)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 1, 'active', ('all rare' || n % 800)::tsvector, '{}', '{}', '{}', 0, 'EUR',
               '', 0
          FROM generate_series(1, 20000) n;
        ANALYZE product_search;";

    #[tokio::test]
    async fn nobody_reads_all_products_to_learn_that_none_has_a_word() {
        let database = TestDatabase::new(crate::LOG, crate::MIGRATIONS).await;
        let admin = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
        sqlx::raw_sql(FILL).execute(&admin).await.unwrap();
        admin.close().await;
        let log = EventLog::open(LogOptions::new(crate::LOG, database.url())).await.unwrap();
        let mut transaction = super::super::begin(log.pool()).await.unwrap();
        for (word, known) in [("unknown", false), ("rare799", true), ("rare1", true), ("all", true)] {
            assert_eq!(exists(&mut transaction, ProductStatus::Active, word).await.unwrap(), known, "{word}");
            let mut sql = existence(ProductStatus::Active, &[word.to_owned()]);
            let mut query = sql.build();
            let arguments = query.take_arguments().unwrap().unwrap();
            let explain = AssertSqlSafe(format!("EXPLAIN ANALYZE {}", query.sql().as_str()));
            let rows = sqlx::query_with(explain, arguments).fetch_all(&mut *transaction).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let number = |line: &str, after: &str| {
                let digits = line.split_once(after)?.1.split(|c: char| !c.is_ascii_digit()).next()?;
                digits.parse::<i64>().ok()
            };
            let read = plan.iter().flat_map(|line| {
                let passed = line.split_once("(actual").and_then(|(_, actual)| number(actual, "rows="));
                passed.into_iter().chain(number(line, "Rows Removed by Filter: "))
            });
            let (most, plan) = (read.max().unwrap(), plan.join("\n"));
            assert!(most <= NEWEST, "{word}:\n{plan}");
        }
    }

    #[test]
    fn a_query_finds_words_their_stems_and_what_begins_with_the_last() {
        let reading = Reading::plain("Chef's knives");
        assert_eq!(reading.matching(), "('chefs'|'chef')&('knives'|'knif'|'=knives':*)");
        assert_eq!(reading.marked(), "('=chefs'|'=chef')&('=knives'|'=knif'|'=knives':*)");
        assert_eq!(reading.ranking(), "'chefs'|'chef'|'knives'|'knif'|'=knives':*");
        assert_eq!(Reading::plain("no 8").matching(), "('no')&('8')", "a short word begins too many");
        assert_eq!(Reading::plain("mug mug MUG").matching(), "('mug'|'=mug':*)");
        assert!(Reading::plain(" ?! ").is_empty());
        let long = "a ".repeat(100) + &(0..100).map(|n| format!("w{n} ")).collect::<String>();
        assert!(Reading::plain(&long).words.len() <= MAX_QUERY_WORDS);
    }

    #[test]
    fn a_reading_survives_the_way_through_a_token_and_nothing_else_gets_in() {
        let word = |meant: &[&str], prefix, corrected| Word {
            meant: meant.iter().map(|&word| word.to_owned()).collect(),
            prefix,
            corrected,
        };
        let corrected = Reading { words: vec![word(&["knife", "knives"], false, true)], any: false };
        assert_eq!(corrected.corrected().as_deref(), Some("knife"));
        let some =
            Reading { words: vec![word(&["mug"], true, false), word(&["blue"], false, true)], any: true };
        for reading in [Reading::default(), Reading::plain("茶碗 brûlée"), corrected, some] {
            assert_eq!(Reading::decode(&reading.encode()), Some(reading));
        }
        for wrong in ["'a'", "a'b", "A", "a,b,c,d", "a\\", "é", "a  b", ",", &"a ".repeat(11)] {
            assert_eq!(Reading::decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_nearest_words_are_meant_and_not_those_that_are_further() {
        let known = ["knife", "knives", "kettle", "knits"].map(str::to_owned);
        let meant = |typed: &str| nearest(&known, forgiven(typed.len()), |word| distance(typed, word));
        assert_eq!(meant("knfie"), ["knife"]);
        assert_eq!(meant("knift"), ["knife"]);
        assert_eq!(meant("kinfse"), ["knife"]);
        assert!(meant("copper").is_empty());
    }
}
