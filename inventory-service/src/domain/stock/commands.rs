//! What can be asked of a SKU's stock.

use crate::domain::values::{Adjustment, Note, OrderId, Quantity};

/// A request to one SKU's stock. Those with an order are part of a larger operation on its reservation, which
/// sees to it that each happens once.
#[derive(Clone, Debug)]
pub enum StockCommand {
    /// Goods have arrived.
    Receive { quantity: Quantity, reference: Note },
    /// A count, a loss or a find.
    Adjust { delta: Adjustment, reason: Note },
    /// Hold pieces for an order.
    Reserve { order_id: OrderId, quantity: Quantity },
    /// Give held pieces back.
    Release { order_id: OrderId, quantity: Quantity },
    /// Held pieces are sold.
    Commit { order_id: OrderId, quantity: Quantity },
    /// Take sold pieces back.
    Restock { order_id: OrderId, quantity: Quantity },
}
