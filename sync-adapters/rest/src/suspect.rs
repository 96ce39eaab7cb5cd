//! Answers that say success and are not what was asked for: a login page, a captcha, a stranger's error.

use http::header::CONTENT_TYPE;
use sync_core::{Error, ErrorKind, Result};

use crate::client::Answer;

const NOT_JSON: &str = "the source answers with something that is not JSON; is it a login or error page?";
const NO_RECORDS: &str = "the source's answer has no records where they are declared";

/// # Errors
/// `Malformed`, for an answer that is no JSON by its type or by its first character.
pub(crate) fn check(answer: &Answer, accepted: &[String]) -> Result<()> {
    let declared = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = declared.and_then(|text| text.split(';').next()).map(|text| text.trim().to_ascii_lowercase());
    let is_json = kind.is_none_or(|kind| {
        kind == "application/json"
            || kind.ends_with("+json")
            || matches!(kind.as_str(), "text/json" | "application/x-ndjson" | "application/jsonl")
            || accepted.iter().any(|known| known.eq_ignore_ascii_case(&kind))
    });
    let looks_json =
        answer.body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| matches!(byte, b'{' | b'['));
    if is_json && looks_json { Ok(()) } else { Err(Error::malformed(NOT_JSON)) }
}

pub(crate) fn no_records() -> Error {
    Error::malformed(NO_RECORDS)
}

/// Whether an error is one of these.
pub(crate) fn is_suspect(error: &Error) -> bool {
    error.kind() == ErrorKind::Malformed && matches!(error.message(), NOT_JSON | NO_RECORDS)
}
