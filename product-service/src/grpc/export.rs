//! Exports over the API: the pages of the catalogue as messages, each read when the one before is taken.

use contracts::shop::product::v1 as wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use service_runtime::request::MAX_POSITION_WAIT;
use tonic::Status;

use super::replies;
use super::status::of_export_error;
use crate::application::Exports;

/// All pages; at least one, since it tells the position.
pub(super) async fn pages(
    exports: &Exports,
) -> Result<BoxStream<'static, Result<wire::ExportProductsResponse, Status>>, Status> {
    let export = exports.begin(MAX_POSITION_WAIT).await.map_err(of_export_error)?;
    let pages = stream::try_unfold((export, true), async |(mut export, is_first)| {
        let products = export.next().await.map_err(of_export_error)?;
        if products.is_empty() && !is_first {
            return Ok(None);
        }
        let page = wire::ExportProductsResponse {
            products: products.iter().map(replies::product).collect(),
            position: export.position.to_string(),
            total_size: export.products,
        };
        Ok(Some((page, (export, false))))
    });
    Ok(pages.boxed())
}
