//! An imported product as the request that brings the shop to it.

use contracts::shop::product::v1 as wire;
use contracts::shop::r#type::v1::Money;

use super::limits::MAX_IMAGES;
use super::{ImportedImage, ImportedProduct, ImportedVariant, ProductStatus};

/// The request for `ImportProduct`, without a request id and not as a dry run: both are for the caller to set.
///
/// The shop's variants have no pictures of their own: those of the file join the product's, as far as there is
/// room. Quantities are inventory's matter.
pub fn to_request(product: &ImportedProduct) -> wire::ImportProductRequest {
    let status = match product.status {
        ProductStatus::Active => wire::ProductStatus::Active,
        ProductStatus::Draft => wire::ProductStatus::Draft,
        ProductStatus::Archived => wire::ProductStatus::Discontinued,
    };
    wire::ImportProductRequest {
        request_id: String::new(),
        validate_only: false,
        handle: product.handle.clone(),
        name: product.title.clone(),
        description: product.body_html.clone(),
        brand: product.brand.clone(),
        category_path: product.category_path.clone(),
        supplier: product.supplier.clone(),
        tags: product.tags.clone(),
        attributes: product.attributes.clone(),
        images: images(product),
        status: status.into(),
        variants: product.variants.iter().map(|variant| to_variant(variant, &product.options)).collect(),
    }
}

fn to_variant(variant: &ImportedVariant, options: &[String]) -> wire::Variant {
    let option =
        |(name, value): (&String, &String)| wire::OptionValue { name: name.clone(), value: value.clone() };
    wire::Variant {
        sku: variant.sku.clone(),
        options: options.iter().zip(&variant.option_values).map(option).collect(),
        price: Some(Money {
            currency_code: variant.currency.code().to_owned(),
            minor_units: variant.price_minor,
        }),
        barcode: variant.barcode.clone().unwrap_or_default(),
        in_stock: false,
    }
}

fn images(product: &ImportedProduct) -> Vec<wire::Image> {
    let image = |image: &ImportedImage| wire::Image { url: image.url.clone(), alt_text: image.alt.clone() };
    let mut images: Vec<_> = product.images.iter().map(image).collect();
    for url in product.variants.iter().filter_map(|variant| variant.image.as_ref()) {
        if images.len() < MAX_IMAGES && images.iter().all(|known| known.url != *url) {
            images.push(wire::Image { url: url.clone(), alt_text: String::new() });
        }
    }
    images
}
