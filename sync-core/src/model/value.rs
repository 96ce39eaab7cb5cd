//! One value, owned or borrowed from a row.

use std::cmp::Ordering;
use std::fmt;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Kind, Timestamp};

/// A value of its own. Rows hold their values in a flatter form; see [`ValueRef`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer, exact.
    Int(i64),
    /// An unsigned 64-bit integer, exact.
    UInt(u64),
    /// A binary floating-point number. Money never passes through it.
    Float(#[serde(with = "any_float")] f64),
    /// An exact decimal number of up to 28 digits. A longer one stays exact as text.
    Decimal(#[serde(with = "rust_decimal::serde::str")] Decimal),
    /// Unicode text.
    Text(Box<str>),
    /// Raw bytes.
    Bytes(Box<[u8]>),
    /// An instant, microseconds, UTC.
    Timestamp(Timestamp),
    /// A calendar date without zone.
    Date(NaiveDate),
    /// Nested data as JSON text.
    Json(Box<str>),
}

/// Floats that JSON has no number for are written as text, so that a letter with one can be read again.
mod any_float {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(float: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if float.is_finite() { serializer.serialize_f64(*float) } else { serializer.serialize_str(&float.to_string()) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(number),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// A value inside a row. Copying it copies no text.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// An unsigned 64-bit integer.
    UInt(u64),
    /// A binary floating-point number.
    Float(f64),
    /// An exact decimal number.
    Decimal(Decimal),
    /// Unicode text.
    Text(&'a str),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// An instant, microseconds, UTC.
    Timestamp(Timestamp),
    /// A calendar date.
    Date(NaiveDate),
    /// Nested data as JSON text.
    Json(&'a str),
}

impl Value {
    /// The same value, borrowed.
    #[inline]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Bool(v) => ValueRef::Bool(*v),
            Self::Int(v) => ValueRef::Int(*v),
            Self::UInt(v) => ValueRef::UInt(*v),
            Self::Float(v) => ValueRef::Float(*v),
            Self::Decimal(v) => ValueRef::Decimal(*v),
            Self::Text(v) => ValueRef::Text(v),
            Self::Bytes(v) => ValueRef::Bytes(v),
            Self::Timestamp(v) => ValueRef::Timestamp(*v),
            Self::Date(v) => ValueRef::Date(*v),
            Self::Json(v) => ValueRef::Json(v),
        }
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl<'a> ValueRef<'a> {
    /// The same value, owned.
    pub fn to_owned(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::UInt(v) => Value::UInt(v),
            Self::Float(v) => Value::Float(v),
            Self::Decimal(v) => Value::Decimal(v),
            Self::Text(v) => Value::Text(v.into()),
            Self::Bytes(v) => Value::Bytes(v.into()),
            Self::Timestamp(v) => Value::Timestamp(v),
            Self::Date(v) => Value::Date(v),
            Self::Json(v) => Value::Json(v.into()),
        }
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text, where it is text or JSON.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Text(v) | Self::Json(v) => Some(v),
            _ => None,
        }
    }

    /// The number, where it is an integer that fits.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Int(v) => Some(v),
            Self::UInt(v) => i64::try_from(v).ok(),
            _ => None,
        }
    }

    /// The kind of this value, for messages; null has none.
    pub fn kind_name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "integer",
            Self::UInt(_) => "unsigned integer",
            Self::Float(_) => "float",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "timestamp",
            Self::Date(_) => "date",
            Self::Json(_) => "JSON",
        }
    }

    /// Whether a column of this kind may hold this value. Null fits every kind; whether it may stand there is the
    /// field's own affair. A decimal too long for [`Decimal`] may stand as exact text in a decimal column.
    pub fn fits(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Null, _)
            | (Self::Bool(_), Kind::Bool)
            | (Self::Int(_), Kind::Int)
            | (Self::UInt(_), Kind::UInt)
            | (Self::Float(_), Kind::Float)
            | (Self::Decimal(_) | Self::Text(_), Kind::Decimal { .. })
            | (Self::Text(_), Kind::Text)
            | (Self::Bytes(_), Kind::Bytes)
            | (Self::Timestamp(_), Kind::Timestamp)
            | (Self::Date(_), Kind::Date)
            | (Self::Json(_), Kind::Json) => true,
            (Self::Int(v), Kind::UInt) => v >= 0,
            (Self::UInt(v), Kind::Int) => i64::try_from(v).is_ok(),
            _ => false,
        }
    }

    /// A total order over all values: null first, then by kind, then by value. Integers compare as numbers whatever
    /// their sign; `-0.0` equals `0.0`, and every NaN equals every other and stands last among floats.
    pub fn total_cmp(self, other: ValueRef<'_>) -> Ordering {
        match (self, other) {
            (Self::Null, ValueRef::Null) => Ordering::Equal,
            (Self::Bool(a), ValueRef::Bool(b)) => a.cmp(&b),
            (Self::Int(a), ValueRef::Int(b)) => a.cmp(&b),
            (Self::UInt(a), ValueRef::UInt(b)) => a.cmp(&b),
            (Self::Int(a), ValueRef::UInt(b)) => i128::from(a).cmp(&i128::from(b)),
            (Self::UInt(a), ValueRef::Int(b)) => i128::from(a).cmp(&i128::from(b)),
            (Self::Float(a), ValueRef::Float(b)) => plain_zero(a).total_cmp(&plain_zero(b)),
            (Self::Decimal(a), ValueRef::Decimal(b)) => a.cmp(&b),
            (Self::Text(a), ValueRef::Text(b)) | (Self::Json(a), ValueRef::Json(b)) => a.cmp(b),
            (Self::Bytes(a), ValueRef::Bytes(b)) => a.cmp(b),
            (Self::Timestamp(a), ValueRef::Timestamp(b)) => a.cmp(&b),
            (Self::Date(a), ValueRef::Date(b)) => a.cmp(&b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::UInt(_) => 2,
            Self::Float(_) => 3,
            Self::Decimal(_) => 4,
            Self::Text(_) => 5,
            Self::Bytes(_) => 6,
            Self::Timestamp(_) => 7,
            Self::Date(_) => 8,
            Self::Json(_) => 9,
        }
    }
}

/// The one form of a float that stands for all that count as equal: no negative zero, one NaN.
pub(super) fn plain_zero(v: f64) -> f64 {
    if v.is_nan() {
        f64::NAN
    } else if v == 0.0 {
        0.0
    } else {
        v
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.total_cmp(*other) == Ordering::Equal
    }
}

impl Eq for ValueRef<'_> {}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().total_cmp(other.as_ref())
    }
}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl std::hash::Hash for ValueRef<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(v) => v.hash(state),
            Self::Int(v) => i128::from(*v).hash(state),
            Self::UInt(v) => i128::from(*v).hash(state),
            Self::Float(v) => plain_zero(*v).to_bits().hash(state),
            Self::Decimal(v) => v.hash(state),
            Self::Text(v) | Self::Json(v) => v.hash(state),
            Self::Bytes(v) => v.hash(state),
            Self::Timestamp(v) => v.hash(state),
            Self::Date(v) => v.hash(state),
        }
    }
}

impl fmt::Display for ValueRef<'_> {
    /// Plain text, as one would write it in a report; bytes as hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(v) => v.fmt(f),
            Self::Int(v) => v.fmt(f),
            Self::UInt(v) => v.fmt(f),
            Self::Float(v) => v.fmt(f),
            Self::Decimal(v) => v.fmt(f),
            Self::Text(v) | Self::Json(v) => f.write_str(v),
            Self::Bytes(v) => v.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Timestamp(v) => v.fmt(f),
            Self::Date(v) => v.fmt(f),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

macro_rules! from_plain {
    ($($plain:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$plain> for Value {
            fn from(v: $plain) -> Self {
                Self::$variant(v.into())
            }
        }
    )+};
}

from_plain! {
    bool => Bool, i32 => Int, i64 => Int, u32 => UInt, u64 => UInt, f64 => Float, Decimal => Decimal,
    &str => Text, String => Text, Vec<u8> => Bytes, Timestamp => Timestamp, NaiveDate => Date,
    chrono::DateTime<chrono::Utc> => Timestamp,
}
