//! Where a source continues: opaque to the engine, typed in the adapter.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// A position in a source, with the version of its format.
///
/// Only the adapter that made it can read it. It names a position *and* what breaks ties there (a timestamp and a
/// key, a page token and the highest version seen): a bare timestamp loses the rows that share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    format: u32,
    body: Box<str>,
}

impl Cursor {
    /// A cursor of this format version.
    ///
    /// # Errors
    /// `Internal` when the position cannot be written as JSON.
    pub fn new(format: u32, position: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_string(position)
            .map_err(|cause| Error::internal("a cursor cannot be written as JSON").caused_by(cause))?;
        Ok(Self { format, body: body.into() })
    }

    /// The position, where the format version is the one the adapter knows.
    ///
    /// # Errors
    /// `Gone` when another version wrote it, or it cannot be read: the remedy is a full run.
    pub fn read<T: DeserializeOwned>(&self, format: u32) -> Result<T> {
        let unreadable = || Error::new(ErrorKind::Gone, "the saved cursor cannot be read").with("format", self.format);
        if self.format != format {
            return Err(unreadable().with("expected", format));
        }
        serde_json::from_str(&self.body).map_err(|cause| unreadable().caused_by(cause))
    }

    /// The version of the format.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// The position as the adapter wrote it, for stores.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Puts together again what a store kept apart.
    pub fn from_parts(format: u32, body: impl Into<Box<str>>) -> Self {
        Self { format, body: body.into() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}:{}", self.format, self.body)
    }
}
