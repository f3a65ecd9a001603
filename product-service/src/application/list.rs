//! The list of products: which of them, as SQL. Only the filters that are given appear in it, so that the planner
//! sees what it can use an index for.

use sqlx::{Postgres, QueryBuilder};

use crate::domain::product::ProductStatus;
use crate::domain::{Currency, Handle, ProductId, Sku};

/// Which products to list. Every filter that is given must hold.
#[derive(Clone, Debug)]
pub struct ListFilter {
    pub status: ProductStatus,
    pub brand: Option<String>,
    /// A category path joined by ` > `; its subtree matches.
    pub category: Option<String>,
    pub supplier: Option<String>,
    pub price: Option<PriceRange>,
    /// Only products with a variant in stock.
    pub in_stock: bool,
    pub handle: Option<Handle>,
    pub sku: Option<Sku>,
}

/// Prices in one currency, the bounds included; any variant may have one.
#[derive(Clone, Copy, Debug)]
pub struct PriceRange {
    pub currency: Currency,
    pub lowest: Option<i64>,
    pub highest: Option<i64>,
}

/// What stands between the levels of a category, in filters and in the table.
pub const CATEGORY_SEPARATOR: &str = " > ";
/// Follows everything that begins with a category and the separator, since `!` follows the blank at its end.
const BEHIND_SUBTREE: &str = " >!";

impl ListFilter {
    /// The ids of at most `limit` products behind `after`, the newest first, each with about how many bytes it is.
    pub fn query(&self, after: Option<ProductId>, limit: i64) -> QueryBuilder<Postgres> {
        let mut sql = QueryBuilder::new(
            "SELECT p.product_id, octet_length(p.description) + (p.variant_count + p.scheduled_count) * 256 AS bytes \
             FROM products p WHERE p.status = ",
        );
        sql.push_bind(status_name(self.status));
        if let Some(after) = after {
            sql.push(" AND p.product_id < ").push_bind(after.as_uuid());
        }
        if let Some(brand) = &self.brand {
            sql.push(" AND p.brand = ").push_bind(brand.clone());
        }
        if let Some(supplier) = &self.supplier {
            sql.push(" AND p.supplier = ").push_bind(supplier.clone());
        }
        if let Some(category) = &self.category {
            sql.push(" AND (p.category = ").push_bind(category.clone());
            sql.push(" OR p.category >= ").push_bind(format!("{category}{CATEGORY_SEPARATOR}"));
            sql.push(" AND p.category < ").push_bind(format!("{category}{BEHIND_SUBTREE}")).push(")");
        }
        if let Some(handle) = &self.handle {
            sql.push(" AND p.handle = ").push_bind(handle.as_str().to_owned());
        }
        if let Some(sku) = &self.sku {
            sql.push(" AND p.product_id = (SELECT product_id FROM variants WHERE sku = ");
            sql.push_bind(sku.as_str().to_owned()).push(")");
        }
        if let Some(range) = &self.price {
            sql.push(
                " AND EXISTS (SELECT FROM variants v WHERE v.product_id = p.product_id AND v.currency = ",
            );
            sql.push_bind(range.currency.code());
            if let Some(lowest) = range.lowest {
                sql.push(" AND v.price >= ").push_bind(lowest);
            }
            if let Some(highest) = range.highest {
                sql.push(" AND v.price <= ").push_bind(highest);
            }
            behind(&mut sql, after);
            sql.push(")");
        }
        if self.in_stock {
            sql.push(
                " AND EXISTS (SELECT FROM variants v JOIN availability a USING (sku) \
                  WHERE v.product_id = p.product_id AND a.in_stock",
            );
            behind(&mut sql, after);
            sql.push(")");
        }
        sql.push(" ORDER BY p.product_id DESC LIMIT ").push_bind(limit);
        sql
    }
}

/// Says of variants what is said of their products, which the planner does not conclude by itself: a later page
/// would else begin with the variants of all pages before it.
fn behind(sql: &mut QueryBuilder<Postgres>, after: Option<ProductId>) {
    if let Some(after) = after {
        sql.push(" AND v.product_id < ").push_bind(after.as_uuid());
    }
}

/// As the table has it; the projection writes the same.
pub fn status_name(status: ProductStatus) -> &'static str {
    match status {
        ProductStatus::Absent => "absent",
        ProductStatus::Draft => "draft",
        ProductStatus::Active => "active",
        ProductStatus::Discontinued => "discontinued",
    }
}

/// The status with this name in the table.
pub(super) fn status_of(name: &str) -> Option<ProductStatus> {
    let known = [ProductStatus::Draft, ProductStatus::Active, ProductStatus::Discontinued];
    known.into_iter().find(|status| status_name(*status) == name)
}
