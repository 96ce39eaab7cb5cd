//! What went wrong, in words that say how to put it right.

use std::error::Error as StdError;
use std::fmt;

/// What every step of this program may end in.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// One sentence for the person who typed the command, and what caused it.
#[derive(Debug)]
pub(crate) struct Error {
    text: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that is its own cause.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), cause: None }
    }

    /// An error that something else brought about.
    pub(crate) fn caused(text: impl Into<String>, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self { text: text.into(), cause: Some(Box::new(cause)) }
    }
}

impl fmt::Display for Error {
    /// The sentence and its cause; a cause tells its own causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
