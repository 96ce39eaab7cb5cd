//! What `serde` finds wrong, in words that name kinds and columns and never a value.

use std::fmt;

use serde::de::{Expected, Unexpected};

/// A misfit between a row and a type.
#[derive(Debug)]
pub(super) struct Fault {
    column: Option<String>,
    what: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { column: None, what: what.into() }
    }

    /// The same, naming the column it is about.
    pub(super) fn at(mut self, column: &str) -> Self {
        self.column.get_or_insert_with(|| column.to_owned());
        self
    }

    /// JSON of a column that does not fit the type; its own words may quote the value, so only the place is kept.
    pub(super) fn nested(cause: &serde_json::Error) -> Self {
        Self::new(format!("the JSON does not fit the type, at line {} column {}", cause.line(), cause.column()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "column {column:?}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(format!("{} where the type wants {wanted}", name(found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(format!("{} that is not {wanted}", name(found)))
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        Self::new(format!("none of the variants {}", variants.join(", ")))
    }
}

fn name(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a float",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "no value",
        _ => "nested data",
    }
}
