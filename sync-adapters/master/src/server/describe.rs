//! `GET /api/sync/openapi.json`: what the routes are.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use sync_core::Error;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as UtoipaResponse, ResponseBuilder};

use super::Service;
use super::fault::Fault;
use super::policy::Route;
use super::{legacy, look_up, pull, push, resolve, rooms, stats};

/// Two-way sync over HTTP: branches that work offline, and a master.
#[derive(utoipa::OpenApi)]
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

/// The document of these routes: of each that is mounted, what its handler says of itself, and what its policy asks for and
/// refuses.
pub(super) fn document(routes: &[Route]) -> sync_core::Result<String> {
    let mut document = Document::openapi();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert("token".to_owned(), SecurityScheme::Http(token).into());
    let mut all = std::mem::take(&mut document.paths.paths);
    for Route { method, path, policy } in routes {
        let Some(mut item) = all.remove(*path) else { continue };
        let operation = if *method == Method::POST { &mut item.post } else { &mut item.get };
        if let Some(operation) = operation {
            operation.security = policy.asks_for_a_token().then(|| vec![SecurityRequirement::new("token", NOTHING)]);
            let responses = &mut operation.responses.responses;
            for (status, what) in policy.refusals() {
                refuse(responses.entry(status.as_str().to_owned()), what);
            }
        }
        document.paths.paths.insert((*path).to_owned(), item);
    }
    let written = document.to_json();
    written.map_err(|cause| Error::internal("the document of the routes cannot be written").caused_by(cause))
}

/// A token has no scopes.
const NOTHING: [&str; 0] = [];

/// A refusal, beside what the handler says under the same status.
fn refuse(response: Entry<'_, String, RefOr<UtoipaResponse>>, what: &str) {
    match response {
        Entry::Vacant(response) => {
            let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let refusal = ResponseBuilder::new().description(what).content("application/json", schema).build();
            response.insert(refusal.into());
        }
        Entry::Occupied(mut response) => {
            if let RefOr::T(response) = response.get_mut() {
                response.description = format!("{}; {what}", response.description);
            }
        }
    }
}

/// This document.
#[utoipa::path(get, path = "/api/sync/openapi.json", responses((status = 200, description = "This document")))]
pub(super) async fn openapi(service: Arc<Service>) -> Result<Response, Fault> {
    std::future::ready(()).await;
    let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(([json], service.document.clone()).into_response())
}
