//! What went wrong with a server or its client, in words that name the remedy.

use std::fmt;

/// A server, a client or the machine did not do what a test needs.
#[derive(Debug)]
pub struct Error {
    message: String,
    source: Option<std::io::Error>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// For `map_err`: says what was tried when the system refused.
    pub(crate) fn io(tried: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self { message: tried.to_string(), source: Some(source) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
