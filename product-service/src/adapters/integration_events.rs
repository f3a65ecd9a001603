//! What other services hear of the catalogue: what can be sold, at which price. Texts, images and drafts are this
//! service's own matter.

use contracts::shop::product::v1 as wire;
use contracts::shop::product::v1::product_event::Event;
use contracts::shop::r#type::v1::Money;
use eventsourcing::{DecodeError, Published, RecordedEvent};
use prost::Message;

use crate::domain::product::{Product, ProductEvent};
use crate::domain::{Offer, Price};

/// The CloudEvents source of everything published here.
pub const SOURCE: &str = "/shop/product";

/// The published form of an event of this service's log; `None` when it is private.
pub fn publish(event: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let Some(happened) = event.decode::<Product>()? else { return Ok(None) };
    Ok(public(event.stream_id.key(), happened).map(published))
}

fn public(product_id: &str, event: ProductEvent) -> Option<Event> {
    let product_id = product_id.to_owned();
    match event {
        ProductEvent::ProductPublished { name, offers } => {
            let variants = offers.into_iter().map(sellable).collect();
            Some(Event::ProductPublished(wire::ProductPublished { product_id, name, variants }))
        }
        ProductEvent::VariantsOffered { offers } => Some(variants_added(product_id, offers)),
        ProductEvent::VariantsAdded { variants, on_sale: true } => {
            Some(variants_added(product_id, variants.iter().map(Offer::from).collect()))
        }
        ProductEvent::PriceChanged { sku, price, on_sale: true, .. } => {
            let (sku, price) = (sku.as_str().to_owned(), Some(money(price)));
            Some(Event::PriceChanged(wire::ProductPriceChanged { product_id, sku, price }))
        }
        ProductEvent::ProductRenamed { name, on_sale: true } => {
            Some(Event::ProductRenamed(wire::ProductRenamed { product_id, name }))
        }
        ProductEvent::ProductDiscontinued { was_on_sale: true, .. } => {
            Some(Event::ProductDiscontinued(wire::ProductDiscontinued { product_id }))
        }
        ProductEvent::ProductReinstated { on_sale: true, .. } => {
            Some(Event::ProductReinstated(wire::ProductReinstated { product_id }))
        }
        ProductEvent::ProductCreated { .. }
        | ProductEvent::VariantsAdded { on_sale: false, .. }
        | ProductEvent::PriceChanged { on_sale: false, .. }
        | ProductEvent::ProductRenamed { on_sale: false, .. }
        | ProductEvent::ProductDiscontinued { was_on_sale: false, .. }
        | ProductEvent::ProductReinstated { on_sale: false, .. }
        // The price is published when it changes.
        | ProductEvent::PriceChangeScheduled { .. }
        | ProductEvent::ScheduledPricesWithdrawn { .. }
        | ProductEvent::ScheduledPriceTookEffect { .. }
        | ProductEvent::DescriptionChanged { .. }
        | ProductEvent::BrandChanged { .. }
        | ProductEvent::ProductRecategorized { .. }
        | ProductEvent::SupplierChanged { .. }
        | ProductEvent::AttributesChanged { .. }
        | ProductEvent::ProductRetagged { .. }
        | ProductEvent::ImagesChanged { .. } => None,
    }
}

fn variants_added(product_id: String, offers: Vec<Offer>) -> Event {
    let variants = offers.into_iter().map(sellable).collect();
    Event::VariantsAdded(wire::ProductVariantsAdded { product_id, variants })
}

fn sellable(offer: Offer) -> wire::SellableVariant {
    let Offer { sku, title, price } = offer;
    wire::SellableVariant { sku: sku.as_str().to_owned(), title, price: Some(money(price)) }
}

fn money(price: Price) -> Money {
    Money { currency_code: price.currency.code().to_owned(), minor_units: price.minor_units }
}

fn published(event: Event) -> Published {
    let event_type = match &event {
        Event::ProductPublished(_) => "shop.product.v1.ProductPublished",
        Event::VariantsAdded(_) => "shop.product.v1.ProductVariantsAdded",
        Event::PriceChanged(_) => "shop.product.v1.ProductPriceChanged",
        Event::ProductRenamed(_) => "shop.product.v1.ProductRenamed",
        Event::ProductDiscontinued(_) => "shop.product.v1.ProductDiscontinued",
        Event::ProductReinstated(_) => "shop.product.v1.ProductReinstated",
    };
    Published { event_type, data: wire::ProductEvent { event: Some(event) }.encode_to_vec() }
}
