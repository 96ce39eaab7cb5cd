//! Errors with a code that programs can read, in `Error::context` under `code`.

use std::borrow::Cow;

use sync_core::{Error, ErrorKind};

/// A refusal with this code.
pub(crate) fn refuse(kind: ErrorKind, code: &'static str, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).with("code", code)
}

/// What the context of an error says under this name.
pub(crate) fn said<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    error.context().find(|(known, _)| *known == name).map(|(_, value)| value)
}
