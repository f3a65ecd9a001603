//! Answers as messages.

use chrono::{DateTime, Utc};
use contracts::shop::order::v1 as wire;
use contracts::shop::r#type::v1 as wire_type;
use service_runtime::etag;

use crate::application::read_orders::OrderView;
use crate::application::timeline::Entry;
use crate::application::watch_orders::Watched;
use crate::domain::order::{Amount, AmountKind, OrderLine, Status};
use crate::domain::{Contact, Money};

pub(super) fn order(order: OrderView) -> wire::Order {
    wire::Order {
        order_id: order.order_id.to_string(),
        status: status(order.status).into(),
        lines: order.lines.into_iter().map(line).collect(),
        amounts: order.amounts.into_iter().map(amount).collect(),
        total: Some(money(order.total)),
        reason: order.reason.unwrap_or_default(),
        cancellation_requested: order.cancellation_requested,
        customer_id: order.customer_id.unwrap_or_default(),
        person_forgotten: order.contact.is_none(),
        contact: order.contact.map(contact),
        placed_at: Some(timestamp(order.placed_at)),
        updated_at: Some(timestamp(order.updated_at)),
        etag: etag::of(order.version),
    }
}

pub(super) fn entry(entry: Entry) -> wire::OrderHistoryEntry {
    wire::OrderHistoryEntry {
        event: entry.event,
        at: Some(timestamp(entry.at)),
        actor: role(&entry.actor).to_owned(),
        status: status(entry.status).into(),
        reason: entry.reason,
    }
}

pub(super) fn watched(watched: Watched) -> wire::WatchOrderResponse {
    let cursor = format!("v{}", watched.entry.version);
    wire::WatchOrderResponse { cursor, entry: Some(entry(watched.entry)), last: watched.last }
}

/// The role behind a recorded actor: callers are recorded by role or pseudonym, subscriptions by name.
fn role(actor: &str) -> &str {
    match actor.split(':').next().unwrap_or_default() {
        "operator" => "operator",
        "service" => "service",
        "anonymous" | "bearer" | "shopper" => "shopper",
        _ => "saga",
    }
}

fn status(status: Status) -> wire::OrderStatus {
    match status {
        Status::Pending => wire::OrderStatus::Pending,
        Status::Confirmed => wire::OrderStatus::Confirmed,
        Status::Shipped => wire::OrderStatus::Shipped,
        Status::Delivered => wire::OrderStatus::Delivered,
        Status::Rejected => wire::OrderStatus::Rejected,
        Status::Cancelled => wire::OrderStatus::Cancelled,
    }
}

fn line(line: OrderLine) -> wire::OrderLine {
    wire::OrderLine {
        sku: line.sku.to_string(),
        name: line.name,
        quantity: line.quantity.get(),
        unit_price: Some(money(line.unit_price)),
        line_total: Some(money(line.line_total)),
    }
}

fn amount(amount: Amount) -> wire::Amount {
    let kind = match amount.kind {
        AmountKind::Items => wire::AmountKind::Items,
        AmountKind::Discount => wire::AmountKind::Discount,
        AmountKind::Shipping => wire::AmountKind::Shipping,
        AmountKind::Tax => wire::AmountKind::Tax,
    };
    wire::Amount { kind: kind.into(), money: Some(money(amount.money)) }
}

fn money(money: Money) -> wire_type::Money {
    wire_type::Money { currency_code: money.currency.to_string(), minor_units: money.minor_units }
}

fn contact(contact: Contact) -> wire::Contact {
    let address = contact.shipping_address;
    wire::Contact {
        email: contact.email,
        shipping_address: Some(wire::Address {
            recipient: address.recipient,
            lines: address.lines,
            postal_code: address.postal_code,
            city: address.city,
            country_code: address.country_code,
        }),
        delivery_note: contact.delivery_note,
    }
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().cast_signed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_names_roles_and_no_pseudonyms() {
        for (actor, shown) in [
            ("operator", "operator"),
            ("service", "service"),
            ("anonymous", "shopper"),
            ("shopper:0badcafe", "shopper"),
            ("order.saga-requests", "saga"),
        ] {
            assert_eq!(role(actor), shown);
        }
    }
}
