//! Texts that join several values, such as `"SA,AE,EG"`: a list of them, or one part.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::convert::{Clean, Column, NOT_TEXT, UNKNOWN, unquote};
use super::number::Refusal;
use crate::model::{Kind, RowWriter, ValueRef};

/// How a text is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    /// What stands between two values.
    pub(super) on: String,
    /// Which of them to take, from 0; a list of all without it.
    pub(super) part: Option<usize>,
}

impl Split {
    /// # Errors
    /// A phrase for the configuration error, where a column of this kind cannot hold what comes of it.
    pub(super) fn check(&self, kind: Kind) -> Result<(), &'static str> {
        match (self.part, kind == Kind::Json) {
            _ if self.on.is_empty() => Err("`split` is what stands between two values, such as \",\""),
            (None, false) => Err("a list needs a JSON column; or say which `part` of it to take, counted from 0"),
            (Some(_), true) => Err("one part of a list is no JSON: declare the kind of the part, such as text"),
            _ => Ok(()),
        }
    }

    /// The values in one JSON value: those of a text, or of a list that is one already. Each without blanks around it.
    fn values<'a>(&self, raw: &'a str) -> Result<Vec<Cow<'a, str>>, Refusal> {
        let cut = |text: Cow<'a, str>| match text {
            Cow::Borrowed(text) => text.split(&self.on).map(|value| value.trim().into()).collect::<Vec<_>>(),
            Cow::Owned(text) => text.split(&self.on).map(|value| value.trim().to_owned().into()).collect(),
        };
        match raw.as_bytes().first() {
            Some(b'"') => unquote(raw).map(cut),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| NOT_TEXT)?;
                items.into_iter().map(|item| single(item.get())).collect()
            }
            _ => single(raw).map(cut),
        }
    }
}

/// A single value as text; what is null is empty.
fn single(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    match raw.as_bytes().first() {
        Some(b'"') => unquote(raw).map(|text| match text {
            Cow::Borrowed(text) => text.trim().into(),
            Cow::Owned(text) => text.trim().to_owned().into(),
        }),
        Some(b'{' | b'[') => Err(NOT_TEXT),
        Some(b'n') | None => Ok("".into()),
        Some(_) => Ok(raw.into()),
    }
}

impl Column {
    /// Writes what a joined text holds; whether there was something.
    pub(super) fn joined(&self, split: &Split, raw: &str, row: &mut RowWriter<'_>) -> Result<bool, Refusal> {
        let Clean { nulls, map, .. } = &self.clean;
        let is_null = |text: &str| nulls.iter().any(|null| null == text);
        if raw.starts_with('"') && is_null(&single(raw)?) {
            return Ok(false);
        }
        let values = split.values(raw)?;
        if let Some(part) = split.part {
            return match values.get(part) {
                Some(value) if !value.is_empty() => self.text(value, row),
                _ => Ok(false),
            };
        }
        let mut list = Vec::with_capacity(values.len());
        for value in values.iter().filter(|value| !value.is_empty() && !is_null(value)) {
            let value = self.cased(value);
            list.push(match map {
                None => value,
                Some(map) => map.values.get(&*value).or(map.default.as_ref()).ok_or(UNKNOWN)?.into(),
            });
        }
        row.set_unchecked(self.index, ValueRef::Json(&serde_json::Value::from(list).to_string()));
        Ok(true)
    }
}
