//! The rules of one product.

mod schedules;

use super::super::NewVariant;
use super::super::details::Image;
use super::super::{Currency, Price};
use super::*;
use testkit::given;

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

fn eur(minor_units: i64) -> Price {
    Price::new(minor_units, Currency::from_code("EUR").unwrap()).unwrap()
}

fn usd(minor_units: i64) -> Price {
    Price::new(minor_units, Currency::from_code("USD").unwrap()).unwrap()
}

/// SKUs whose size is the SKU itself.
fn sizes(skus: &[&str], price: Price) -> Assortment {
    let variant = |text: &&str| NewVariant {
        sku: sku(text),
        options: vec![("Size".into(), (*text).to_owned())],
        price,
        barcode: String::new(),
    };
    Assortment::check(skus.iter().map(variant).collect()).unwrap()
}

fn many(from: usize, to: usize) -> Assortment {
    let skus: Vec<String> = (from..to).map(|n| format!("S{n}")).collect();
    sizes(&skus.iter().map(String::as_str).collect::<Vec<_>>(), eur(100))
}

fn handle() -> Handle {
    Handle::parse("shirt").unwrap()
}

fn details() -> Details {
    Details { name: "Shirt".into(), brand: "Tan".into(), ..Details::default() }
}

fn create(skus: &[&str], publish: bool) -> ProductCommand {
    ProductCommand::Create {
        handle: handle(),
        details: Box::new(details()),
        assortment: sizes(skus, eur(1000)),
        publish,
    }
}

fn created() -> ProductEvent {
    ProductEvent::ProductCreated {
        handle: handle(),
        details: details(),
        options: vec!["Size".into()],
        currency: Currency::from_code("EUR").unwrap(),
    }
}

fn variants(skus: &[&str], on_sale: bool) -> ProductEvent {
    ProductEvent::VariantsAdded { variants: sizes(skus, eur(1000)).variants().to_vec(), on_sale }
}

fn published_as(name: &str, skus: &[&str]) -> ProductEvent {
    let offers = sizes(skus, eur(1000)).variants().iter().map(Offer::from).collect();
    ProductEvent::ProductPublished { name: name.into(), offers }
}

fn draft() -> [ProductEvent; 2] {
    [created(), variants(&["S", "M"], false)]
}

fn active() -> Vec<ProductEvent> {
    draft().into_iter().chain([published_as("Shirt", &["S", "M"])]).collect()
}

fn ended() -> Vec<ProductEvent> {
    active().into_iter().chain([discontinued(true)]).collect()
}

fn discontinued(was_on_sale: bool) -> ProductEvent {
    ProductEvent::ProductDiscontinued { reason: "sold out".into(), was_on_sale }
}

fn discontinue() -> ProductCommand {
    ProductCommand::Discontinue { reason: "sold out".into() }
}

fn update(changes: Vec<DetailChange>, status: Option<WantedStatus>) -> ProductCommand {
    ProductCommand::Update { changes, status }
}

fn reprice(prices: &[(&str, Price)]) -> ProductCommand {
    let prices = prices.iter().map(|(text, price)| NewPrice { sku: sku(text), price: *price }).collect();
    ProductCommand::ChangePrices { prices, reason: "season".into(), now: DateTime::UNIX_EPOCH }
}

fn repriced(text: &str, price: i64, previous: i64, on_sale: bool) -> ProductEvent {
    let (price, previous) = (eur(price), eur(previous));
    ProductEvent::PriceChanged { sku: sku(text), price, previous, reason: "season".into(), on_sale }
}

#[test]
fn a_draft_is_created_and_nobody_hears_of_it() {
    given::<Product>([]).when(create(&["S", "M"], false)).then(draft());
}

#[test]
fn a_product_that_is_created_active_is_published_with_its_variants() {
    given::<Product>([]).when(create(&["S", "M"], true)).then(active());
}

#[test]
fn a_product_is_created_once() {
    given::<Product>(draft()).when(create(&["L"], false)).then_rejected(ProductError::ProductExists);
    given::<Product>(ended()).when(create(&["L"], false)).then_rejected(ProductError::ProductExists);
}

#[test]
fn no_event_holds_more_than_a_bounded_number_of_variants() {
    let command = ProductCommand::Create {
        handle: handle(),
        details: Box::new(details()),
        assortment: many(0, MAX_VARIANTS),
        publish: true,
    };
    let events = Product::decide(&ProductState::default(), &command).unwrap();
    let (mut added, mut offered) = (0, 0);
    for event in &events {
        let held = match event {
            ProductEvent::VariantsAdded { variants, .. } => {
                added += variants.len();
                variants.len()
            }
            ProductEvent::ProductPublished { offers, .. } | ProductEvent::VariantsOffered { offers } => {
                offered += offers.len();
                offers.len()
            }
            _ => 0,
        };
        assert!(held <= VARIANTS_PER_EVENT);
        assert!(serde_json::to_vec(event).unwrap().len() < 64 * 1024);
    }
    assert_eq!((added, offered), (MAX_VARIANTS, MAX_VARIANTS));
    let state = events.iter().fold(ProductState::default(), Product::evolve);
    assert_eq!((state.variants.len(), state.status), (MAX_VARIANTS, ProductStatus::Active));
}

#[test]
fn an_update_records_what_differs_and_nothing_else() {
    let changes = vec![
        DetailChange::Name("Shirt".into()),
        DetailChange::Brand("Ost".into()),
        DetailChange::Tags(vec!["linen".into()]),
        DetailChange::Supplier(String::new()),
    ];
    given::<Product>(draft())
        .when(update(changes.clone(), None))
        .then([
            ProductEvent::BrandChanged { brand: "Ost".into() },
            ProductEvent::ProductRetagged { tags: vec!["linen".into()] },
        ])
        .when(update(changes, None))
        .then_nothing();
}

#[test]
fn every_detail_can_be_changed_and_changed_back() {
    let image = Image { url: "https://images.example/a.jpg".into(), alt_text: "a shirt".into() };
    let new = Details {
        name: "Blouse".into(),
        description: "<p>new</p>".into(),
        brand: "Ost".into(),
        category_path: vec!["Wear".into()],
        supplier: "Hollin".into(),
        attributes: [("cloth".to_owned(), "linen".to_owned())].into(),
        tags: vec!["new".into()],
        images: vec![image],
    };
    let state = active().iter().fold(ProductState::default(), Product::evolve);
    let forth = Product::decide(&state, &update(new.clone().into_changes(), None)).unwrap();
    assert_eq!(forth.len(), Field::ALL.len());
    let there = forth.iter().fold(state.clone(), Product::evolve);
    assert!(new.into_changes().iter().all(|change| !there.differs(change)));
    let back = Product::decide(&there, &update(details().into_changes(), None)).unwrap();
    assert_eq!(back.iter().fold(there, Product::evolve), state);
}

#[test]
fn a_draft_is_published_under_the_name_that_the_same_update_gives_it() {
    let renamed = DetailChange::Name("Blouse".into());
    given::<Product>(draft())
        .when(update(vec![renamed], Some(WantedStatus::Active)))
        .then([
            ProductEvent::ProductRenamed { name: "Blouse".into(), on_sale: false },
            published_as("Blouse", &["S", "M"]),
        ])
        .when(update(vec![DetailChange::Name("Shirt".into())], Some(WantedStatus::Active)))
        .then([ProductEvent::ProductRenamed { name: "Shirt".into(), on_sale: true }]);
}

#[test]
fn a_published_product_does_not_become_a_draft_again() {
    given::<Product>(active())
        .when(update(vec![], Some(WantedStatus::Draft)))
        .then_rejected(ProductError::ProductIsPublished);
    given::<Product>(draft()).when(update(vec![], Some(WantedStatus::Draft))).then_nothing();
}

#[test]
fn variants_are_added_in_the_options_and_the_currency_of_the_product() {
    let add = |skus: &[&str], price| ProductCommand::AddVariants(sizes(skus, price));
    given::<Product>(active()).when(add(&["L"], eur(1000))).then([variants(&["L"], true)]);
    given::<Product>(draft()).when(add(&["L"], eur(1000))).then([variants(&["L"], false)]);
    given::<Product>(active())
        .when(add(&["L"], usd(1000)))
        .then_rejected(ProductError::CurrencyDiffers { expected: Currency::from_code("EUR").unwrap() });
    let colour = NewVariant {
        sku: sku("R"),
        options: vec![("Colour".into(), "S".into())],
        price: eur(1),
        barcode: String::new(),
    };
    given::<Product>(active())
        .when(ProductCommand::AddVariants(Assortment::check(vec![colour]).unwrap()))
        .then_rejected(ProductError::OptionsDiffer { expected: vec!["Size".into()] });
    let same = |text: &str| NewVariant {
        sku: sku(text),
        options: vec![("Size".into(), if text == "X" { "XL" } else { "M" }.into())],
        price: eur(1),
        barcode: String::new(),
    };
    given::<Product>(active())
        .when(ProductCommand::AddVariants(Assortment::check(vec![same("X"), same("Y")]).unwrap()))
        .then_rejected(ProductError::OptionValuesTaken { index: 1, sku: sku("M") });
}

#[test]
fn a_product_never_has_more_variants_than_the_limit() {
    let full = ProductCommand::Create {
        handle: handle(),
        details: Box::new(details()),
        assortment: many(0, MAX_VARIANTS - 1),
        publish: false,
    };
    let history = Product::decide(&ProductState::default(), &full).unwrap();
    let add = |from, to| ProductCommand::AddVariants(many(from, to));
    let full = given::<Product>(history.clone()).when(add(MAX_VARIANTS, MAX_VARIANTS + 1)).then([
        ProductEvent::VariantsAdded {
            variants: many(MAX_VARIANTS, MAX_VARIANTS + 1).variants().to_vec(),
            on_sale: false,
        },
    ]);
    full.when(add(MAX_VARIANTS + 1, MAX_VARIANTS + 2)).then_rejected(ProductError::TooManyVariants);
    given::<Product>(history)
        .when(add(MAX_VARIANTS, MAX_VARIANTS + 2))
        .then_rejected(ProductError::TooManyVariants);
}

#[test]
fn a_price_changes_with_its_reason_and_the_same_price_is_no_change() {
    given::<Product>(active())
        .when(reprice(&[("S", eur(900)), ("M", eur(1000))]))
        .then([repriced("S", 900, 1000, true)])
        .when(reprice(&[("S", eur(900))]))
        .then_nothing()
        .when(reprice(&[("S", eur(0))]))
        .then([repriced("S", 0, 900, true)]);
    given::<Product>(draft()).when(reprice(&[("M", eur(1))])).then([repriced("M", 1, 1000, false)]);
}

#[test]
fn only_known_variants_get_a_price_and_only_in_the_currency_of_the_product() {
    given::<Product>(active())
        .when(reprice(&[("S", eur(1)), ("XXL", eur(1))]))
        .then_rejected(ProductError::UnknownVariant { sku: sku("XXL") });
    given::<Product>(active())
        .when(reprice(&[("S", usd(1000))]))
        .then_rejected(ProductError::CurrencyDiffers { expected: Currency::from_code("EUR").unwrap() });
}

#[test]
fn a_product_is_discontinued_once() {
    given::<Product>(active())
        .when(discontinue())
        .then([discontinued(true)])
        .when(discontinue())
        .then_nothing();
    given::<Product>(draft()).when(discontinue()).then([discontinued(false)]);
}

#[test]
fn a_discontinued_product_does_not_change_any_more() {
    for command in [
        update(vec![DetailChange::Name("Blouse".into())], None),
        update(vec![], Some(WantedStatus::Active)),
        ProductCommand::AddVariants(sizes(&["L"], eur(1))),
        reprice(&[("S", eur(1))]),
    ] {
        given::<Product>(ended()).when(command).then_rejected(ProductError::ProductIsDiscontinued);
    }
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    for command in [
        update(vec![], None),
        ProductCommand::AddVariants(sizes(&["L"], eur(1))),
        reprice(&[("S", eur(1))]),
        discontinue(),
    ] {
        given::<Product>([]).when(command).then_rejected(ProductError::UnknownProduct);
    }
}
