//! Reads, from the tables that follow the log. They may be a moment behind; who carries the position of a write
//! waits for it first, and is then answered from the tables themselves.

use std::sync::Arc;

use eventsourcing::SubscriptionHandle;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::cache::{ProductCache, Ticket};
use super::list::{ListFilter, status_of};
use super::shared::{AsOf, Found, SharedProducts};
use super::views::{PricePage, PricePoint, PricePointKey, ProductPage, ProductView, ServedProduct};
use crate::domain::{Currency, Handle, InvalidValue, ProductId, Sku};

/// A page ends before it becomes larger than this, unless it is a single product: with what is around it, it must
/// fit into one message.
const MAX_PAGE_BYTES: i64 = 2 * 1024 * 1024;

/// One statement, so that product and variants are of one moment.
const SELECT_PRODUCTS: &str = "SELECT p.product_id, p.handle, p.name, p.description, p.brand, p.category_path, \
        p.supplier, p.attributes, p.tags, p.images, p.status, p.options, p.currency, p.created_at, p.updated_at, \
        p.version, \
        (SELECT coalesce(jsonb_agg(jsonb_build_object('sku', v.sku, 'option_values', v.option_values, \
                    'price', v.price, 'barcode', v.barcode, 'in_stock', coalesce(a.in_stock, false)) \
                    ORDER BY v.ordinal), '[]') \
           FROM variants v LEFT JOIN availability a USING (sku) WHERE v.product_id = p.product_id) AS variants, \
        CASE WHEN p.scheduled_count = 0 THEN '[]'::jsonb ELSE \
        (SELECT coalesce(jsonb_agg(jsonb_build_object('schedule_id', s.schedule_id, 'sku', s.sku, \
                    'price', s.price, 'effective_at', s.effective_at, 'reason', s.reason) \
                    ORDER BY s.effective_at, s.schedule_id), '[]') \
           FROM scheduled_prices s WHERE s.product_id = p.product_id) END AS scheduled_prices \
   FROM products p WHERE p.product_id = ANY($1) ORDER BY p.product_id DESC";

/// Reads of products and their prices.
#[derive(Clone)]
pub struct Queries {
    pool: PgPool,
    cache: ProductCache,
    read_model: SubscriptionHandle,
    availability: SubscriptionHandle,
}

impl Queries {
    /// Reads through `pool` the tables that `read_model` and `availability` keep.
    pub fn new(
        pool: PgPool,
        cache: ProductCache,
        read_model: SubscriptionHandle,
        availability: SubscriptionHandle,
    ) -> Self {
        Self { pool, cache, read_model, availability }
    }

    /// What a product and its prices depend on.
    pub fn read_model(&self) -> &SubscriptionHandle {
        &self.read_model
    }

    /// What all reads depend on.
    pub fn models(&self) -> [&SubscriptionHandle; 2] {
        [&self.read_model, &self.availability]
    }

    /// One product, perhaps from memory: outdated by [`CONFIRMED_FOR`](super::CONFIRMED_FOR) at most.
    pub async fn product(&self, product_id: ProductId) -> Result<Option<Arc<ServedProduct>>, sqlx::Error> {
        if let Some(product) = self.cache.get(product_id) {
            return Ok(Some(product));
        }
        match self.cache.shared().filter(|_| self.cache.is_confirmed()) {
            Some(shared) => self.shared_product(shared, product_id).await,
            None => self.stored_product(product_id).await,
        }
    }

    /// One product from where replicas share it, or from the tables.
    async fn shared_product(
        &self,
        shared: &SharedProducts,
        product_id: ProductId,
    ) -> Result<Option<Arc<ServedProduct>>, sqlx::Error> {
        let ticket = self.cache.ticket(product_id);
        let product = match shared.find(product_id, ticket.needed).await {
            Found::Product(product) => ServedProduct::shared(*product),
            Found::Nothing { fill: false } => return self.stored_product(product_id).await,
            Found::Nothing { fill: true } => {
                let Some((as_of, product)) = self.read_as_of(product_id, ticket).await? else {
                    return Ok(None);
                };
                shared.store(as_of, &product);
                ServedProduct::shared(product)
            }
        };
        self.cache.store(Arc::clone(&product), ticket);
        Ok(Some(product))
    }

    /// One product as the tables have it now, and where they are at least. On one connection: with two, a crash of
    /// PostgreSQL between them could lose what the first had seen, since projections do not wait for the disk.
    async fn read_as_of(
        &self,
        product_id: ProductId,
        ticket: Ticket,
    ) -> Result<Option<(AsOf, ProductView)>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let as_of = AsOf {
            version: ticket.needed.version,
            products: self.read_model.stored_checkpoint_by(&mut *connection).await?,
            stock: self.availability.stored_checkpoint_by(&mut *connection).await?,
        };
        let product = products_by_id(&mut *connection, &[product_id.as_uuid()]).await?.pop();
        Ok(product.map(|product| (as_of, product)))
    }

    /// One product as the tables have it now.
    pub async fn stored_product(
        &self,
        product_id: ProductId,
    ) -> Result<Option<Arc<ServedProduct>>, sqlx::Error> {
        let ticket = self.cache.ticket(product_id);
        let product = self.stored(&[product_id.as_uuid()]).await?.pop().map(ServedProduct::shared);
        if let Some(product) = &product {
            self.cache.store(Arc::clone(product), ticket);
        }
        Ok(product)
    }

    /// At most `size` products behind `after`, the newest first. A product that is there all the time is on exactly
    /// one page, whatever happens to others meanwhile, since the order never changes.
    pub async fn list(
        &self,
        filter: &ListFilter,
        after: Option<ProductId>,
        size: u32,
    ) -> Result<ProductPage, sqlx::Error> {
        let mut query = filter.query(after, i64::from(size) + 1);
        let found: Vec<(Uuid, i32)> = query.build_query_as().fetch_all(&self.pool).await?;
        let fitting = fitting(found.iter().map(|(_, weight)| *weight), size as usize);
        let ids: Vec<Uuid> = found[..fitting].iter().map(|(id, _)| *id).collect();
        let next = ids.last().filter(|_| ids.len() < found.len()).map(|last| (*last).into());
        Ok(ProductPage { products: self.stored(&ids).await?, next })
    }

    /// At most `size` prices of a product, or of one of its variants, behind `after`, the newest first.
    pub async fn prices(
        &self,
        product_id: ProductId,
        sku: Option<&Sku>,
        after: Option<PricePointKey>,
        size: u32,
    ) -> Result<PricePage, sqlx::Error> {
        let mut sql = sqlx::QueryBuilder::new(
            "SELECT position, ordinal, sku, currency, price, previous, reason, changed_at \
             FROM price_history WHERE product_id = ",
        );
        sql.push_bind(product_id.as_uuid());
        if let Some(sku) = sku {
            sql.push(" AND sku = ").push_bind(sku.as_str().to_owned());
        }
        if let Some(after) = after {
            sql.push(" AND (position, ordinal) < (").push_bind(after.position);
            sql.push(", ").push_bind(after.ordinal).push(")");
        }
        sql.push(" ORDER BY position DESC, ordinal DESC LIMIT ").push_bind(i64::from(size) + 1);
        let rows = sql.build().fetch_all(&self.pool).await?;
        let prices: Result<Vec<_>, _> = rows.iter().take(size as usize).map(price_point).collect();
        let prices = prices?;
        let next = prices.last().filter(|_| prices.len() < rows.len()).map(|last| last.key);
        Ok(PricePage { prices, next })
    }

    /// The tables.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// These products in this order, as the tables have them now.
    pub(super) async fn in_order(&self, ids: &[Uuid]) -> Result<Vec<ProductView>, sqlx::Error> {
        let mut products = self.stored(ids).await?;
        let place = |product: &ProductView| ids.iter().position(|id| *id == product.product_id.as_uuid());
        products.sort_by_cached_key(place);
        Ok(products)
    }

    /// Who has these SKUs, as far as the tables have come.
    pub async fn owners(&self, skus: &[&str]) -> Result<Vec<(Sku, ProductId)>, sqlx::Error> {
        let rows: Vec<(String, Uuid)> =
            sqlx::query_as("SELECT sku, product_id FROM variants WHERE sku = ANY($1)")
                .bind(skus)
                .fetch_all(&self.pool)
                .await?;
        let owner = |(sku, id): (String, Uuid)| Ok((Sku::parse(&sku).map_err(undecodable)?, id.into()));
        rows.into_iter().map(owner).collect()
    }

    async fn stored(&self, ids: &[Uuid]) -> Result<Vec<ProductView>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        products_by_id(&self.pool, ids).await
    }
}

/// How many products of these sizes fit into a page of at most `size`: one, whatever it is, and as many as stay below
/// [`MAX_PAGE_BYTES`].
pub(super) fn fitting(sizes: impl Iterator<Item = i32>, size: usize) -> usize {
    let mut bytes = 0;
    let fits = |weight: &i32| {
        let first = bytes == 0;
        bytes += i64::from(*weight).max(1);
        first || bytes <= MAX_PAGE_BYTES
    };
    sizes.take(size).take_while(fits).count()
}

/// Products as the tables have them, the newest first.
pub(super) async fn products_by_id(
    from: impl PgExecutor<'_>,
    ids: &[Uuid],
) -> Result<Vec<ProductView>, sqlx::Error> {
    let rows = sqlx::query(SELECT_PRODUCTS).bind(ids).fetch_all(from).await?;
    rows.iter().map(product_view).collect()
}

fn product_view(row: &PgRow) -> Result<ProductView, sqlx::Error> {
    let status: &str = row.try_get("status")?;
    let unknown = || InvalidRow(format!("a product has the unknown status {status}"));
    Ok(ProductView {
        product_id: row.try_get::<Uuid, _>("product_id")?.into(),
        handle: Handle::parse(row.try_get("handle")?).map_err(undecodable)?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        brand: row.try_get("brand")?,
        category_path: row.try_get::<Json<_>, _>("category_path")?.0,
        supplier: row.try_get("supplier")?,
        attributes: row.try_get::<Json<_>, _>("attributes")?.0,
        tags: row.try_get::<Json<_>, _>("tags")?.0,
        images: row.try_get::<Json<_>, _>("images")?.0,
        status: status_of(status).ok_or_else(|| undecodable(unknown()))?,
        options: row.try_get::<Json<_>, _>("options")?.0,
        currency: currency(row)?,
        variants: row.try_get::<Json<_>, _>("variants")?.0,
        scheduled_prices: row.try_get::<Json<_>, _>("scheduled_prices")?.0,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
    })
}

fn price_point(row: &PgRow) -> Result<PricePoint, sqlx::Error> {
    Ok(PricePoint {
        key: PricePointKey { position: row.try_get("position")?, ordinal: row.try_get("ordinal")? },
        sku: Sku::parse(row.try_get("sku")?).map_err(undecodable)?,
        currency: currency(row)?,
        price: row.try_get("price")?,
        previous: row.try_get("previous")?,
        reason: row.try_get("reason")?,
        changed_at: row.try_get("changed_at")?,
    })
}

fn currency(row: &PgRow) -> Result<Currency, sqlx::Error> {
    let code: &str = row.try_get("currency")?;
    let unknown = |_| InvalidValue::Currency;
    Currency::from_code(code).map_err(unknown).map_err(undecodable)
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct InvalidRow(String);

fn undecodable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
