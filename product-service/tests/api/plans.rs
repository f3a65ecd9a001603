//! Every list finds its products through an index, also when there are many.

use eventsourcing::{EventLog, LogOptions};
use product_service::application::{ListFilter, PriceRange};
use product_service::domain::product::ProductStatus;
use product_service::domain::{Currency, Handle, Sku};
use product_service::{LOG, MIGRATIONS};
use sqlx::{AssertSqlSafe, Execute, Row};
use testkit::TestDatabase;

/// Products are 30,000, of 300 brands, 30 suppliers and 1,000 categories; each has two variants.
const FILL: &str = "
    INSERT INTO products (product_id, handle, name, description, brand, category_path, category, supplier,
                          attributes, tags, images, status, options, currency, variant_count, created_at,
                          updated_at, version)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'p' || n, 'P', '', 'b' || n % 300, '[]',
           'c' || n % 50 || ' > d' || n % 1000, 's' || n % 30, '{}', '[]', '[]',
           CASE WHEN n % 10 = 0 THEN 'draft' ELSE 'active' END, '[]', 'EUR', 2, now(), now(), 1
      FROM generate_series(1, 30000) n;
    INSERT INTO variants (sku, product_id, ordinal, option_values, price, currency)
    SELECT 's' || n || '-' || v, lpad(to_hex(n), 32, '0')::uuid, v, '[]', n, 'EUR'
      FROM generate_series(1, 30000) n, generate_series(1, 2) v;
    INSERT INTO availability SELECT sku, sku LIKE '%7-1' FROM variants;
    ANALYZE;";

fn all() -> ListFilter {
    ListFilter {
        status: ProductStatus::Active,
        brand: None,
        category: None,
        supplier: None,
        price: None,
        in_stock: false,
        handle: None,
        sku: None,
    }
}

#[tokio::test]
async fn no_list_reads_a_whole_table() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let admin = sqlx::PgPool::connect(database.admin_url()).await.unwrap();
    sqlx::raw_sql(FILL).execute(&admin).await.unwrap();
    admin.close().await;
    let log = EventLog::open(LogOptions::new(LOG, database.url())).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let priced = |lowest, highest| {
        Some(PriceRange { currency: Currency::from_code("EUR").unwrap(), lowest: Some(lowest), highest })
    };
    for (name, filter) in [
        ("all", all()),
        ("drafts", ListFilter { status: ProductStatus::Draft, ..all() }),
        ("brand", ListFilter { brand: text("b7"), ..all() }),
        ("supplier", ListFilter { supplier: text("s7"), ..all() }),
        ("leaf category", ListFilter { category: text("c7 > d7"), ..all() }),
        ("category", ListFilter { category: text("c7"), ..all() }),
        ("few prices", ListFilter { price: priced(100, Some(120)), ..all() }),
        ("many prices", ListFilter { price: priced(100, None), ..all() }),
        ("in stock", ListFilter { in_stock: true, ..all() }),
        ("handle", ListFilter { handle: Some(Handle::parse("p77").unwrap()), ..all() }),
        ("sku", ListFilter { sku: Some(Sku::parse("s77-1").unwrap()), ..all() }),
        ("brand in stock", ListFilter { brand: text("b7"), in_stock: true, ..all() }),
    ] {
        for after in [None, Some(uuid::Uuid::from_u128(15_000).into())] {
            let mut builder = filter.query(after, 51);
            let mut query = builder.build();
            let arguments = query.take_arguments().unwrap().unwrap();
            let explain = AssertSqlSafe(format!("EXPLAIN {}", query.sql().as_str()));
            let rows = sqlx::query_with(explain, arguments).fetch_all(log.pool()).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
        }
    }
}
