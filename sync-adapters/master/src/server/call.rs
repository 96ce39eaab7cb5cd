//! One request: its query and its body, each within limits.

use axum::body::{Body, to_bytes};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use super::Limits;
use super::fault::Fault;

/// A request whose body was not read yet.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) parts: Parts,
    pub(super) body: Body,
}

impl Call {
    /// The parameters of the query, in order.
    ///
    /// # Errors
    /// 400 where one is not among those that are known.
    pub(super) fn query(&self, known: &[&str]) -> Result<Vec<(String, String)>, Fault> {
        let query = self.parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match pairs.iter().all(|(name, _)| known.contains(&name.as_str())) {
            true => Ok(pairs),
            false => Err(Fault::bad_request("unknown_parameter", format!("the parameters are: {}", known.join(", ")))),
        }
    }

    /// The body, which is JSON.
    ///
    /// # Errors
    /// 415 for another type or an encoding that is not known, 413 above the limit, 408 when it does not come, 400 where it is
    /// not what the route takes.
    pub(super) async fn json<T: DeserializeOwned>(self, limits: &Limits) -> Result<T, Fault> {
        let unsupported = |code, message| Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message);
        let kind = self.parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(unsupported("not_json", "the body is application/json"));
        }
        // What the layer above could decode it has decoded, and taken this header away.
        let encoding = self.parts.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(unsupported("bad_encoding", "a body is plain, or encoded once, with gzip or zstd"));
        }
        let body = tokio::time::timeout(limits.body_time, to_bytes(self.body, limits.body_bytes)).await;
        let body = body.map_err(|_| Fault::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come"))?;
        let body = body.map_err(|error| unreadable(&error, limits))?;
        serde_json::from_slice(&body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let wanted = wanted(&error.to_string()).map_or_else(String::new, |wanted| format!(": {wanted}"));
            Fault::bad_request("bad_json", format!("the body is not what this route takes, at {place}{wanted}"))
        })
    }
}

/// What of the text of an error is ours: the name of a field that is missing, or what was expected. The rest may hold a piece of the
/// body.
fn wanted(error: &str) -> Option<&str> {
    let said = error.rsplit_once(" at line ").map_or(error, |(said, _)| said);
    if said.starts_with("missing field `") {
        return Some(said);
    }
    said.rfind(", expected ").map(|at| &said[at + 2..])
}

fn unreadable(error: &axum::Error, limits: &Limits) -> Fault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if this.is::<http_body_util::LengthLimitError>() {
            let message = format!("a body has at most {} bytes, after decompression", limits.body_bytes);
            return Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
        }
        cause = this.source();
    }
    Fault::bad_request("bad_body", "the body ended early, or is not encoded as it says").because(error)
}
