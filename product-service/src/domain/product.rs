//! One product: what may happen to it in which order. That its SKUs and its handle are nobody else's is for
//! [`claims`](super::claims) to say.
//!
//! A product begins as a draft, is published once, and may be discontinued from either; a discontinued product does
//! not change until it is reinstated, and is then what it was before. What changes nothing leaves no event.

mod commands;
mod errors;
mod events;
mod schedules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventsourcing::Decider;
use serde::{Deserialize, Serialize};

use super::details::{DetailChange, Details, Field, Fingerprint};
use super::limits::{MAX_VARIANTS, VARIANTS_PER_EVENT};
use super::{Assortment, Currency, Handle, Offer, Price, Sku, Variant};

pub use commands::{NewPrice, ProductCommand, WantedStatus};
pub use errors::ProductError;
pub use events::ProductEvent;
pub use schedules::{ScheduledPrice, Schedules};

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
    /// Prices to come.
    pub schedules: Schedules,
    /// Whether it was on sale when it was discontinued.
    was_on_sale: bool,
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
}

impl Decider for Product {
    const CATEGORY: &'static str = "product";
    const STATE_VERSION: i32 = 2;
    const SNAPSHOT_EVERY: Option<u64> = Some(100);
    type State = ProductState;
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = ProductError;

    fn decide(state: &ProductState, command: &ProductCommand) -> Result<Vec<ProductEvent>, ProductError> {
        match (command, state.status) {
            (ProductCommand::Create { handle, details, assortment, publish }, _) => {
                create(state, handle, details, assortment, *publish)
            }
            (_, ProductStatus::Absent) => Err(ProductError::UnknownProduct),
            // What is ended already can be ended again, and what is not ended can be reinstated.
            (ProductCommand::Discontinue { .. }, ProductStatus::Discontinued)
            | (ProductCommand::Reinstate { .. }, ProductStatus::Draft | ProductStatus::Active) => Ok(vec![]),
            (ProductCommand::Reinstate { reason }, ProductStatus::Discontinued) => {
                let (reason, on_sale) = (reason.clone(), state.was_on_sale);
                Ok(vec![ProductEvent::ProductReinstated { reason, on_sale }])
            }
            // A discontinued product has no scheduled prices; what became of one can be asked nevertheless.
            (ProductCommand::WithdrawScheduledPrice { schedule_id, reason }, _) => {
                schedules::withdraw(state, *schedule_id, reason)
            }
            (ProductCommand::TakeEffect { schedule_id, now }, _) => {
                schedules::take_effect(state, *schedule_id, *now)
            }
            (_, ProductStatus::Discontinued) => Err(ProductError::ProductIsDiscontinued),
            (ProductCommand::Update { changes, status }, _) => update(state, changes, *status),
            (ProductCommand::AddVariants(assortment), _) => add_variants(state, assortment),
            (ProductCommand::ChangePrices { prices, reason, now }, _) => {
                change_prices(state, prices, reason, *now)
            }
            (ProductCommand::SchedulePrice { schedule_id, scheduled, now }, _) => {
                schedules::schedule(state, *schedule_id, scheduled, *now)
            }
            (ProductCommand::Discontinue { reason }, _) => Ok(discontinue(state, reason)),
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
            ProductEvent::ProductDiscontinued { was_on_sale, .. } => {
                state.was_on_sale = *was_on_sale;
                state.status = ProductStatus::Discontinued;
            }
            ProductEvent::ProductReinstated { on_sale, .. } => {
                state.status = if *on_sale { ProductStatus::Active } else { ProductStatus::Draft };
            }
            ProductEvent::PriceChangeScheduled { schedule_id, sku, price, effective_at, reason } => {
                let (sku, price, effective_at) = (sku.clone(), *price, *effective_at);
                let scheduled = ScheduledPrice { sku, price, effective_at, reason: reason.clone() };
                state.schedules.add(*schedule_id, scheduled);
            }
            ProductEvent::ScheduledPricesWithdrawn { schedules, .. } => {
                schedules.iter().for_each(|schedule_id| state.schedules.withdrawn(*schedule_id));
            }
            ProductEvent::ScheduledPriceTookEffect { schedule_id, .. } => {
                state.schedules.took_effect(*schedule_id);
            }
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

/// What was scheduled for a time that has come, and that no timer has brought to pass yet, comes first: so a price that
/// somebody sets is never replaced by one of an earlier time.
fn change_prices(
    state: &ProductState,
    prices: &[NewPrice],
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Vec<ProductEvent>, ProductError> {
    let known = state.variants_by_sku();
    let mut events = Vec::new();
    for NewPrice { sku, price } in prices {
        let variant = priceable(state, &known, sku, price)?;
        let previous = schedules::reach(state, variant, now, &mut events);
        events.extend(repriced(state, sku, *price, previous, reason));
    }
    Ok(events)
}

/// The variant that a price is meant for.
fn priceable<'v>(
    state: &ProductState,
    known: &HashMap<&Sku, &'v Variant>,
    sku: &Sku,
    price: &Price,
) -> Result<&'v Variant, ProductError> {
    let Some(variant) = known.get(sku) else {
        return Err(ProductError::UnknownVariant { sku: sku.clone() });
    };
    match state.currency.filter(|currency| *currency != price.currency) {
        Some(expected) => Err(ProductError::CurrencyDiffers { expected }),
        None => Ok(variant),
    }
}

/// The same price is no change.
fn repriced(
    state: &ProductState,
    sku: &Sku,
    price: Price,
    previous: Price,
    reason: &str,
) -> Option<ProductEvent> {
    let (sku, reason, on_sale) = (sku.clone(), reason.to_owned(), state.on_sale());
    (price != previous).then_some(ProductEvent::PriceChanged { sku, price, previous, reason, on_sale })
}

fn discontinue(state: &ProductState, reason: &str) -> Vec<ProductEvent> {
    let mut events = Vec::from_iter(schedules::withdraw_all(state, reason));
    let (reason, was_on_sale) = (reason.to_owned(), state.on_sale());
    events.push(ProductEvent::ProductDiscontinued { reason, was_on_sale });
    events
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
