//! `GET /api/sync/openapi.json`: what the routes are.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::Service;
use super::fault::Fault;
use super::{legacy, look_up, pull, push, resolve, rooms, stats};

/// Two-way sync over HTTP: branches that work offline, and a master.
#[derive(OpenApi)]
#[openapi(
    components(schemas(crate::wire::Asked)),
    paths(
        push::batch_push,
        pull::pull_changes,
        resolve::resolve_conflict,
        look_up::rows,
        stats::stats,
        rooms::join::join,
        legacy::upload::upload,
        legacy::download::download,
        legacy::acknowledge::acknowledge,
        openapi,
    )
)]
struct Document;

/// The document of all routes.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("token".to_owned(), SecurityScheme::Http(token).into());
    document
}

/// This document.
#[utoipa::path(get, path = "/api/sync/openapi.json", responses((status = 200, description = "This document")))]
pub(super) async fn openapi(_service: Arc<Service>) -> Result<Response, Fault> {
    std::future::ready(()).await;
    Ok(Json(document()).into_response())
}
