//! Products to be, in few words.

use eventsourcing::{Halt, InMemoryStreams, Operation};
use product_service::domain::details::Details;
use product_service::domain::operations::{CreateProduct, WantedHandle, product_stream};
use product_service::domain::product::{Product, ProductError, ProductState};
use product_service::domain::{Assortment, Currency, Handle, NewVariant, Price, ProductId, Sku};

pub fn id(number: u128) -> ProductId {
    uuid::Uuid::from_u128(number).into()
}

pub fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

pub fn eur(minor_units: i64) -> Price {
    Price::new(minor_units, Currency::from_code("EUR").unwrap()).unwrap()
}

/// Variants for 10 euro each, whose size is their SKU.
pub fn sizes(skus: &[&str]) -> Assortment {
    priced(&skus.iter().map(|sku| (*sku, 1000)).collect::<Vec<_>>())
}

pub fn priced(skus: &[(&str, i64)]) -> Assortment {
    let variant = |(text, price): &(&str, i64)| NewVariant {
        sku: sku(text),
        options: vec![("Size".into(), (*text).to_owned())],
        price: eur(*price),
        barcode: String::new(),
    };
    Assortment::check(skus.iter().map(variant).collect()).unwrap()
}

/// A draft, with a handle of its own or one made of the name.
pub fn draft(number: u128, own_handle: Option<&str>, name: &str, skus: &[&str]) -> CreateProduct {
    CreateProduct {
        product_id: id(number),
        handle: own_handle.map_or(WantedHandle::Derived, |text| WantedHandle::Given(handle(text))),
        details: Details { name: name.into(), ..Details::default() },
        assortment: sizes(skus),
        publish: false,
    }
}

pub fn state(streams: &InMemoryStreams, number: u128) -> ProductState {
    streams.state::<Product>(&product_stream(id(number)))
}

/// The rule that an operation breaks.
pub fn rejection<O>(streams: &mut InMemoryStreams, operation: &O) -> ProductError
where
    O: Operation<Rejection = ProductError>,
{
    match streams.run(operation) {
        Err(Halt::Rejected(rejection)) => rejection,
        Err(halt) => panic!("expected a rejection, got {halt:?}"),
        Ok(_) => panic!("expected a rejection"),
    }
}
