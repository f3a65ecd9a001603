//! Search and suggestions: requests, pages and replies.

use contracts::shop::product::v1 as wire;
use service_runtime::RequestContext;
use service_runtime::page::{self, Filter};
use service_runtime::status::{of_read_error, permission_denied, reason};
use tonic::Status;

use super::{replies, requests, sees_drafts};
use crate::application::Queries;
use crate::application::search::{
    Counted, Facets, PageStart, SearchError, Suggestion, SuggestionKind, ValueFacet,
};
use crate::domain::ProductId;
use crate::domain::product::ProductStatus;

const SEARCH_PRODUCTS: &str = "/shop.product.v1.ProductService/SearchProducts";

pub(super) async fn products(
    queries: &Queries,
    context: &RequestContext,
    mut body: wire::SearchProductsRequest,
) -> Result<wire::SearchProductsResponse, Status> {
    let size = page::page_size(std::mem::take(&mut body.page_size))?;
    let token = std::mem::take(&mut body.page_token);
    let min_position = std::mem::take(&mut body.min_position);
    let bound_to = Filter::of(SEARCH_PRODUCTS, &body);
    let (filter, order) = requests::search_filter(body)?;
    if filter.status != ProductStatus::Active && !sees_drafts(context) {
        return Err(permission_denied(
            reason::ROLE_REQUIRED,
            "other products than active ones are for operators",
        ));
    }
    let start = match bound_to.decode::<3>(&token)? {
        Some([reading, key, product_id]) => {
            let product_id = ProductId::parse(&product_id).map_err(|_| page::malformed_token())?;
            Some(PageStart { reading, key, product_id })
        }
        None => None,
    };
    context.wait_for_position(&min_position, &queries.models()).await?;
    let page = queries.search(&filter, order, start.as_ref(), size).await.map_err(|error| match error {
        SearchError::PageStart => page::malformed_token(),
        SearchError::Read(error) => of_read_error(error),
    })?;
    let next = page
        .next
        .map(|next| bound_to.next_token([next.reading.as_str(), &next.key, &next.product_id.to_string()]));
    let mut reply = wire::SearchProductsResponse {
        products: page.products.iter().map(replies::product).collect(),
        next_page_token: next.unwrap_or_default(),
        ..Default::default()
    };
    if let Some(overview) = page.overview {
        reply.total = Some(count(overview.total));
        reply.facets = Some(facets(overview.facets));
        reply.corrected_query = overview.corrected.unwrap_or_default();
        reply.some_words = overview.some_words;
    }
    Ok(reply)
}

pub(super) async fn suggestions(
    queries: &Queries,
    body: wire::SuggestProductsRequest,
) -> Result<wire::SuggestProductsResponse, Status> {
    let typed = requests::suggestion(&body)?;
    let found = queries.suggest(&typed).await.map_err(of_read_error)?;
    Ok(wire::SuggestProductsResponse { suggestions: found.into_iter().map(suggestion).collect() })
}

fn suggestion(found: Suggestion) -> wire::Suggestion {
    let of = match found.kind {
        SuggestionKind::Brand(products) => wire::suggestion::Of::BrandProducts(products.cast_signed()),
        SuggestionKind::Category(products) => wire::suggestion::Of::CategoryProducts(products.cast_signed()),
        SuggestionKind::Product(product_id) => wire::suggestion::Of::ProductId(product_id.to_string()),
    };
    wire::Suggestion { text: found.text, of: Some(of) }
}

fn count(counted: Counted) -> wire::FacetCount {
    wire::FacetCount { products: counted.products.cast_signed(), at_least: counted.at_least }
}

fn facets(facets: Facets) -> wire::SearchFacets {
    let option = |(name, facet): (String, ValueFacet)| wire::OptionFacet {
        name,
        at_least: facet.at_least,
        values: values(facet.values),
    };
    let range = |found: crate::application::search::PriceBand| wire::PriceRange {
        currency_code: found.currency,
        min_price: found.band.lowest,
        max_price: found.band.highest.unwrap_or(0),
        products: found.products.cast_signed(),
    };
    wire::SearchFacets {
        brand: Some(value_facet(facets.brands)),
        category: Some(value_facet(facets.categories)),
        options: facets.options.into_iter().map(|found| option((found.name, found.facet))).collect(),
        price: Some(wire::PriceFacet {
            ranges: facets.prices.into_iter().map(range).collect(),
            at_least: facets.prices_at_least,
        }),
        in_stock: Some(count(facets.in_stock)),
    }
}

fn value_facet(facet: ValueFacet) -> wire::ValueFacet {
    wire::ValueFacet { at_least: facet.at_least, values: values(facet.values) }
}

fn values(values: Vec<(String, u64)>) -> Vec<wire::FacetValue> {
    let value =
        |(value, products): (String, u64)| wire::FacetValue { value, products: products.cast_signed() };
    values.into_iter().map(value).collect()
}
