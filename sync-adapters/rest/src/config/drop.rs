//! Which records are dropped before they become rows.

use serde::Deserialize;
use sync_core::json::When;
use sync_core::{Error, Result};

/// One reason to drop a record: a value of it is there (or not), or is one of these. Dropped records are neither rows nor
/// rejects. They fill a page and do not count for a total, as rows of sums do not.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct DropConfig {
    /// The value that is looked at, a JSON pointer. Where records are exploded, `^/kind` stands in the record around,
    /// and drops all that come out of it.
    pub pointer: String,
    /// Whether the value must be there, and not null, or must not.
    pub present: Option<bool>,
    /// The value is one of these: texts, numbers, true or false.
    pub equals: Vec<serde_json::Value>,
}

impl DropConfig {
    /// Drops the records where this value is there and not null.
    pub fn present(pointer: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), present: Some(true), equals: Vec::new() }
    }

    /// Drops the records where this value is not there, or null.
    pub fn absent(pointer: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), present: Some(false), equals: Vec::new() }
    }

    /// Drops the records where this value is one of these.
    pub fn equals<V: Into<serde_json::Value>>(pointer: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        let equals = values.into_iter().map(Into::into).collect();
        Self { pointer: pointer.into(), present: None, equals }
    }

    /// # Errors
    /// `Config`, where it is not exactly one condition, or no value can fulfil it.
    pub(crate) fn when(&self) -> Result<When> {
        let wrong = |what: &str| Err(Error::config(format!("field `drop` of {:?}: {what}", self.pointer)));
        match (self.present, self.equals.as_slice()) {
            (Some(true), []) => Ok(When::Present),
            (Some(false), []) => Ok(When::Absent),
            (None, [_, ..]) => {
                if self.equals.iter().any(|value| value.is_object() || value.is_array() || value.is_null()) {
                    return wrong(
                        "`equals` compares texts, numbers, true and false; for no value say `present = false`",
                    );
                }
                let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Ok(When::Equals(self.equals.iter().map(text).collect()))
            }
            _ => wrong("give it one condition, `present` or `equals`"),
        }
    }
}
