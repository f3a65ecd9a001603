//! From what the file says to what the product service is asked.

use contracts::shop::product::v1 as product;
use contracts::shop::r#type::v1::Money;
use product_service::import::{ImportedProduct, ImportedVariant, ProductStatus};
use uuid::Uuid;

/// The request for one product of an import's run.
pub fn import_request(imported: &ImportedProduct, run: Uuid, dry_run: bool) -> product::ImportProductRequest {
    product::ImportProductRequest {
        request_id: format!("{run} {}", imported.first_line),
        dry_run,
        handle: imported.handle.clone(),
        name: imported.title.clone(),
        description: imported.body_html.clone(),
        brand: imported.brand.clone(),
        category_path: imported.category_path.clone(),
        supplier: imported.supplier.clone(),
        tags: imported.tags.clone(),
        images: imported
            .images
            .iter()
            .map(|image| product::Image { url: image.url.clone(), alt_text: image.alt.clone() })
            .collect(),
        status: match imported.status {
            ProductStatus::Active => product::ProductStatus::Active,
            ProductStatus::Draft => product::ProductStatus::Draft,
            ProductStatus::Archived => product::ProductStatus::Discontinued,
        }
        .into(),
        variants: imported.variants.iter().map(|variant| variant_of(imported, variant)).collect(),
    }
}

fn variant_of(imported: &ImportedProduct, variant: &ImportedVariant) -> product::Variant {
    let options = imported.options.iter().zip(&variant.option_values);
    product::Variant {
        sku: variant.sku.clone(),
        options: options
            .map(|(name, value)| product::OptionValue { name: name.clone(), value: value.clone() })
            .collect(),
        price: Some(Money {
            currency_code: variant.currency.code().to_owned(),
            minor_units: variant.price_minor,
        }),
        barcode: variant.barcode.clone().unwrap_or_default(),
        in_stock: false,
    }
}
