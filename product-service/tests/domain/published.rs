//! What other services hear of the catalogue.

use chrono::DateTime;
use contracts::shop::product::v1 as wire;
use contracts::shop::product::v1::product_event::Event;
use contracts::shop::r#type::v1::Money;
use eventsourcing::{Metadata, RecordedEvent, StreamId};
use product_service::adapters::integration_events::publish;
use product_service::domain::operations::product_stream;
use product_service::domain::product::ProductEvent;
use product_service::domain::{Offer, Variant};
use prost::Message;
use uuid::Uuid;

use crate::support::{eur, id, sizes, sku};

fn recorded(stream_id: StreamId, event_type: &str, data: String) -> RecordedEvent {
    RecordedEvent {
        position: 1,
        stream_id,
        version: 1,
        event_id: Uuid::nil(),
        command_id: Uuid::nil(),
        event_type: event_type.to_owned(),
        schema_version: 1,
        data,
        metadata: Metadata::default(),
        recorded_at: DateTime::UNIX_EPOCH,
    }
}

fn public(event: &ProductEvent) -> Option<(&'static str, Event)> {
    let encoded = eventsourcing::decider::encode(event);
    let published = publish(&recorded(product_stream(id(1)), &encoded.event_type, encoded.data)).unwrap()?;
    let event = wire::ProductEvent::decode(published.data.as_slice()).unwrap().event.unwrap();
    Some((published.event_type, event))
}

fn variants() -> Vec<Variant> {
    sizes(&["S"]).variants().to_vec()
}

fn sellable() -> wire::SellableVariant {
    wire::SellableVariant { sku: "S".into(), title: "S".into(), price: money(1000) }
}

fn money(minor_units: i64) -> Option<Money> {
    Some(Money { currency_code: "EUR".into(), minor_units })
}

#[test]
fn what_concerns_a_sale_is_published_while_the_product_is_on_sale() {
    let product_id = id(1).to_string();
    let offers: Vec<_> = variants().iter().map(Offer::from).collect();
    let (name, reason) = ("Shirt".to_owned(), String::new());
    for (event, event_type, expected) in [
        (
            ProductEvent::ProductPublished { name: name.clone(), offers: offers.clone() },
            "shop.product.v1.ProductPublished",
            Event::ProductPublished(wire::ProductPublished {
                product_id: product_id.clone(),
                name: name.clone(),
                variants: vec![sellable()],
            }),
        ),
        (
            ProductEvent::VariantsOffered { offers },
            "shop.product.v1.ProductVariantsAdded",
            Event::VariantsAdded(wire::ProductVariantsAdded {
                product_id: product_id.clone(),
                variants: vec![sellable()],
            }),
        ),
        (
            ProductEvent::VariantsAdded { variants: variants(), on_sale: true },
            "shop.product.v1.ProductVariantsAdded",
            Event::VariantsAdded(wire::ProductVariantsAdded {
                product_id: product_id.clone(),
                variants: vec![sellable()],
            }),
        ),
        (
            ProductEvent::PriceChanged {
                sku: sku("S"),
                price: eur(900),
                previous: eur(1000),
                reason: reason.clone(),
                on_sale: true,
            },
            "shop.product.v1.ProductPriceChanged",
            Event::PriceChanged(wire::ProductPriceChanged {
                product_id: product_id.clone(),
                sku: "S".into(),
                price: money(900),
            }),
        ),
        (
            ProductEvent::ProductRenamed { name: name.clone(), on_sale: true },
            "shop.product.v1.ProductRenamed",
            Event::ProductRenamed(wire::ProductRenamed { product_id: product_id.clone(), name }),
        ),
        (
            ProductEvent::ProductDiscontinued { reason: reason.clone(), was_on_sale: true },
            "shop.product.v1.ProductDiscontinued",
            Event::ProductDiscontinued(wire::ProductDiscontinued { product_id: product_id.clone() }),
        ),
        (
            ProductEvent::ProductReinstated { reason, on_sale: true },
            "shop.product.v1.ProductReinstated",
            Event::ProductReinstated(wire::ProductReinstated { product_id }),
        ),
    ] {
        assert_eq!(public(&event), Some((event_type, expected)));
    }
}

#[test]
fn drafts_texts_prices_to_come_and_claims_are_private() {
    let reason = String::new;
    let schedule_id = Uuid::nil().into();
    for event in [
        ProductEvent::VariantsAdded { variants: variants(), on_sale: false },
        ProductEvent::PriceChanged {
            sku: sku("S"),
            price: eur(900),
            previous: eur(1000),
            reason: reason(),
            on_sale: false,
        },
        ProductEvent::ProductRenamed { name: "Shirt".into(), on_sale: false },
        ProductEvent::ProductDiscontinued { reason: reason(), was_on_sale: false },
        ProductEvent::ProductReinstated { reason: reason(), on_sale: false },
        ProductEvent::PriceChangeScheduled {
            schedule_id,
            sku: sku("S"),
            price: eur(900),
            effective_at: DateTime::UNIX_EPOCH,
            reason: reason(),
        },
        ProductEvent::ScheduledPricesWithdrawn { schedules: vec![schedule_id], reason: reason() },
        ProductEvent::ScheduledPriceTookEffect { schedule_id, sku: sku("S") },
        ProductEvent::DescriptionChanged { description: "<p>".into() },
    ] {
        assert_eq!(public(&event), None, "{event:?}");
    }
    let claim =
        recorded(StreamId::from_name("sku-S"), "SkuClaimed", format!(r#"{{"product_id":"{}"}}"#, id(1)));
    assert_eq!(publish(&claim).unwrap(), None);
}
