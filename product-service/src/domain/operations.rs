//! Commands that concern a product together with the SKUs and the handle that it claims: all or nothing.

mod import;

use chrono::{DateTime, Utc};
use eventsourcing::{Halt, Operation, StreamId, View};
use serde::{Deserialize, Serialize};

use super::claims::{ClaimFor, HandleClaim, SkuClaim};
use super::details::Details;
use super::product::{Product, ProductCommand, ProductError, ScheduledPrice};
use super::{Assortment, Handle, ProductId, ScheduleId, Variant};

pub use import::{FileStatus, ImportNote, ImportOutcome, ImportProduct, ImportReport};

/// A product and the version of its stream: what replies and etags are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub product_id: ProductId,
    pub version: u64,
}

/// Which handle a new product gets.
#[derive(Clone, Debug)]
pub enum WantedHandle {
    /// This one, or the product is refused.
    Given(Handle),
    /// The first of [`Handle::derived`] that is free.
    Derived,
}

/// Adds a product.
#[derive(Clone, Debug)]
pub struct CreateProduct {
    /// New.
    pub product_id: ProductId,
    pub handle: WantedHandle,
    pub details: Details,
    pub assortment: Assortment,
    pub publish: bool,
}

impl Operation for CreateProduct {
    type Reply = Changed;
    type Rejection = ProductError;

    fn run(&self, view: &mut View<'_>) -> Result<Changed, Halt<ProductError>> {
        let candidates = match &self.handle {
            WantedHandle::Given(handle) => vec![handle.clone()],
            WantedHandle::Derived => Handle::derived(&self.details.name, self.product_id),
        };
        load(view, &candidates, Some(self.product_id), self.assortment.variants())?;
        let mut handle = &candidates[0];
        for candidate in &candidates {
            handle = candidate;
            if view.state::<HandleClaim>(&handle_stream(candidate))?.owner.is_none() {
                break;
            }
        }
        create(view, self.product_id, handle, &self.details, &self.assortment, self.publish)
    }
}

/// Adds variants to a product.
#[derive(Clone, Debug)]
pub struct AddVariants {
    pub product_id: ProductId,
    pub assortment: Assortment,
    /// Refuse unless the product has this version now.
    pub expected_version: Option<u64>,
}

impl Operation for AddVariants {
    type Reply = Changed;
    type Rejection = ProductError;

    fn run(&self, view: &mut View<'_>) -> Result<Changed, Halt<ProductError>> {
        load(view, &[], Some(self.product_id), self.assortment.variants())?;
        let stream = product_stream(self.product_id);
        if let Some(expected) = self.expected_version {
            view.expect_version::<Product, _>(&stream, expected)?;
        }
        let version =
            view.decide::<Product>(&stream, &ProductCommand::AddVariants(self.assortment.clone()))?;
        claim_skus(view, self.product_id, self.assortment.variants())?;
        Ok(Changed { product_id: self.product_id, version })
    }
}

/// Sets a price that takes effect by itself.
#[derive(Clone, Debug)]
pub struct SchedulePrice {
    pub product_id: ProductId,
    /// New.
    pub schedule_id: ScheduleId,
    pub scheduled: ScheduledPrice,
    pub now: DateTime<Utc>,
    /// Refuse unless the product has this version now.
    pub expected_version: Option<u64>,
}

/// The price that was scheduled, and its product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    #[serde(flatten)]
    pub changed: Changed,
    pub schedule_id: ScheduleId,
}

impl Operation for SchedulePrice {
    type Reply = Scheduled;
    type Rejection = ProductError;

    fn run(&self, view: &mut View<'_>) -> Result<Scheduled, Halt<ProductError>> {
        let Self { product_id, schedule_id, now, .. } = *self;
        let stream = product_stream(product_id);
        if let Some(expected) = self.expected_version {
            view.expect_version::<Product, _>(&stream, expected)?;
        }
        let command = ProductCommand::SchedulePrice { schedule_id, scheduled: self.scheduled.clone(), now };
        let version = view.decide::<Product>(&stream, &command)?;
        Ok(Scheduled { changed: Changed { product_id, version }, schedule_id })
    }
}

/// The stream of a product.
pub fn product_stream(product_id: ProductId) -> StreamId {
    StreamId::of::<Product>(product_id)
}

/// The stream that says who has a handle.
pub fn handle_stream(handle: &Handle) -> StreamId {
    StreamId::of::<HandleClaim>(handle)
}

/// The stream that says who has a SKU.
pub fn sku_stream(variant: &Variant) -> StreamId {
    StreamId::of::<SkuClaim>(&variant.sku)
}

fn create(
    view: &mut View<'_>,
    product_id: ProductId,
    handle: &Handle,
    details: &Details,
    assortment: &Assortment,
    publish: bool,
) -> Result<Changed, Halt<ProductError>> {
    let command = ProductCommand::Create {
        handle: handle.clone(),
        details: Box::new(details.clone()),
        assortment: assortment.clone(),
        publish,
    };
    let version = view.decide::<Product>(&product_stream(product_id), &command)?;
    let claimed = view.decide::<HandleClaim>(&handle_stream(handle), &ClaimFor(product_id));
    rejected_as(claimed, |taken| ProductError::HandleTaken { handle: handle.clone(), product_id: taken.by })?;
    claim_skus(view, product_id, assortment.variants())?;
    Ok(Changed { product_id, version })
}

fn claim_skus(
    view: &mut View<'_>,
    product_id: ProductId,
    variants: &[Variant],
) -> Result<(), Halt<ProductError>> {
    for (index, variant) in variants.iter().enumerate() {
        let claimed = view.decide::<SkuClaim>(&sku_stream(variant), &ClaimFor(product_id));
        rejected_as(claimed, |taken| ProductError::SkuTaken {
            index,
            sku: variant.sku.clone(),
            product_id: taken.by,
        })?;
    }
    Ok(())
}

/// Asks for all streams at once, so that they are loaded together.
fn load<'v>(
    view: &mut View<'_>,
    handles: &[Handle],
    product: Option<ProductId>,
    variants: impl IntoIterator<Item = &'v Variant>,
) -> Result<(), Halt<ProductError>> {
    let handles: Vec<_> = handles.iter().map(handle_stream).collect();
    let skus: Vec<_> = variants.into_iter().map(sku_stream).collect();
    let product = product.map(product_stream);
    let loaded =
        [view.load::<HandleClaim>(&handles), view.load::<Product>(&product), view.load::<SkuClaim>(&skus)];
    Ok(loaded.into_iter().collect::<Result<(), _>>()?)
}

fn rejected_as<T, A, B>(result: Result<T, Halt<A>>, translate: impl FnOnce(A) -> B) -> Result<T, Halt<B>> {
    result.map_err(|halt| match halt {
        Halt::Rejected(rejection) => Halt::Rejected(translate(rejection)),
        Halt::StaleVersion { stream, expected, actual } => Halt::StaleVersion { stream, expected, actual },
        Halt::Missing => Halt::Missing,
    })
}
