//! The rules for placing an order: everything is priced by the shop, in one currency, within the limits.

use super::commands::{Offer, PlaceOrder, RequestedLine};
use super::errors::OrderError;
use super::events::{Amount, AmountKind, OrderEvent, OrderLine, OrderPlaced};
use super::{MAX_LINES, MAX_TOTAL_MINOR_UNITS, OrderState, Phase};
use crate::domain::money::{Currency, Money};

pub(super) fn place(state: &OrderState, order: &PlaceOrder) -> Result<Vec<OrderEvent>, OrderError> {
    if state.phase != Phase::Unplaced {
        return Err(OrderError::AlreadyPlaced);
    }
    if order.lines.is_empty() || order.lines.len() > MAX_LINES {
        return Err(OrderError::WrongNumberOfLines { max: MAX_LINES });
    }
    let lines = priced(&order.lines)?;
    let amounts = vec![Amount { kind: AmountKind::Items, money: items(&lines)? }];
    let total = total(&amounts)?;
    if let Some(expected) = order.expected_total.filter(|expected| *expected != total) {
        return Err(OrderError::PriceChanged { expected, actual: total });
    }
    if order.payment_token.is_none() && !total.is_zero() {
        return Err(OrderError::PaymentTokenRequired);
    }
    if order.customer_id.is_some() && order.open_orders >= order.max_open_orders {
        return Err(OrderError::TooManyOpenOrders { max: order.max_open_orders });
    }
    Ok(vec![OrderEvent::OrderPlaced(OrderPlaced {
        order_id: order.order_id,
        customer_id: order.customer_id.clone(),
        lines,
        amounts,
        total,
        payment_token: order.payment_token.clone(),
        contact: order.contact.clone(),
        placed_at: order.placed_at,
    })])
}

fn priced(requested: &[RequestedLine]) -> Result<Vec<OrderLine>, OrderError> {
    let mut first: Option<Currency> = None;
    let mut lines = Vec::with_capacity(requested.len());
    for (line, RequestedLine { sku, quantity, offer }) in requested.iter().enumerate() {
        let (name, unit_price) = match offer {
            Offer::Sold { name, unit_price } => (name.clone(), *unit_price),
            Offer::Unknown => return Err(OrderError::UnknownSku { line, sku: sku.clone() }),
            Offer::Discontinued => return Err(OrderError::ProductDiscontinued { line, sku: sku.clone() }),
        };
        let first = *first.get_or_insert(unit_price.currency);
        if first != unit_price.currency {
            return Err(OrderError::MixedCurrencies { line, first, found: unit_price.currency });
        }
        let line_total = unit_price.checked_times(*quantity).ok_or(TOO_HIGH)?;
        lines.push(OrderLine { sku: sku.clone(), name, quantity: *quantity, unit_price, line_total });
    }
    Ok(lines)
}

const TOO_HIGH: OrderError = OrderError::TotalTooHigh { max: MAX_TOTAL_MINOR_UNITS };

fn items(lines: &[OrderLine]) -> Result<Money, OrderError> {
    sum(lines.iter().map(|line| line.line_total))
}

fn total(amounts: &[Amount]) -> Result<Money, OrderError> {
    let total = sum(amounts.iter().map(|amount| amount.money))?;
    if total.minor_units > MAX_TOTAL_MINOR_UNITS { Err(TOO_HIGH) } else { Ok(total) }
}

fn sum(mut parts: impl Iterator<Item = Money>) -> Result<Money, OrderError> {
    let first = parts.next().ok_or(OrderError::WrongNumberOfLines { max: MAX_LINES })?;
    parts.try_fold(first, Money::checked_add).ok_or(TOO_HIGH)
}
