//! Rows of a unit that a table refuses, gathered so that one error names them all.

use sync_core::{Error, Result};

/// So many are named at once: a table that refuses more has another shape than the stream, and the run is about to stop.
const MOST: usize = 1000;

/// Errors that each name one row.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    errors: Vec<Error>,
}

impl Refused {
    pub(crate) fn add(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// The errors, which are forgotten here.
    #[cfg(feature = "postgres")]
    pub(crate) fn take(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.errors)
    }

    /// Whether it is time to stop.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= MOST
    }

    /// The errors that have come together.
    #[cfg(feature = "mysql")]
    pub(crate) fn into_errors(self) -> Vec<Error> {
        self.errors
    }

    /// # Errors
    /// When rows were refused: one error that names them all.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let mut errors = std::mem::take(&mut self.errors).into_iter();
        match errors.next() {
            Some(first) => Err(first.with_others(errors)),
            None => Ok(()),
        }
    }
}
