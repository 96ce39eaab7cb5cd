//! Bodies on their way out: JSON, compressed where that is worth it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::RequestBuilder;
use serde::Serialize;
use sync_core::{Error, Result};

/// Bodies below this stay plain, bytes.
const SMALL: usize = 1024;

pub(super) fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|cause| Error::internal("a message cannot be written as JSON").caused_by(cause))
}

pub(super) fn with(request: RequestBuilder, body: &[u8]) -> Result<RequestBuilder> {
    let request = request.header(CONTENT_TYPE, "application/json");
    if body.len() < SMALL {
        return Ok(request.body(body.to_vec()));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    let packed = packed.map_err(|cause| Error::internal("a message cannot be compressed").caused_by(cause))?;
    Ok(request.header(CONTENT_ENCODING, "gzip").body(packed))
}
