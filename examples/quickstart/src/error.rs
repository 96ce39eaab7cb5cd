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
    remedy: Option<&'static str>,
}

impl Error {
    /// An error that is its own cause.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), cause: None, remedy: None }
    }

    /// An error that something else brought about.
    pub(crate) fn caused(text: impl Into<String>, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self { text: text.into(), cause: Some(Box::new(cause)), remedy: None }
    }

    /// An error of the engine, which knows the remedy.
    pub(crate) fn of_sync(text: impl Into<String>, cause: sync_core::Error) -> Self {
        Self { text: text.into(), remedy: Some(cause.remedy()), cause: Some(Box::new(cause)) }
    }
}

impl fmt::Display for Error {
    /// The sentence and its cause, which tells its own causes; the remedy on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(remedy) = self.remedy {
            write!(f, "\n  what to do: {remedy}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
