//! One product: what may happen to it in which order. That its SKUs and its handle are nobody else's is for
//! [`claims`](super::claims) to say.
//!
//! A product begins as a draft, is published once, and may be discontinued from either; a discontinued product does
//! not change any more. What changes nothing leaves no event.

mod commands;
mod errors;
mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use eventsourcing::Decider;
use serde::{Deserialize, Serialize};

use super::details::{DetailChange, Details, Field, Fingerprint};
use super::limits::{MAX_VARIANTS, VARIANTS_PER_EVENT};
use super::{Assortment, Currency, Handle, Offer, Sku, Variant};

pub use commands::{NewPrice, ProductCommand, WantedStatus};
pub use errors::ProductError;
pub use events::ProductEvent;

/// The decider of the category `product`, whose keys are product ids.
pub struct Product;

/// Where a product is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    /// There is no such product.
    #[default]
    Absent,
    Draft,
    Active,
    Discontinued,
}

/// What the rules need to know of a product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductState {
    pub status: ProductStatus,
    pub name: String,
    pub currency: Option<Currency>,
    /// The names of the options.
    pub options: Vec<String>,
    /// In the order in which they were added. Shared, since a state is copied for every append.
    pub variants: Vec<Arc<Variant>>,
    fingerprints: BTreeMap<Field, Fingerprint>,
}

impl ProductState {
    pub fn on_sale(&self) -> bool {
        self.status == ProductStatus::Active
    }

    /// Whether a change would change anything.
    pub fn differs(&self, change: &DetailChange) -> bool {
        self.fingerprints.get(&change.field()) != Some(&change.fingerprint())
    }

    /// The variants by their SKU.
    pub fn variants_by_sku(&self) -> HashMap<&Sku, &Variant> {
        self.variants.iter().map(|variant| (&variant.sku, &**variant)).collect()
    }

    /// That the product is there and changes still.
    fn alive(&self) -> Result<(), ProductError> {
        match self.status {
            ProductStatus::Absent => Err(ProductError::UnknownProduct),
            ProductStatus::Draft | ProductStatus::Active => Ok(()),
            ProductStatus::Discontinued => Err(ProductError::ProductIsDiscontinued),
        }
    }
}

impl Decider for Product {
    const CATEGORY: &'static str = "product";
    const SNAPSHOT_EVERY: Option<u64> = Some(100);
    type State = ProductState;
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = ProductError;

    fn decide(state: &ProductState, command: &ProductCommand) -> Result<Vec<ProductEvent>, ProductError> {
        if let ProductCommand::Create { handle, details, assortment, publish } = command {
            return create(state, handle, details, assortment, *publish);
        }
        // What is ended already can be ended again.
        if state.status == ProductStatus::Discontinued
            && matches!(command, ProductCommand::Discontinue { .. })
        {
            return Ok(Vec::new());
        }
        state.alive()?;
        match command {
            ProductCommand::Create { .. } => Err(ProductError::ProductExists),
            ProductCommand::Update { changes, status } => update(state, changes, *status),
            ProductCommand::AddVariants(assortment) => add_variants(state, assortment),
            ProductCommand::ChangePrices { prices, reason } => change_prices(state, prices, reason),
            ProductCommand::Discontinue { reason } => {
                let (reason, was_on_sale) = (reason.clone(), state.on_sale());
                Ok(vec![ProductEvent::ProductDiscontinued { reason, was_on_sale }])
            }
        }
    }

    fn evolve(mut state: ProductState, event: &ProductEvent) -> ProductState {
        match event {
            ProductEvent::ProductCreated { handle: _, details, options, currency } => {
                state.status = ProductStatus::Draft;
                state.options.clone_from(options);
                state.currency = Some(*currency);
                for change in details.clone().into_changes() {
                    note(&mut state, change);
                }
            }
            ProductEvent::VariantsAdded { variants, .. } => {
                state.variants.extend(variants.iter().cloned().map(Arc::new));
            }
            ProductEvent::ProductPublished { .. } => state.status = ProductStatus::Active,
            ProductEvent::VariantsOffered { .. } => {}
            ProductEvent::PriceChanged { sku, price, .. } => {
                if let Some(variant) = state.variants.iter_mut().find(|variant| variant.sku == *sku) {
                    Arc::make_mut(variant).price = *price;
                }
            }
            ProductEvent::ProductDiscontinued { .. } => state.status = ProductStatus::Discontinued,
            ProductEvent::ProductRenamed { name, .. } => note(&mut state, DetailChange::Name(name.clone())),
            ProductEvent::DescriptionChanged { description } => {
                note(&mut state, DetailChange::Description(description.clone()));
            }
            ProductEvent::BrandChanged { brand } => note(&mut state, DetailChange::Brand(brand.clone())),
            ProductEvent::ProductRecategorized { category_path } => {
                note(&mut state, DetailChange::CategoryPath(category_path.clone()));
            }
            ProductEvent::SupplierChanged { supplier } => {
                note(&mut state, DetailChange::Supplier(supplier.clone()));
            }
            ProductEvent::AttributesChanged { attributes } => {
                note(&mut state, DetailChange::Attributes(attributes.clone()));
            }
            ProductEvent::ProductRetagged { tags } => note(&mut state, DetailChange::Tags(tags.clone())),
            ProductEvent::ImagesChanged { images } => note(&mut state, DetailChange::Images(images.clone())),
        }
        state
    }
}

/// Remembers what a detail is now.
fn note(state: &mut ProductState, change: DetailChange) {
    state.fingerprints.insert(change.field(), change.fingerprint());
    if let DetailChange::Name(name) = change {
        state.name = name;
    }
}

fn create(
    state: &ProductState,
    handle: &Handle,
    details: &Details,
    assortment: &Assortment,
    publish: bool,
) -> Result<Vec<ProductEvent>, ProductError> {
    if state.status != ProductStatus::Absent {
        return Err(ProductError::ProductExists);
    }
    let mut events = vec![ProductEvent::ProductCreated {
        handle: handle.clone(),
        details: details.clone(),
        options: assortment.options().to_vec(),
        currency: assortment.currency(),
    }];
    events.extend(added(assortment.variants(), false));
    if publish {
        events.extend(published(&details.name, assortment.variants().iter().map(Offer::from).collect()));
    }
    Ok(events)
}

fn update(
    state: &ProductState,
    changes: &[DetailChange],
    status: Option<WantedStatus>,
) -> Result<Vec<ProductEvent>, ProductError> {
    if status == Some(WantedStatus::Draft) && state.on_sale() {
        return Err(ProductError::ProductIsPublished);
    }
    let differing = changes.iter().filter(|change| state.differs(change));
    let mut events: Vec<_> = differing.map(|change| changed(change.clone(), state.on_sale())).collect();
    if status == Some(WantedStatus::Active) && !state.on_sale() {
        let renamed = changes.iter().find_map(|change| match change {
            DetailChange::Name(name) => Some(name),
            _ => None,
        });
        let offers = state.variants.iter().map(|variant| Offer::from(&**variant)).collect();
        events.extend(published(renamed.unwrap_or(&state.name), offers));
    }
    Ok(events)
}

fn add_variants(state: &ProductState, assortment: &Assortment) -> Result<Vec<ProductEvent>, ProductError> {
    if assortment.options() != state.options {
        return Err(ProductError::OptionsDiffer { expected: state.options.clone() });
    }
    if let Some(expected) = state.currency.filter(|currency| *currency != assortment.currency()) {
        return Err(ProductError::CurrencyDiffers { expected });
    }
    if state.variants.len() + assortment.variants().len() > MAX_VARIANTS {
        return Err(ProductError::TooManyVariants);
    }
    let known: HashMap<&[String], &Sku> =
        state.variants.iter().map(|variant| (&*variant.option_values, &variant.sku)).collect();
    for (index, variant) in assortment.variants().iter().enumerate() {
        if let Some(sku) = known.get(&*variant.option_values).filter(|sku| **sku != &variant.sku) {
            return Err(ProductError::OptionValuesTaken { index, sku: (*sku).clone() });
        }
    }
    Ok(added(assortment.variants(), state.on_sale()).collect())
}

fn change_prices(
    state: &ProductState,
    prices: &[NewPrice],
    reason: &str,
) -> Result<Vec<ProductEvent>, ProductError> {
    let known = state.variants_by_sku();
    let mut events = Vec::new();
    for NewPrice { sku, price } in prices {
        let Some(variant) = known.get(sku) else {
            return Err(ProductError::UnknownVariant { sku: sku.clone() });
        };
        if let Some(expected) = state.currency.filter(|currency| *currency != price.currency) {
            return Err(ProductError::CurrencyDiffers { expected });
        }
        if variant.price != *price {
            events.push(ProductEvent::PriceChanged {
                sku: sku.clone(),
                price: *price,
                previous: variant.price,
                reason: reason.to_owned(),
                on_sale: state.on_sale(),
            });
        }
    }
    Ok(events)
}

fn added(variants: &[Variant], on_sale: bool) -> impl Iterator<Item = ProductEvent> + '_ {
    let pieces = variants.chunks(VARIANTS_PER_EVENT);
    pieces.map(move |piece| ProductEvent::VariantsAdded { variants: piece.to_vec(), on_sale })
}

/// The events that put all variants on sale, each with a bounded number of them.
fn published(name: &str, mut offers: Vec<Offer>) -> Vec<ProductEvent> {
    let further = offers.split_off(offers.len().min(VARIANTS_PER_EVENT));
    let mut events = vec![ProductEvent::ProductPublished { name: name.to_owned(), offers }];
    let pieces = further.chunks(VARIANTS_PER_EVENT);
    events.extend(pieces.map(|piece| ProductEvent::VariantsOffered { offers: piece.to_vec() }));
    events
}

fn changed(change: DetailChange, on_sale: bool) -> ProductEvent {
    match change {
        DetailChange::Name(name) => ProductEvent::ProductRenamed { name, on_sale },
        DetailChange::Description(description) => ProductEvent::DescriptionChanged { description },
        DetailChange::Brand(brand) => ProductEvent::BrandChanged { brand },
        DetailChange::CategoryPath(category_path) => ProductEvent::ProductRecategorized { category_path },
        DetailChange::Supplier(supplier) => ProductEvent::SupplierChanged { supplier },
        DetailChange::Attributes(attributes) => ProductEvent::AttributesChanged { attributes },
        DetailChange::Tags(tags) => ProductEvent::ProductRetagged { tags },
        DetailChange::Images(images) => ProductEvent::ImagesChanged { images },
    }
}
