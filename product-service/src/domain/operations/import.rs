//! Brings a product to what a file says of it. It compares with the product's state in the same decision that
//! writes, so a repeated import finds nothing to do, whoever changed what in between.
//!
//! An import takes nothing away: variants, and details that the file cannot express, stay. It publishes a draft and
//! discontinues what the file calls archived; it never takes a product off sale otherwise, and never brings back a
//! discontinued one.

use chrono::{DateTime, Utc};
use eventsourcing::{Halt, Operation, View};
use serde::{Deserialize, Serialize};

use super::super::claims::{HandleClaim, SkuClaim};
use super::super::details::{DetailChange, Details, Field};
use super::super::product::{
    NewPrice, Product, ProductCommand, ProductError, ProductState, ProductStatus, WantedStatus,
};
use super::super::{Assortment, Handle, ProductId};
use super::{claim_skus, create, handle_stream, load, product_stream, rejected_as, sku_stream};

/// The reason of price changes and discontinuations that an import makes.
pub const IMPORT_REASON: &str = "import";

/// What a file says of one product.
#[derive(Clone, Debug)]
pub struct ImportProduct {
    /// The id of the product if it has to be created.
    pub new_product_id: ProductId,
    pub handle: Handle,
    /// What the file can express; other details are left as they are.
    pub details: Vec<DetailChange>,
    pub assortment: Assortment,
    pub status: FileStatus,
    pub now: DateTime<Utc>,
}

/// The status that a file gives a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStatus {
    Draft,
    Active,
    Discontinued,
}

/// What an import did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    pub outcome: ImportOutcome,
    pub product_id: ProductId,
    /// The details that changed; none for a product that was created.
    pub changed: Vec<Field>,
    pub status_changed: bool,
    pub prices_changed: usize,
    pub variants_added: usize,
    pub notes: Vec<ImportNote>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    Created,
    Updated,
    Unchanged,
}

/// What the file says and the import leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ImportNote {
    #[error("the product stays on sale: a published product does not become a draft again")]
    StaysOnSale,
    #[error("the product is discontinued: an import does not bring it back, and changes nothing")]
    StaysDiscontinued,
    #[error("{0} known variants have other options or another barcode in the file, which stay as they are")]
    VariantsDiffer(usize),
}

impl Operation for ImportProduct {
    type Reply = ImportReport;
    type Rejection = ProductError;

    fn run(&self, view: &mut View<'_>) -> Result<ImportReport, Halt<ProductError>> {
        match view.state::<HandleClaim>(&handle_stream(&self.handle))?.owner {
            Some(product_id) => self.update(view, product_id),
            None => self.create(view),
        }
    }
}

impl ImportProduct {
    fn create(&self, view: &mut View<'_>) -> Result<ImportReport, Halt<ProductError>> {
        let product_id = self.new_product_id;
        // Where the handle is free the SKUs are too, as a rule: a load for each batch of a large file is saved.
        view.presume_new::<Product>(&product_stream(product_id));
        for variant in self.assortment.variants() {
            view.presume_new::<SkuClaim>(&sku_stream(variant));
        }
        load(view, &[], Some(product_id), self.assortment.variants())?;
        let details = Details::of(self.details.iter().cloned());
        let publish = self.status == FileStatus::Active;
        create(view, product_id, &self.handle, &details, &self.assortment, publish)?;
        if self.status == FileStatus::Discontinued {
            view.decide::<Product>(&product_stream(product_id), &discontinue())?;
        }
        let variants_added = self.assortment.variants().len();
        Ok(ImportReport { variants_added, ..ImportReport::of(ImportOutcome::Created, product_id) })
    }

    fn update(&self, view: &mut View<'_>, product_id: ProductId) -> Result<ImportReport, Halt<ProductError>> {
        let stream = product_stream(product_id);
        let state = view.state::<Product>(&stream)?.clone();
        let plan = self.plan(&state, product_id);
        if plan.report.outcome == ImportOutcome::Unchanged {
            return Ok(plan.report);
        }
        if let Some(added) = &plan.added {
            load(view, &[], None, added.variants())?;
        }
        // Publication comes last, with everything that is published.
        let details = ProductCommand::Update { changes: self.details.clone(), status: None };
        view.decide::<Product>(&stream, &details)?;
        view.decide::<Product>(&stream, &plan.prices)?;
        if let Some(added) = &plan.added {
            let decided = view.decide::<Product>(&stream, &ProductCommand::AddVariants(added.clone()));
            rejected_as(decided, |error| self.in_file(added, error))?;
            let claimed = claim_skus(view, product_id, added.variants());
            rejected_as(claimed, |error| self.in_file(added, error))?;
        }
        match (plan.report.status_changed, self.status) {
            (true, FileStatus::Active) => {
                let publish = ProductCommand::Update { changes: vec![], status: Some(WantedStatus::Active) };
                view.decide::<Product>(&stream, &publish)?;
            }
            (true, FileStatus::Discontinued) => {
                view.decide::<Product>(&stream, &discontinue())?;
            }
            (true, FileStatus::Draft) | (false, _) => {}
        }
        Ok(plan.report)
    }

    /// A broken rule with the place that its variant has in the file, not among those that are new.
    fn in_file(&self, added: &Assortment, mut error: ProductError) -> ProductError {
        if let ProductError::SkuTaken { index, .. } | ProductError::OptionValuesTaken { index, .. } =
            &mut error
            && let Some(meant) = added.variants().get(*index)
            && let Some(place) = self.assortment.variants().iter().position(|v| v.sku == meant.sku)
        {
            *index = place;
        }
        error
    }

    /// What differs between the file and the product.
    fn plan(&self, state: &ProductState, product_id: ProductId) -> Plan {
        let mut report = ImportReport::of(ImportOutcome::Unchanged, product_id);
        let known = state.variants_by_sku();
        let same_options = self.assortment.options() == state.options;
        let mut prices = Vec::new();
        let mut different = 0;
        if state.status == ProductStatus::Discontinued {
            if self.status != FileStatus::Discontinued {
                report.notes.push(ImportNote::StaysDiscontinued);
            }
            return Plan { report, prices: self.change_prices(prices), added: None };
        }
        for variant in self.assortment.variants() {
            let Some(known) = known.get(&variant.sku) else { continue };
            if known.price != variant.price {
                prices.push(NewPrice { sku: variant.sku.clone(), price: variant.price });
            }
            if !same_options
                || known.option_values != variant.option_values
                || known.barcode != variant.barcode
            {
                different += 1;
            }
        }
        let added = self.assortment.filtered(|variant| !known.contains_key(&variant.sku));
        let differing = self.details.iter().filter(|change| state.differs(change));
        report.changed = differing.map(DetailChange::field).collect();
        report.prices_changed = prices.len();
        report.variants_added = added.as_ref().map_or(0, |added| added.variants().len());
        report.status_changed = match self.status {
            FileStatus::Draft => false,
            FileStatus::Active => state.status == ProductStatus::Draft,
            FileStatus::Discontinued => true,
        };
        if different > 0 {
            report.notes.push(ImportNote::VariantsDiffer(different));
        }
        if self.status == FileStatus::Draft && state.on_sale() {
            report.notes.push(ImportNote::StaysOnSale);
        }
        if !report.changed.is_empty() || !prices.is_empty() || added.is_some() || report.status_changed {
            report.outcome = ImportOutcome::Updated;
        }
        Plan { report, prices: self.change_prices(prices), added }
    }

    fn change_prices(&self, prices: Vec<NewPrice>) -> ProductCommand {
        ProductCommand::ChangePrices { prices, reason: IMPORT_REASON.to_owned(), now: self.now }
    }
}

struct Plan {
    report: ImportReport,
    prices: ProductCommand,
    /// The variants whose SKUs the product does not have.
    added: Option<Assortment>,
}

impl ImportReport {
    fn of(outcome: ImportOutcome, product_id: ProductId) -> Self {
        Self {
            outcome,
            product_id,
            changed: Vec::new(),
            status_changed: false,
            prices_changed: 0,
            variants_added: 0,
            notes: Vec::new(),
        }
    }
}

fn discontinue() -> ProductCommand {
    ProductCommand::Discontinue { reason: IMPORT_REASON.to_owned() }
}
