//! What stops the reading of a record or of a body, and the error a host sees of it.

use super::sample::sample;
use crate::{Error, Retry};

/// What stops the reading of a record besides its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A wanted member stands twice: nobody can say which one is meant.
    Duplicate(Box<str>),
    /// More brackets are open than a body may have.
    TooDeep,
    /// The record is not acceptable; the others are.
    Refused(String),
    /// The record lacks a key column altogether.
    Keyless(Box<str>),
    /// A value must be read from its text: read again, this time so.
    ByText,
}

impl Fault {
    pub(super) fn refused(column: &str, why: &str) -> Self {
        Self::Refused(format!("column {column:?}: {why}"))
    }
}

/// The body does not follow the grammar of JSON, or it ends too early.
pub(super) fn malformed(text: &str, cause: &serde_json::Error) -> Error {
    let offset = offset(text, cause);
    // The parser calls a number that ends too early invalid, not cut off.
    let open_number = offset + 1 >= text.len() && text.ends_with(['-', '+', '.', 'e', 'E']);
    if cause.is_eof() || (open_number && cause.to_string().starts_with("invalid number")) {
        return cut_off(text);
    }
    // The cause's own words name what was expected and never the value.
    let what = cause.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    at(Error::malformed(format!("the body is not valid JSON: {what}")), text.as_bytes(), offset)
}

/// The body ends before its JSON does. The transfer may have been cut, so that asking again may help.
pub(super) fn cut_off(text: &str) -> Error {
    let error = Error::malformed("the body ends before its JSON is complete: the transfer may have been cut");
    at(error, text.as_bytes(), text.len()).with_retry(Retry::Backoff)
}

/// The body is not UTF-8 at this offset.
pub(super) fn not_utf8(body: &[u8], cause: std::str::Utf8Error) -> Error {
    let offset = cause.valid_up_to();
    if cause.error_len().is_none() {
        let error = Error::malformed("the body ends inside of a character: the transfer may have been cut");
        return at(error, body, offset).with_retry(Retry::Backoff);
    }
    at(Error::malformed("the body is not valid UTF-8"), body, offset)
}

/// A fault that condemns the whole body.
pub(super) fn condemned(text: &str, offset: usize, fault: &Fault) -> Error {
    let what = match fault {
        Fault::Duplicate(name) => format!("the member {name:?} stands twice in one object"),
        Fault::TooDeep => format!("the body nests deeper than {} levels", super::scan::DEEPEST),
        Fault::Refused(reason) => reason.clone(),
        Fault::Keyless(column) => keyless(column),
        Fault::ByText => "a value could not be read".to_owned(),
    };
    at(Error::malformed(what), text.as_bytes(), offset)
}

/// The words for a record without a key column.
pub(super) fn keyless(column: &str) -> String {
    format!("missing key column: {column}")
}

/// Where a piece of a text stands in it.
pub(super) fn offset_of(text: &str, piece: &str) -> usize {
    (piece.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}

fn at(error: Error, body: &[u8], offset: usize) -> Error {
    let before = &body[..offset.min(body.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    error.with("byte", offset).with("line", line).with("sample", sample(body, offset))
}

/// The byte where the parser stopped: it counts lines, and in them bytes.
pub(super) fn offset(text: &str, cause: &serde_json::Error) -> usize {
    let start: usize = text.split_inclusive('\n').take(cause.line().saturating_sub(1)).map(str::len).sum();
    (start + cause.column().saturating_sub(1)).min(text.len())
}
