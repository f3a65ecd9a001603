//! Who has a SKU or a handle. Each is a stream of its own, written together with the product's: two products that
//! want the same one at the same moment meet there, and one of them loses. A claim is never given up, since stock
//! and links hang on it also when the product is discontinued.

use eventsourcing::{Decider, DomainEvent};
use serde::{Deserialize, Serialize};

use super::ProductId;

/// The decider of the category `sku`, whose keys are SKUs.
pub struct SkuClaim;

/// The decider of the category `handle`, whose keys are handles.
pub struct HandleClaim;

/// Who has it, if anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub owner: Option<ProductId>,
}

/// Claims it for a product.
#[derive(Clone, Copy, Debug)]
pub struct ClaimFor(pub ProductId);

/// A product has it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub by: ProductId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkuEvent {
    SkuClaimed { product_id: ProductId },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandleEvent {
    HandleClaimed { product_id: ProductId },
}

impl DomainEvent for SkuEvent {}
impl DomainEvent for HandleEvent {}

/// The first come has it; a second claim is refused, whoever makes it.
fn claim(state: &Claim) -> Result<(), Taken> {
    state.owner.map_or(Ok(()), |by| Err(Taken { by }))
}

impl Decider for SkuClaim {
    const CATEGORY: &'static str = "sku";
    type State = Claim;
    type Command = ClaimFor;
    type Event = SkuEvent;
    type Error = Taken;

    fn decide(state: &Claim, ClaimFor(product_id): &ClaimFor) -> Result<Vec<SkuEvent>, Taken> {
        claim(state)?;
        Ok(vec![SkuEvent::SkuClaimed { product_id: *product_id }])
    }

    fn evolve(_: Claim, SkuEvent::SkuClaimed { product_id }: &SkuEvent) -> Claim {
        Claim { owner: Some(*product_id) }
    }
}

impl Decider for HandleClaim {
    const CATEGORY: &'static str = "handle";
    type State = Claim;
    type Command = ClaimFor;
    type Event = HandleEvent;
    type Error = Taken;

    fn decide(state: &Claim, ClaimFor(product_id): &ClaimFor) -> Result<Vec<HandleEvent>, Taken> {
        claim(state)?;
        Ok(vec![HandleEvent::HandleClaimed { product_id: *product_id }])
    }

    fn evolve(_: Claim, HandleEvent::HandleClaimed { product_id }: &HandleEvent) -> Claim {
        Claim { owner: Some(*product_id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::given;

    fn product(id: u128) -> ProductId {
        uuid::Uuid::from_u128(id).into()
    }

    #[test]
    fn the_first_product_gets_a_sku_and_nobody_after_it() {
        given::<SkuClaim>([])
            .when(ClaimFor(product(1)))
            .then([SkuEvent::SkuClaimed { product_id: product(1) }])
            .when(ClaimFor(product(2)))
            .then_rejected(Taken { by: product(1) });
        given::<SkuClaim>([SkuEvent::SkuClaimed { product_id: product(1) }])
            .when(ClaimFor(product(1)))
            .then_rejected(Taken { by: product(1) });
    }

    #[test]
    fn the_first_product_gets_a_handle_and_nobody_after_it() {
        given::<HandleClaim>([])
            .when(ClaimFor(product(1)))
            .then([HandleEvent::HandleClaimed { product_id: product(1) }])
            .when(ClaimFor(product(2)))
            .then_rejected(Taken { by: product(1) });
    }
}
