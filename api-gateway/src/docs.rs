//! `/openapi.json`, and `/docs`: a page of our own that shows it and can try every operation. The page is
//! embedded, loads nothing from elsewhere, and its policy would not let it; credentials typed into it live in
//! its memory only.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::Value;

/// Scripts, styles and calls of this origin only; nothing inline, nothing framed.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the document and the page.
pub fn routes(document: &Value) -> Router {
    let document = Bytes::from(document.to_string());
    Router::new()
        .route("/openapi.json", get(async move || asset("application/json", document)))
        .route(
            "/docs",
            get(async || asset("text/html; charset=utf-8", include_bytes!("docs/page.html").as_slice())),
        )
        .route(
            "/docs/page.css",
            get(async || asset("text/css; charset=utf-8", include_bytes!("docs/page.css").as_slice())),
        )
        .route(
            "/docs/page.js",
            get(async || asset("text/javascript; charset=utf-8", include_bytes!("docs/page.js").as_slice())),
        )
}

fn asset(kind: &'static str, content: impl Into<Bytes>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
    ];
    (headers, content.into())
}
