//! Read models, each kept in step with one feed.

mod catalogue;
pub mod orders;

pub use catalogue::CatalogueProjection;
pub use orders::OrdersProjection;

use std::sync::Arc;

use eventsourcing::{EventLog, IntegrationFeed, ReadModel};

/// Every table of this service that projections write or read, by the model that it belongs to. A new one goes here, too.
pub const TABLES: [(&str, &[&str]); 2] =
    [("order.catalogue", &["catalogue_products", "catalogue_variants"]), ("order.orders", &["orders"])];

/// What can be rebuilt.
pub fn rebuildable(log: &EventLog, product: IntegrationFeed) -> Vec<ReadModel> {
    let [(catalogue, catalogue_tables), (orders, orders_tables)] = TABLES;
    vec![
        ReadModel::new(catalogue, catalogue_tables).fed_by(product, CatalogueProjection),
        ReadModel::new(orders, orders_tables).fed_by(Arc::new(log.clone()), OrdersProjection),
    ]
}
