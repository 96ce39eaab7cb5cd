//! One JSON value into one cell: by the column's kind and the way the source writes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::joined::Split;
use super::number::Refusal;
use super::time::{Format, TimeRule};
use super::{Parse, base64, number, scan, time};
use crate::model::{Field, Kind, RowWriter, Timestamp, ValueRef};

pub(super) const UNKNOWN: Refusal = "a value that its map does not list, and no default is declared";
pub(super) const NOT_TEXT: Refusal = "nested data where a single value is declared";

/// How the cells of one column are made.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// The position in the schema.
    pub(super) index: usize,
    pub(super) name: Box<str>,
    pub(super) required: bool,
    pub(super) key: bool,
    convert: Convert,
    pub(super) clean: Clean,
    /// Whether values stay as they are: there is nothing to clean.
    is_plain: bool,
}

/// What happens to a single value before it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clean {
    pub(super) trim: bool,
    pub(super) case: Option<Case>,
    /// Texts that stand for no value.
    pub(super) nulls: Vec<String>,
    pub(super) map: Option<Map>,
    pub(super) split: Option<Split>,
}

/// What the texts of a column mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) values: BTreeMap<String, String>,
    /// The meaning of texts that are not listed; without it they are refused.
    pub(super) default: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
}

#[derive(Debug, Clone)]
enum Convert {
    Bool,
    Flag,
    Int,
    UInt,
    Float,
    Decimal { precision: u8, scale: u8 },
    Separated { kind: Box<Convert>, thousands: char, point: char },
    Text,
    Bytes,
    Timestamp(TimeRule),
    Date,
    DateOf(TimeRule),
    Json,
}

impl Column {
    /// # Errors
    /// A phrase for the configuration error, where the column cannot be written this way.
    pub(super) fn new(index: usize, field: &Field, parse: &Parse, clean: Clean) -> Result<Self, String> {
        let name = field.name();
        let convert = Convert::new(field.kind(), parse)
            .map_err(|fault| format!("column {name:?} ({}): {fault}", field.kind()))?;
        if let Some(split) = &clean.split {
            split.check(field.kind()).map_err(|fault| format!("column {name:?} ({}): {fault}", field.kind()))?;
        }
        let is_list = clean.split.as_ref().is_some_and(|split| split.part.is_none());
        if clean.case.is_some() && clean.map.is_none() && !is_list && !matches!(convert, Convert::Text) {
            return Err(format!("column {name:?} ({}): upper and lower case are for text", field.kind()));
        }
        if clean != Clean::default() && !is_list && matches!(convert, Convert::Json) {
            return Err(format!("column {name:?} (JSON) is kept as it comes: nothing can be trimmed or replaced"));
        }
        let is_plain = clean == Clean::default();
        Ok(Self { index, name: name.into(), required: !field.is_nullable(), key: false, convert, clean, is_plain })
    }

    /// Whether a value of the JSON type that the kind suggests needs no look at its text.
    pub(super) fn is_direct(&self) -> bool {
        let plain = self.clean.nulls.is_empty() && self.clean.map.is_none() && self.clean.split.is_none();
        plain
            && match &self.convert {
                Convert::Bool | Convert::Int | Convert::UInt => true,
                Convert::Text | Convert::Bytes | Convert::Date | Convert::Decimal { .. } => true,
                Convert::Timestamp(rule) | Convert::DateOf(rule) => !matches!(rule, TimeRule::Epoch(_)),
                _ => false,
            }
    }

    /// Writes a bool, an integer or a text as the parser gives it; `None` where the column suggests another type.
    #[inline]
    pub(super) fn write_direct(&self, value: ValueRef<'_>, row: &mut RowWriter<'_>) -> Option<Result<bool, Refusal>> {
        let value = match (&self.convert, value) {
            (Convert::Text, ValueRef::Text(text)) if self.is_plain => {
                row.set_text(self.index, text);
                return Some(Ok(true));
            }
            (Convert::Bool, ValueRef::Bool(_))
            | (Convert::Int, ValueRef::Int(_))
            | (Convert::UInt, ValueRef::UInt(_)) => value,
            (Convert::Int, ValueRef::UInt(value)) => ValueRef::Int(i64::try_from(value).ok()?),
            (Convert::Bool | Convert::Int | Convert::UInt, _) => return None,
            (_, ValueRef::Text(text)) => return Some(self.text(text, row)),
            _ => return None,
        };
        row.set_unchecked(self.index, value);
        Some(Ok(true))
    }

    /// Writes one JSON value; whether there was one.
    pub(super) fn write(&self, raw: &str, row: &mut RowWriter<'_>) -> Result<bool, Refusal> {
        match (raw.as_bytes().first(), &self.clean.split) {
            (Some(b'n') | None, _) => Ok(false),
            (_, Some(split)) => self.joined(split, raw, row),
            (Some(first), None) => self.plain(*first, raw, row),
        }
    }

    fn plain(&self, first: u8, raw: &str, row: &mut RowWriter<'_>) -> Result<bool, Refusal> {
        match first {
            _ if matches!(self.convert, Convert::Json) => {
                if scan::has_lone_surrogate(raw) {
                    return Err(LONE_SURROGATE);
                }
                row.set_unchecked(self.index, ValueRef::Json(&scan::compact(raw)));
                Ok(true)
            }
            b'"' => self.text(&unquote(raw)?, row),
            b'{' | b'[' => Err(NOT_TEXT),
            b't' | b'f' => self.bare(raw, row, |column, raw, row| column.bool(raw, row)),
            _ => self.bare(raw, row, |column, raw, row| column.number(raw, row)),
        }
    }

    fn bare(
        &self,
        raw: &str,
        row: &mut RowWriter<'_>,
        write: impl Fn(&Self, &str, &mut RowWriter<'_>) -> Result<(), Refusal>,
    ) -> Result<bool, Refusal> {
        if self.clean.nulls.iter().any(|null| null == raw) {
            return Ok(false);
        }
        match &self.clean.map {
            Some(map) => self.mapped(map, raw, row).map(|()| true),
            None => write(self, raw, row).map(|()| true),
        }
    }

    fn bool(&self, raw: &str, row: &mut RowWriter<'_>) -> Result<(), Refusal> {
        match self.convert {
            Convert::Bool | Convert::Flag => row.set_unchecked(self.index, ValueRef::Bool(raw == "true")),
            Convert::Text => row.set_unchecked(self.index, ValueRef::Text(&self.cased(raw))),
            _ => return Err("true or false where another kind is declared"),
        }
        Ok(())
    }

    fn number(&self, raw: &str, row: &mut RowWriter<'_>) -> Result<(), Refusal> {
        match &self.convert {
            Convert::Separated { kind, .. } => kind.scalar(raw, self.index, row),
            Convert::Bool => Err("a number where true or false is declared"),
            Convert::Date => Err("a number where a date is declared"),
            Convert::Bytes => Err("a number where bytes are declared"),
            Convert::Timestamp(TimeRule::Rfc3339) | Convert::DateOf(TimeRule::Rfc3339) => {
                Err("a number where an instant in RFC 3339 is declared")
            }
            convert => convert.scalar(raw, self.index, row),
        }
    }

    #[inline]
    pub(super) fn text(&self, text: &str, row: &mut RowWriter<'_>) -> Result<bool, Refusal> {
        let text = if self.clean.trim { text.trim() } else { text };
        if self.clean.nulls.iter().any(|null| null == text) {
            return Ok(false);
        }
        if let Some(map) = &self.clean.map {
            return self.mapped(map, text, row).map(|()| true);
        }
        match &self.convert {
            Convert::Text if self.clean.case.is_some() => {
                row.set_unchecked(self.index, ValueRef::Text(&self.cased(text)));
                Ok(())
            }
            Convert::Bool => Err("text where true or false is declared"),
            Convert::Separated { kind, thousands, point } => {
                kind.scalar(&number::plain(text, *thousands, *point)?, self.index, row)
            }
            convert => convert.scalar(text, self.index, row),
        }
        .map(|()| true)
    }

    /// Writes what a text means. The meaning is read as a text of the source is, whatever the column's kind.
    fn mapped(&self, map: &Map, text: &str, row: &mut RowWriter<'_>) -> Result<(), Refusal> {
        let meaning = map.values.get(&*self.cased(text)).or(map.default.as_ref());
        self.write_meaning(meaning.ok_or(UNKNOWN)?, row)
    }

    pub(super) fn write_meaning(&self, meaning: &str, row: &mut RowWriter<'_>) -> Result<(), Refusal> {
        self.convert.scalar(meaning, self.index, row)
    }

    pub(super) fn cased<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.clean.cased(text)
    }
}

impl Clean {
    fn cased<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.case {
            None => text.into(),
            Some(Case::Upper) => text.to_uppercase().into(),
            Some(Case::Lower) => text.to_lowercase().into(),
        }
    }

    /// A text without blanks where they are taken away, and in its case; `None` where it stands for no value.
    pub(super) fn plain<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        let text = if self.trim { text.trim() } else { text };
        let is_null = self.nulls.iter().any(|null| null == text);
        (!is_null).then(|| self.cased(text))
    }
}

impl Convert {
    fn new(kind: Kind, parse: &Parse) -> Result<Self, String> {
        let plain = match kind {
            Kind::Bool => Self::Bool,
            Kind::Int => Self::Int,
            Kind::UInt => Self::UInt,
            Kind::Float => Self::Float,
            Kind::Decimal { precision, scale } => Self::Decimal { precision, scale },
            Kind::Text => Self::Text,
            Kind::Bytes => Self::Bytes,
            Kind::Timestamp => Self::Timestamp(TimeRule::Rfc3339),
            Kind::Date => Self::Date,
            Kind::Json => Self::Json,
        };
        let rule = match parse {
            Parse::Auto => return Ok(plain),
            Parse::Flag if kind == Kind::Bool => return Ok(Self::Flag),
            Parse::Flag => return Err("`flag` is for columns that are true or false".to_owned()),
            Parse::Number { thousands, point } => {
                if thousands == point || [thousands, point].iter().any(|sign| sign.is_ascii_digit()) {
                    return Err("the separators of `number` must be two different signs, and no digits".to_owned());
                }
                return match plain {
                    Self::Int | Self::UInt | Self::Float | Self::Decimal { .. } => {
                        Ok(Self::Separated { kind: Box::new(plain), thousands: *thousands, point: *point })
                    }
                    _ => Err("`number` is for columns of numbers".to_owned()),
                };
            }
            Parse::Rfc3339 => TimeRule::Rfc3339,
            Parse::EpochSeconds => TimeRule::Epoch(0),
            Parse::EpochMillis => TimeRule::Epoch(3),
            Parse::EpochMicros => TimeRule::Epoch(6),
            Parse::Format { format, zone } => TimeRule::Format(Box::new(Format::new(format, zone)?)),
        };
        match kind {
            Kind::Timestamp => Ok(Self::Timestamp(rule)),
            Kind::Date => Ok(Self::DateOf(rule)),
            _ => Err("formats of time are for timestamps and dates".to_owned()),
        }
    }

    /// A single value from its text, be it quoted in the record or not.
    #[inline]
    fn scalar(&self, text: &str, at: usize, row: &mut RowWriter<'_>) -> Result<(), Refusal> {
        let value = match self {
            Self::Text => ValueRef::Text(text),
            Self::Int => ValueRef::Int(number::int(text)?),
            Self::UInt => ValueRef::UInt(number::uint(text)?),
            Self::Float => ValueRef::Float(number::float(text)?),
            Self::Decimal { precision, scale } => {
                let exact = number::decimal(text, *precision, *scale)?;
                row.set_unchecked(at, exact.as_value());
                return Ok(());
            }
            Self::Timestamp(rule) => ValueRef::Timestamp(Timestamp::from_micros(rule.micros(text)?)),
            Self::Date => ValueRef::Date(time::date(text)?),
            Self::DateOf(rule) => ValueRef::Date(rule.date(text)?),
            Self::Flag | Self::Bool => ValueRef::Bool(flag(text)?),
            Self::Bytes => {
                let bytes = base64::decode(text).ok_or("not standard base64")?;
                row.set_unchecked(at, ValueRef::Bytes(&bytes));
                return Ok(());
            }
            Self::Separated { kind, .. } => return kind.scalar(text, at, row),
            Self::Json => ValueRef::Json(text),
        };
        row.set_unchecked(at, value);
        Ok(())
    }
}

const LONE_SURROGATE: Refusal = "text with an escape that is no character (half a surrogate pair)";

/// The text inside of a JSON string.
pub(super) fn unquote(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if inner.as_bytes().contains(&b'\\') {
        return serde_json::from_str::<String>(raw).map(Cow::Owned).map_err(|_| LONE_SURROGATE);
    }
    Ok(Cow::Borrowed(inner))
}

fn flag(text: &str) -> Result<bool, Refusal> {
    const YES: [&str; 6] = ["1", "true", "yes", "y", "t", "on"];
    const NO: [&str; 6] = ["0", "false", "no", "n", "f", "off"];
    let is = |words: [&str; 6]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match (is(YES), is(NO)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err("neither yes nor no"),
    }
}
