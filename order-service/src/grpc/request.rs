//! Requests as values of the domain. Everything that is malformed is told at once, by its path in the request
//! and without its value, which may be personal.

use contracts::shop::order::v1 as wire;
use contracts::shop::r#type::v1 as wire_type;
use service_runtime::status::{Violations, invalid_field};
use tonic::Status;

use crate::application::place_orders::Wish;
use crate::application::read_orders::Filter;
use crate::domain::free_text::one_line;
use crate::domain::order::{MAX_LINES, Status as OrderStatus};
use crate::domain::values::{MAX_QUANTITY, MAX_SKU_CHARS};
use crate::domain::{Address, Contact, Currency, CustomerId, Money, OrderId, PaymentToken, Quantity, Sku};

/// Longest reason for a cancellation, in characters.
const MAX_REASON_CHARS: usize = 200;
/// Most violations that are looked for in the lines; a request may have a million of them.
const MAX_LINES_LOOKED_AT: usize = MAX_LINES + 1;

pub(super) fn wish(request: wire::PlaceOrderRequest) -> Result<Wish, Status> {
    let mut violations = Violations::new();
    let lines = lines(&request.lines, &mut violations);
    let expected_total = request.expected_total.as_ref().and_then(|total| expected(total, &mut violations));
    let payment_token = payment_token(&request.payment_token, &mut violations);
    let customer_id = match request.customer_id.as_str() {
        "" => None,
        id => {
            let parsed = CustomerId::parse(id);
            violations.check(parsed.is_some(), "customer_id", CUSTOMER_ID_RULE);
            parsed
        }
    };
    let contact = contact(request.contact, &mut violations);
    violations.into_result()?;
    let contact = contact.ok_or_else(|| invalid_field("contact", "must be set"))?;
    Ok(Wish { customer_id, lines, expected_total, payment_token, contact })
}

fn lines(lines: &[wire::PlaceOrderLine], violations: &mut Violations) -> Vec<(Sku, Quantity)> {
    let count = format!("must have 1 to {MAX_LINES} entries");
    violations.check((1..=MAX_LINES).contains(&lines.len()), "lines", count);
    let looked_at = lines.iter().take(MAX_LINES_LOOKED_AT).enumerate();
    let parsed = looked_at.filter_map(|(index, line)| {
        let (sku, quantity) = (Sku::parse(&line.sku), Quantity::new(line.quantity));
        let rule =
            format!("must have 1 to {MAX_SKU_CHARS} characters, no blanks around and no control characters");
        violations.check(sku.is_some(), format!("lines[{index}].sku"), rule);
        let rule = format!("must be from 1 to {MAX_QUANTITY}");
        violations.check(quantity.is_some(), format!("lines[{index}].quantity"), rule);
        sku.zip(quantity)
    });
    parsed.collect()
}

fn expected(total: &wire_type::Money, violations: &mut Violations) -> Option<Money> {
    let currency = Currency::parse(&total.currency_code);
    let rule = "must be an ISO 4217 code, such as EUR";
    violations.check(currency.is_some(), "expected_total.currency_code", rule);
    violations.check(total.minor_units >= 0, "expected_total.minor_units", "must not be negative");
    currency.map(|currency| Money::new(total.minor_units, currency))
}

fn payment_token(token: &str, violations: &mut Violations) -> Option<PaymentToken> {
    if token.is_empty() {
        return None;
    }
    let parsed = PaymentToken::parse(token);
    let rule = "must be a token of the payment provider, and never a card number";
    violations.check(parsed.is_some(), "payment_token", rule);
    parsed
}

fn contact(contact: Option<wire::Contact>, violations: &mut Violations) -> Option<Contact> {
    let Some(contact) = contact else {
        violations.add("contact", "must be set");
        return None;
    };
    let Some(address) = contact.shipping_address else {
        violations.add("contact.shipping_address", "must be set");
        return None;
    };
    let contact = Contact {
        email: contact.email,
        shipping_address: Address {
            recipient: address.recipient,
            lines: address.lines,
            postal_code: address.postal_code,
            city: address.city,
            country_code: address.country_code,
        },
        delivery_note: contact.delivery_note,
    };
    violations.validate("contact", &contact);
    Some(contact)
}

const CUSTOMER_ID_RULE: &str = "must have 1 to 64 letters, digits or . _ : - and must not be a card number";

pub(super) fn not_a_customer_id() -> Status {
    invalid_field("customer_id", CUSTOMER_ID_RULE)
}

pub(super) fn order_id(text: &str) -> Result<OrderId, Status> {
    OrderId::parse(text).ok_or_else(|| invalid_field("order_id", "must be an order's id"))
}

pub(super) fn cancellation_reason(reason: &str) -> Result<(), Status> {
    if reason.chars().count() > MAX_REASON_CHARS {
        return Err(invalid_field("reason", format!("must have at most {MAX_REASON_CHARS} characters")));
    }
    let rule = "must not have control characters or a card number";
    one_line(reason).map_err(|_| invalid_field("reason", rule))
}

/// The stream version after which to continue; 0 without a cursor.
pub(super) fn cursor(after: &str) -> Result<u64, Status> {
    if after.is_empty() {
        return Ok(0);
    }
    let digits = after.strip_prefix('v').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let version = digits.and_then(|digits| digits.parse().ok());
    version.ok_or_else(|| invalid_field("after", "must be a cursor as it was returned"))
}

pub(super) fn filter(request: &wire::ListOrdersRequest) -> Result<Filter, Status> {
    let mut violations = Violations::new();
    let status = match wire::OrderStatus::try_from(request.status) {
        Ok(wire::OrderStatus::Unspecified) => None,
        Ok(wire::OrderStatus::Pending) => Some(OrderStatus::Pending),
        Ok(wire::OrderStatus::Confirmed) => Some(OrderStatus::Confirmed),
        Ok(wire::OrderStatus::Shipped) => Some(OrderStatus::Shipped),
        Ok(wire::OrderStatus::Delivered) => Some(OrderStatus::Delivered),
        Ok(wire::OrderStatus::Rejected) => Some(OrderStatus::Rejected),
        Ok(wire::OrderStatus::Cancelled) => Some(OrderStatus::Cancelled),
        Err(_) => {
            violations.add("status", "must be a known status");
            None
        }
    };
    let customer_id = CustomerId::parse(&request.customer_id);
    violations.check(
        customer_id.is_some() || request.customer_id.is_empty(),
        "customer_id",
        CUSTOMER_ID_RULE,
    );
    violations.into_result()?;
    Ok(Filter { status, customer_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_runtime::status::reason_of;
    use tonic_types::StatusExt;

    fn request() -> wire::PlaceOrderRequest {
        wire::PlaceOrderRequest {
            lines: vec![wire::PlaceOrderLine { sku: "A-1".into(), quantity: 2 }],
            payment_token: "tok_success".into(),
            contact: Some(wire::Contact {
                email: "ada@shopper.example".into(),
                shipping_address: Some(wire::Address {
                    recipient: "Ada Example".into(),
                    lines: vec!["12 Ring Road".into()],
                    postal_code: "10115".into(),
                    city: "Berlin".into(),
                    country_code: "DE".into(),
                }),
                delivery_note: String::new(),
            }),
            ..wire::PlaceOrderRequest::default()
        }
    }

    fn violated(change: impl FnOnce(&mut wire::PlaceOrderRequest)) -> Vec<String> {
        let mut request = request();
        change(&mut request);
        let Err(status) = wish(request) else { return Vec::new() };
        assert_eq!(reason_of(&status), "INVALID_REQUEST");
        let found = status.get_details_bad_request().unwrap().field_violations;
        found.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_usual_order_passes() {
        assert!(violated(|_| {}).is_empty());
        assert!(
            violated(|r| r.payment_token.clear()).is_empty(),
            "whether it is needed depends on the total"
        );
        assert!(violated(|r| r.lines.push(r.lines[0].clone())).is_empty(), "a SKU may stand in two lines");
        assert!(
            violated(|r| r.lines[0].sku = "4242424242424242".into()).is_empty(),
            "SKUs may look like cards"
        );
    }

    #[test]
    fn everything_that_is_malformed_is_named_at_once_by_its_path() {
        let violated = violated(|r| {
            r.lines[0].quantity = 0;
            r.lines.push(wire::PlaceOrderLine { sku: String::new(), quantity: 1001 });
            r.expected_total = Some(wire_type::Money { currency_code: "eur".into(), minor_units: -1 });
            r.payment_token = "4242 4242 4242 4242".into();
            r.customer_id = "ada@shopper.example".into();
            let contact = r.contact.as_mut().unwrap();
            contact.email = "nobody".into();
            contact.delivery_note = "my card is 4242424242424242".into();
            contact.shipping_address.as_mut().unwrap().country_code = "XX".into();
        });
        assert_eq!(
            violated,
            [
                "lines[0].quantity",
                "lines[1].sku",
                "lines[1].quantity",
                "expected_total.currency_code",
                "expected_total.minor_units",
                "payment_token",
                "customer_id",
                "contact.delivery_note",
                "contact.email",
                "contact.shipping_address.country_code",
            ]
        );
    }

    #[test]
    fn missing_parts_and_too_many_lines_are_refused() {
        assert_eq!(violated(|r| r.lines.clear()), ["lines"]);
        assert_eq!(violated(|r| r.lines = vec![r.lines[0].clone(); 101]), ["lines"]);
        assert_eq!(violated(|r| r.contact = None), ["contact"]);
        assert_eq!(
            violated(|r| r.contact.as_mut().unwrap().shipping_address = None),
            ["contact.shipping_address"]
        );
    }

    #[test]
    fn a_refusal_repeats_nothing_that_was_sent() {
        let mut request = request();
        request.contact.as_mut().unwrap().email = "not-an-address-of-ada".into();
        request.payment_token = "4242424242424242".into();
        let Err(status) = wish(request) else { panic!("it was accepted") };
        let told = format!("{status:?} {}", String::from_utf8_lossy(status.details()));
        assert!(!told.contains("4242") && !told.contains("ada"), "{told}");
    }

    #[test]
    fn a_cursor_is_a_version() {
        assert_eq!(cursor("").unwrap(), 0);
        assert_eq!(cursor("v12").unwrap(), 12);
        for wrong in ["12", "v", "v-1", "v+1", "vv1", "v99999999999999999999"] {
            assert!(cursor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reason_is_short_and_harmless() {
        cancellation_reason(&"x".repeat(200)).unwrap();
        for wrong in [&"x".repeat(201), "a\nb", "4242 4242 4242 4242"] {
            assert!(cancellation_reason(wrong).is_err());
        }
    }
}
