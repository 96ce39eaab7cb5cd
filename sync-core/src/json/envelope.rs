//! Where the records stand in a body, and what else is wanted from it.

use serde::{Deserialize, Serialize};

use super::pointer;
use crate::{Error, Result};

/// How the records of a body are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// An array of records.
    #[default]
    Array,
    /// An object whose values are the records, such as `{"2001": {…}, "2002": {…}}`. Its names are not read.
    Keyed,
    /// JSON Lines: one record a line, blank lines skipped. There is no envelope around them.
    Lines,
}

/// Where the records stand in a body, and what else is wanted from it.
///
/// Pointers are JSON pointers (RFC 6901); the empty one is the body itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Envelope {
    /// Places where the records may stand. The first one that holds records is taken; none at all means the body.
    pub records: Vec<String>,
    /// How they are laid out there.
    pub layout: Layout,
    /// The member that wraps each record, such as `campaign` in `[{"campaign": {…}}, …]`. Columns are then looked for
    /// inside of it.
    pub wrapper: Option<String>,
    /// Values wanted besides the records: a next cursor, a total.
    pub also: Vec<String>,
}

impl Envelope {
    /// The body is an array of records.
    pub fn body() -> Self {
        Self::default()
    }

    /// An array of records at one of these places; the first that holds one is taken.
    pub fn at<I: IntoIterator<Item: Into<String>>>(pointers: I) -> Self {
        Self { records: pointers.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// JSON Lines: one record a line.
    pub fn lines() -> Self {
        Self { layout: Layout::Lines, ..Self::default() }
    }

    /// The same, with an object at that place whose values are the records.
    #[must_use]
    pub fn keyed(mut self) -> Self {
        self.layout = Layout::Keyed;
        self
    }

    /// The same, with each record inside of this member.
    #[must_use]
    pub fn wrapped(mut self, member: impl Into<String>) -> Self {
        self.wrapper = Some(member.into());
        self
    }

    /// The same, and these values too.
    #[must_use]
    pub fn also<I: IntoIterator<Item: Into<String>>>(mut self, pointers: I) -> Self {
        self.also.extend(pointers.into_iter().map(Into::into));
        self
    }

    /// Says what is wrong with the declaration, if anything.
    ///
    /// # Errors
    /// `Config`, naming the pointer.
    pub fn check(&self) -> Result<()> {
        for text in self.records.iter().chain(&self.also) {
            pointer::steps(text).map_err(Error::config)?;
        }
        if self.layout == Layout::Lines && !(self.records.iter().all(String::is_empty) && self.also.is_empty()) {
            return Err(Error::config("JSON Lines have no envelope: leave out the pointers `records` and `also`"));
        }
        Ok(())
    }
}
