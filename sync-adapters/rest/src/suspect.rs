//! Answers that say success and are not what was asked for: a login page, a captcha, a stranger's error.

use http::header::CONTENT_TYPE;
use sync_core::{Error, ErrorKind, Result};

use crate::client::Answer;
use crate::format::Bodies;

const NO_RECORDS: &str = "the source's answer has no records where they are declared";

/// # Errors
/// `Malformed`, for an answer that is not of the declared format by its type or by its first characters.
pub(crate) fn check(answer: &Answer, bodies: &Bodies, accepted: &[String]) -> Result<()> {
    let declared = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = declared.and_then(|text| text.split(';').next()).map(|text| text.trim().to_ascii_lowercase());
    let is_type =
        kind.is_none_or(|kind| bodies.is_type(&kind) || accepted.iter().any(|known| known.eq_ignore_ascii_case(&kind)));
    if is_type && bodies.looks(&answer.body) { Ok(()) } else { Err(Error::malformed(bodies.another())) }
}

pub(crate) fn no_records() -> Error {
    Error::malformed(NO_RECORDS)
}

/// Whether an error is one of these.
pub(crate) fn is_suspect(error: &Error) -> bool {
    error.kind() == ErrorKind::Malformed
        && (error.message() == NO_RECORDS || Bodies::ANOTHER.contains(&error.message()))
}
