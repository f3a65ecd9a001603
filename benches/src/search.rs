//! Search in a large catalogue, beside a plain SELECT by primary key of the same run: what shoppers type, lists with
//! facets, and single products, at 100 requests a second and as fast as it goes. The products are generated: names of
//! three words, descriptions of forty, 300 brands, 1,000 categories, three variants with two options each; some words are
//! a thousand times as frequent as others. They are written into the tables that events would have filled, and the shop
//! makes the documents of its search from these.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use contracts::shop::product::v1::{GetProductRequest, SearchOrder, SearchProductsRequest};
use prost::Message;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::figures::Unit;
use crate::grpc::Channels;
use crate::load::{Times, closed_loop, paced_loop};
use crate::run::Run;
use crate::shop::{Data, Shop};

/// Products, as powers of ten.
pub const POWERS: [u32; 1] = [5];
/// The further one with `--long`.
pub const LONG_POWER: u32 = 6;
/// Requests a second at which latencies are taken.
const RATE: f64 = 100.0;
/// So long requests come before they are counted: the shop was just started, and its PostgreSQL has read nothing yet.
const WARM_UP: Duration = Duration::from_secs(5);
/// A p99 of fewer requests would be the one slowest.
const LEAST_MEASURED: Duration = Duration::from_secs(5);
/// Clients of the maximal rate.
const CLIENTS: usize = 8;
/// Products on a page.
const PAGE: i32 = 24;
/// How long the shop may take to make documents of all products.
const DOCUMENTS: Duration = Duration::from_secs(2_400);
const LOOK: Duration = Duration::from_millis(250);

const GET: &str = "/shop.product.v1.ProductService/GetProduct";
const SEARCH: &str = "/shop.product.v1.ProductService/SearchProducts";

/// Words that texts are made of: adjectives, nouns, brands, then those of descriptions.
const ADJECTIVES: usize = 300;
const NOUNS: usize = 500;
const BRANDS: usize = 300;
const WORDS: usize = 20_000;
/// Consonants and vowels that words consist of.
const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
const VOWELS: &[u8] = b"aeiou";

/// All sizes.
pub async fn search(run: &mut Run<'_>) -> anyhow::Result<()> {
    let long = run.options().long.then_some(LONG_POWER);
    for power in POWERS.into_iter().chain(long) {
        of_size(run, power).await?;
    }
    Ok(())
}

/// The name of a figure at a size.
pub fn figure(power: u32, name: &str) -> String {
    format!("search/10^{power}/{name}")
}

async fn of_size(run: &mut Run<'_>, power: u32) -> anyhow::Result<()> {
    let products = 10_u64.pow(power);
    let mut filled = run.setup().catalogues.lock().await;
    if let Entry::Vacant(vacant) = filled.entry(power) {
        vacant.insert(catalogue(run, power, products).await?);
    }
    let data = filled.get(&power).context("it was just filled")?;
    let shop = Shop::start(run.shop()?, data).await?;

    let grpc = shop.addresses.grpc.get("product").context("the shop says no address of the catalogue")?;
    let grpc = Arc::new(Channels::to(grpc).await?);
    let call = |method: &'static str, message: fn(u64, u64) -> Vec<u8>| {
        let grpc = grpc.clone();
        move |number: u64| {
            let (grpc, message) = (grpc.clone(), message(number, products));
            async move { grpc.call(method, &message).await.map(drop) }
        }
    };
    measure(run, power, "search", call(SEARCH, searched)).await?;
    measure(run, power, "list with facets", call(SEARCH, listed)).await?;
    measure(run, power, "product by id", call(GET, product)).await?;
    let pool = shop.pool("product", CLIENTS as u32).await?;
    let plain = pool.clone();
    let select = move |number: u64| select(plain.clone(), id(scattered(number, products)));
    measure(run, power, "SELECT by primary key", select).await?;
    pool.close().await;
    shop.stop().await
}

/// A shop with so many products, and their documents.
async fn catalogue(run: &mut Run<'_>, power: u32, products: u64) -> anyhow::Result<Data> {
    let data = Data::new()?;
    let shop = Shop::start(run.shop()?, &data).await?;
    let mut database = shop.database("product").await?;
    fill(&mut database, products).await?;
    shop.stop().await?;
    database.close().await.ok();

    let shop = Shop::start(run.shop()?, &data).await?;
    let mut database = shop.database("product").await?;
    let took = documents(&mut database, products).await?;
    run.record(figure(power, "documents made"), Unit::PerSecond, products as f64 / took.as_secs_f64());
    database.close().await?;
    shop.stop().await?;
    Ok(data)
}

/// The maximal rate, and latencies at [`RATE`] if that is less: else every request would wait for all before it, until one
/// is refused.
async fn measure<F, Fut>(run: &mut Run<'_>, power: u32, name: &str, operation: F) -> anyhow::Result<()>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let paced = operation.clone();
    let times = Times { warm_up: WARM_UP, measured: run.times().measured };
    let fastest =
        closed_loop(times, CLIENTS, move |client, round| operation(round * 1_009 + client as u64)).await?;
    run.record(figure(power, name), Unit::PerSecond, fastest.per_second);
    if fastest.per_second < RATE {
        return Ok(());
    }
    let times = Times { measured: run.times().measured.max(LEAST_MEASURED), ..run.times() };
    let paced = paced_loop(times, RATE, paced).await?;
    for (quantile, q) in [("p50", 0.5), ("p99", 0.99)] {
        let name = figure(power, &format!("{name}, {quantile}"));
        run.record(name, Unit::Milliseconds, paced.quantile(q));
    }
    Ok(())
}

async fn select(pool: PgPool, id: Uuid) -> anyhow::Result<()> {
    let found: Option<(String,)> = sqlx::query_as("SELECT name FROM products WHERE product_id = $1")
        .bind(id)
        .fetch_optional(&pool)
        .await?;
    ensure!(found.is_some(), "product {id} is not there");
    Ok(())
}

/// A number that jumps about among so many, the same for the same.
fn scattered(number: u64, among: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) % among
}

/// What shoppers type: half of it is a noun with an adjective, the other half in equal parts a noun in plural, a brand with
/// a noun, a typing error, a SKU, and a word that is in descriptions.
fn searched(number: u64, products: u64) -> Vec<u8> {
    let pick = |salt: u64, among: usize| scattered(number * 7 + salt, among as u64) as usize;
    let (adjective, noun) = (word(pick(1, ADJECTIVES)), word(ADJECTIVES + pick(2, NOUNS)));
    let query = match number % 10 {
        0 => format!("{noun}s"),
        1 => format!("{} {noun}", word(ADJECTIVES + NOUNS + pick(3, BRANDS))),
        2 => format!("{adjective} {}{}{}{}", &noun[..1], &noun[2..3], &noun[1..2], &noun[3..]),
        3 => format!("sku-{}", scattered(number, products)),
        4 => word(ADJECTIVES + NOUNS + BRANDS + pick(4, 2_000)),
        _ => format!("{adjective} {noun}"),
    };
    SearchProductsRequest { query, page_size: PAGE, ..Default::default() }.encode_to_vec()
}

/// A category, every third time with a brand, a size or a range of prices, in one of the orders.
fn listed(number: u64, _products: u64) -> Vec<u8> {
    let (one, two, three) = (number % 10, scattered(number, 10), scattered(number + 5, 10));
    let deep = number % 4;
    let category = match deep {
        0 => format!("c{one}"),
        1 => format!("c{one} > d{two}"),
        _ => format!("c{one} > d{two} > e{three}"),
    };
    let mut request = SearchProductsRequest { category, page_size: PAGE, ..Default::default() };
    match number % 3 {
        0 => request.option = vec![format!("Size={}", scattered(number, 5))],
        1 => {
            (request.min_price, request.max_price) = (1_500, 7_500);
            request.currency_code = "EUR".to_owned();
        }
        _ => {}
    }
    let orders =
        [SearchOrder::Newest, SearchOrder::PriceAscending, SearchOrder::PriceDescending, SearchOrder::Name];
    request.set_order_by(orders[(number % 4) as usize]);
    request.encode_to_vec()
}

fn product(number: u64, products: u64) -> Vec<u8> {
    let product_id = id(scattered(number, products)).to_string();
    GetProductRequest { product_id, ..Default::default() }.encode_to_vec()
}

/// The id of a generated product.
fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number) + 1)
}

/// A word that can be spoken, another one for every number.
fn word(number: usize) -> String {
    let mut rest = number;
    let mut letters = String::new();
    for _ in 0..3 {
        letters.push(char::from(CONSONANTS[rest % CONSONANTS.len()]));
        rest /= CONSONANTS.len();
        letters.push(char::from(VOWELS[(rest + number) % VOWELS.len()]));
        rest /= VOWELS.len();
    }
    letters.push(char::from(CONSONANTS[number % CONSONANTS.len()]));
    letters
}

/// Writes the products into the tables of the catalogue's read model.
async fn fill(database: &mut PgConnection, products: u64) -> anyhow::Result<()> {
    let words: Vec<String> = (0..WORDS).map(word).collect();
    sqlx::raw_sql("CREATE TEMPORARY TABLE words (n bigint PRIMARY KEY, word text NOT NULL)")
        .execute(&mut *database)
        .await?;
    sqlx::query("INSERT INTO words SELECT n - 1, word FROM unnest($1::text[]) WITH ORDINALITY w (word, n)")
        .bind(words)
        .execute(&mut *database)
        .await?;
    let sql = FILL
        .replace("{products}", &products.to_string())
        .replace("{described}", &(ADJECTIVES + NOUNS + BRANDS).to_string());
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut *database)
        .await
        .context("the products cannot be written")?;
    sqlx::raw_sql("VACUUM ANALYZE products, variants, availability").execute(database).await?;
    Ok(())
}

/// A description is two of 5,000 halves. A noun in the first hundredth of all is as frequent as those of the last fifth
/// together, and so are words of descriptions.
const FILL: &str = "
    SET synchronous_commit = off;
    SELECT setseed(0.5);
    CREATE TEMPORARY TABLE halves AS
      SELECT h.n, (SELECT string_agg(w.word, ' ') FROM
                     (SELECT {described} + floor(18900 * power(random(), 3))::bigint AS n
                        FROM generate_series(1, 20) WHERE h.n >= 0) r JOIN words w USING (n)) AS text
        FROM generate_series(0, 4999) AS h (n);
    INSERT INTO products (product_id, handle, name, description, brand, category_path, category, supplier, attributes,
                          tags, images, status, options, currency, variant_count, created_at, updated_at, version)
    SELECT lpad(to_hex(p.n + 1), 32, '0')::uuid, 'p' || p.n, initcap(a.word || ' ' || o.word) || ' ' || p.n % 1000,
           one.text || ' ' || two.text, initcap(b.word),
           jsonb_build_array('c' || p.n % 10, 'd' || p.n / 10 % 10, 'e' || p.n / 100 % 10),
           'c' || p.n % 10 || ' > d' || p.n / 10 % 10 || ' > e' || p.n / 100 % 10,
           's' || p.n % 50, '{}', jsonb_build_array('tag' || p.n % 30), '[]',
           CASE WHEN p.n % 50 = 0 THEN 'discontinued' ELSE 'active' END, '[\"Size\", \"Colour\"]', 'EUR', 3, now(), now(), 1
      FROM (SELECT n, floor(300 * random())::bigint AS a, 300 + floor(500 * power(random(), 2))::bigint AS o,
                   800 + floor(300 * power(random(), 2))::bigint AS b,
                   floor(5000 * random())::bigint AS one, floor(5000 * random())::bigint AS two
              FROM generate_series(0, {products} - 1) AS g (n)) p
      JOIN words a ON a.n = p.a JOIN words o ON o.n = p.o JOIN words b ON b.n = p.b
      JOIN halves one ON one.n = p.one JOIN halves two ON two.n = p.two;
    INSERT INTO variants (sku, product_id, ordinal, option_values, price, currency)
    SELECT 'SKU-' || n || '-' || v, lpad(to_hex(n + 1), 32, '0')::uuid, v,
           jsonb_build_array(((n + v) % 5)::text, ((n / 7 + v) % 12)::text),
           (power(10, 2.5 + 2 * random()))::bigint, 'EUR'
      FROM generate_series(0, {products} - 1) AS p (n), generate_series(1, 3) AS v;
    INSERT INTO availability SELECT sku, random() < 0.6 FROM variants;";

/// Waits until every product has its document. Returns how long that took.
async fn documents(database: &mut PgConnection, products: u64) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    loop {
        // They are made in the order of ids.
        let last: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM product_search WHERE product_id = $1)")
                .bind(id(products - 1))
                .fetch_one(&mut *database)
                .await?;
        if last {
            break;
        }
        ensure!(begun.elapsed() < DOCUMENTS, "the shop does not make the documents of its search");
        tokio::time::sleep(LOOK).await;
    }
    let took = begun.elapsed();
    sqlx::raw_sql("VACUUM ANALYZE product_search, search_words, search_terms").execute(database).await?;
    Ok(took)
}
