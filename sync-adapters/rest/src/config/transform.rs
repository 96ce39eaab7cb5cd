//! What becomes of the values of one column on their way from the record into its cells.

use std::collections::BTreeMap;

use serde::Deserialize;
use sync_core::json::RecordReader;
use sync_core::{Error, Result};

/// What becomes of the values of one column. In this order: the first of `first_of`, `look_up`, `hash_of` and `constant`
/// with a value is chosen, a joined text is cut, blanks are taken away, placeholders become null, upper or lower case is
/// made, a meaning is looked up, and what is left is read as [`Endpoint::parse`](super::Endpoint::parse) and the column's
/// kind say.
///
/// ```
/// use sync_rest::{Transform, get};
///
/// let purchases = get("/performance")
///     .transform("order_id", Transform::first_of(["/order_id", "/network_order_id"]).null_if(["", "N/A"]))
///     .transform("status", Transform::map([("A", "approved"), ("P", "pending")]).otherwise("unknown"))
///     .transform("network", Transform::constant("boostiny"))
///     .transform("countries", Transform::split(","))
///     .transform("customer", Transform::look_up("/customParameters", "/key", "cust", "/value"))
///     .transform("fingerprint", Transform::hash_of(["/date", "/campaign_id", "/code"]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Transform {
    /// The places to take the value from: the first one that is there and holds a value counts. JSON pointers, and
    /// variables of the partition such as `{account}`. Instead of the pointer in `columns`.
    pub first_of: Vec<String>,
    /// A list of named values to look into, such as custom fields: where `first_of` has none, and alone instead of the
    /// member of the column's name.
    pub look_up: Option<LookUp>,
    /// The places of the values whose hash it is, where nothing before it has a value: 32 hexadecimal digits in a text
    /// column, for records without a key of their own. As in `first_of`; the empty pointer is the whole record. Where
    /// none of them has a value, there is no hash. Records with the same values have the same hash: they are one row.
    pub hash_of: Vec<String>,
    /// What stands between the values of a joined text, such as `","`. A JSON column takes the list of them, each cleaned
    /// and looked up by itself; any other takes one `part`.
    pub split: Option<String>,
    /// Which value of a joined text to take, counted from 0.
    pub part: Option<usize>,
    /// The value where none of the declared places has one; always, where no place is declared.
    pub constant: Option<serde_json::Value>,
    /// Whether blanks around a text go.
    pub trim: bool,
    /// Texts that mean that there is no value, such as `"N/A"`, `"-"` or `"0000-00-00"`.
    pub null_if: Vec<String>,
    /// The case that texts are turned into.
    pub case: Option<Case>,
    /// What texts mean; numbers, true and false count by their text.
    pub map: BTreeMap<String, String>,
    /// What a text means that `map` does not list. Without it, the record of such a text is rejected.
    pub default: Option<String>,
}

/// A value in a list of named ones, such as `[{ "key": "cust", "value": "new" }]`. The first item of the name that has a
/// value counts; where there is none, there is no value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LookUp {
    /// Where the list stands, a JSON pointer.
    pub list: String,
    /// Where an item holds its name. `/name`.
    #[serde(default = "slash_name")]
    pub by: String,
    /// The name.
    pub name: String,
    /// Where an item holds its value. `/value`.
    #[serde(default = "slash_value")]
    pub value: String,
}

fn slash_name() -> String {
    "/name".to_owned()
}

fn slash_value() -> String {
    "/value".to_owned()
}

/// Upper or lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Case {
    /// UPPER CASE.
    Upper,
    /// lower case.
    Lower,
}

impl Transform {
    /// Takes the first of these places that has a value.
    pub fn first_of<I: IntoIterator<Item: Into<String>>>(places: I) -> Self {
        Self { first_of: places.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Takes this value, whatever the record holds.
    pub fn constant(value: impl Into<serde_json::Value>) -> Self {
        Self { constant: Some(value.into()), ..Self::default() }
    }

    /// Takes what a text means.
    pub fn map<T: Into<String>, M: Into<String>>(meanings: impl IntoIterator<Item = (T, M)>) -> Self {
        let map = meanings.into_iter().map(|(text, meaning)| (text.into(), meaning.into())).collect();
        Self { map, ..Self::default() }
    }

    /// Takes blanks around texts away.
    pub fn trim() -> Self {
        Self { trim: true, ..Self::default() }
    }

    /// Looks into this list for the item with this name at `by`, and takes its value.
    pub fn look_up(
        list: impl Into<String>,
        by: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let look_up = LookUp { list: list.into(), by: by.into(), name: name.into(), value: value.into() };
        Self { look_up: Some(look_up), ..Self::default() }
    }

    /// Takes the hash over the values at these places.
    pub fn hash_of<I: IntoIterator<Item: Into<String>>>(places: I) -> Self {
        Self::default().or_hash_of(places)
    }

    /// Cuts a joined text where this stands, into a list.
    pub fn split(on: impl Into<String>) -> Self {
        Self { split: Some(on.into()), ..Self::default() }
    }

    /// Cuts a joined text where this stands, and takes this part of it, counted from 0.
    pub fn part(on: impl Into<String>, part: usize) -> Self {
        Self { part: Some(part), ..Self::split(on) }
    }

    /// Takes the hash over the values at these places where there is no value.
    #[must_use]
    pub fn or_hash_of<I: IntoIterator<Item: Into<String>>>(mut self, places: I) -> Self {
        self.hash_of = places.into_iter().map(Into::into).collect();
        self
    }

    /// What a text means that the map does not list.
    #[must_use]
    pub fn otherwise(mut self, meaning: impl Into<String>) -> Self {
        self.default = Some(meaning.into());
        self
    }

    /// Takes this value where there is none.
    #[must_use]
    pub fn or(mut self, constant: impl Into<serde_json::Value>) -> Self {
        self.constant = Some(constant.into());
        self
    }

    /// Takes these texts for no value.
    #[must_use]
    pub fn null_if<I: IntoIterator<Item: Into<String>>>(mut self, texts: I) -> Self {
        self.null_if.extend(texts.into_iter().map(Into::into));
        self
    }

    /// Turns texts into upper or lower case.
    #[must_use]
    pub fn case(mut self, case: Case) -> Self {
        self.case = Some(case);
        self
    }

    /// The places that values are taken from, wherever they are declared.
    pub(crate) fn places(&self) -> impl Iterator<Item = &String> {
        self.first_of.iter().chain(&self.hash_of).chain(self.look_up.iter().map(|look_up| &look_up.list))
    }

    /// Adds what is declared here to the reader.
    ///
    /// # Errors
    /// `Config`, naming the column.
    pub(crate) fn apply(&self, column: &str, has_pointer: bool, mut reader: RecordReader) -> Result<RecordReader> {
        if has_pointer && !self.first_of.is_empty() {
            return Err(Error::config(format!(
                "column {column:?} has a place in `columns` and others in `first_of`; put all of them into `first_of`"
            )));
        }
        if self.map.is_empty() && self.default.is_some() {
            return Err(Error::config(format!(
                "column {column:?} has a `default` and no `map`; a value for what is not there is a `constant`"
            )));
        }
        if self.part.is_some() && self.split.is_none() {
            return Err(Error::config(format!(
                "column {column:?} has a `part` and no `split`: what stands between the parts?"
            )));
        }
        if !self.first_of.is_empty() {
            reader = reader.first_of(column, &self.first_of);
        }
        if let Some(LookUp { list, by, name, value }) = &self.look_up {
            reader = reader.look_up(column, list, (by, name), value);
        }
        if !self.hash_of.is_empty() {
            reader = reader.hash_of(column, &self.hash_of);
        }
        reader = match (&self.split, self.part) {
            (Some(on), None) => reader.split(column, on),
            (Some(on), Some(part)) => reader.part(column, on, part),
            (None, _) => reader,
        };
        if let Some(value) = &self.constant {
            reader = reader.constant(column, value.clone());
        }
        if self.trim {
            reader = reader.trim(column);
        }
        if !self.null_if.is_empty() {
            reader = reader.null_if(column, &self.null_if);
        }
        reader = match self.case {
            Some(Case::Upper) => reader.upper(column),
            Some(Case::Lower) => reader.lower(column),
            None => reader,
        };
        if !self.map.is_empty() {
            reader = reader.map(column, &self.map, self.default.as_deref());
        }
        Ok(reader)
    }
}
