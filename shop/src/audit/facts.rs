//! What the logs say, folded with the services' own deciders into one small state for each stream. Events stream
//! through and are not kept. Nothing is judged here, except what only the order of events can show.

pub mod catalogue;
mod decoded;
pub mod goods;
mod keyed;
pub mod orders;
pub mod payments;
pub mod sagas;

use std::collections::HashSet;

use eventsourcing::RecordedEvent;
use uuid::Uuid;

pub use decoded::{Fact, Undecodable, decode};
pub use keyed::Keyed;

use super::cut::{Cut, Log};
use catalogue::Catalogue;
use goods::Goods;
use orders::Orders;
use payments::Payments;
use sagas::Sagas;

/// Everything that is known when the logs are read.
pub struct Facts {
    pub catalogue: Catalogue,
    pub goods: Goods,
    pub orders: Orders,
    pub payments: Payments,
    pub sagas: Sagas,
    /// Orders to which something happened while the cut was taken.
    pub in_motion: HashSet<Uuid>,
}

impl Facts {
    pub fn new(cut: &Cut) -> Self {
        let snapshots = &cut.snapshots;
        Self {
            catalogue: Catalogue::new(
                snapshots[Log::Product].checkpoint(catalogue::READ_MODEL),
                snapshots[Log::Order].reached(catalogue::COPY),
            ),
            goods: Goods::new(
                snapshots[Log::Inventory].checkpoint(goods::READ_MODEL),
                snapshots[Log::Product].reached(goods::AVAILABILITY),
            ),
            orders: Orders::new(snapshots[Log::Order].checkpoint(orders::READ_MODEL)),
            payments: Payments::new(snapshots[Log::Payment].checkpoint(payments::READ_MODEL)),
            sagas: Sagas::new(snapshots[Log::Saga].checkpoint(sagas::READ_MODEL)),
            in_motion: HashSet::new(),
        }
    }

    /// Takes one event in, in the order of its log.
    pub fn see(&mut self, cut: &Cut, log: Log, event: &RecordedEvent, fact: &Fact) {
        // Another service's copy may have come further than this service's own snapshot.
        match fact {
            Fact::Product(id, happened) => self.catalogue.copy(event, *id, happened),
            Fact::Stock(sku, happened) => self.goods.announce(event, sku, happened),
            _ => {}
        }
        let snapshot = &cut.snapshots[log];
        if event.position > snapshot.head {
            return;
        }
        let order = match fact {
            Fact::Product(id, happened) => {
                self.catalogue.see(event, *id, happened);
                None
            }
            Fact::Sku(sku, happened) => {
                self.catalogue.claim(sku, happened);
                None
            }
            Fact::Handle => None,
            Fact::Stock(sku, happened) => {
                self.goods.see_stock(event, sku, happened);
                None
            }
            Fact::Reservation(id, happened) => {
                self.goods.see_reservation(event, *id, happened);
                Some(*id)
            }
            Fact::Order(id, happened) => {
                self.orders.see(event, *id, happened);
                Some(*id)
            }
            Fact::Payment(id, happened) => {
                self.payments.see(event, *id, happened);
                Some(*id)
            }
            Fact::Saga(kind, id, happened) => {
                self.sagas.see(event, *kind, *id, happened);
                Some(*id)
            }
        };
        if let Some(order) = order.filter(|_| event.position > snapshot.settled) {
            self.in_motion.insert(order);
        }
    }
}
