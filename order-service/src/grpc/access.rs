//! Who may see and cancel an order: operators, other services of the shop, and whoever holds the order's access
//! token. Everybody else gets the same answer whether the order exists or not, so that ids cannot be probed.

use service_runtime::Caller;
use service_runtime::auth::AccessTokens;
use service_runtime::status::permission_denied;
use tonic::Status;

use crate::application::change_orders::Canceller;
use crate::domain::OrderId;

const ORDER_ACCESS_DENIED: &str = "ORDER_ACCESS_DENIED";

pub(super) struct Access {
    tokens: AccessTokens,
}

impl Access {
    pub fn new(tokens: AccessTokens) -> Self {
        Self { tokens }
    }

    /// The token that opens this order. It is made anew whenever it is asked for, and stored nowhere.
    pub fn token(&self, order_id: OrderId) -> String {
        self.tokens.issue(&subject(order_id))
    }

    /// In which role the caller may deal with this order.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn check(&self, caller: &Caller, order_id: OrderId) -> Result<Canceller, Status> {
        match caller {
            Caller::Operator | Caller::Service => Ok(Canceller::Operator),
            Caller::Bearer(token) if self.tokens.verify(&subject(order_id), token.expose()) => {
                Ok(Canceller::Shopper)
            }
            Caller::Bearer(_) | Caller::Anonymous => Err(permission_denied(
                ORDER_ACCESS_DENIED,
                "this needs the access token that was returned when the order was placed",
            )),
        }
    }
}

fn subject(order_id: OrderId) -> String {
    format!("order:{order_id}")
}
