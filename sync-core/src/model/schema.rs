//! The columns of a stream, shared by all its rows.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// True or false.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// An unsigned 64-bit integer.
    UInt,
    /// A binary floating-point number.
    Float,
    /// An exact decimal number.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Unicode text.
    Text,
    /// Raw bytes.
    Bytes,
    /// An instant, microseconds, UTC.
    Timestamp,
    /// A calendar date.
    Date,
    /// Nested data as JSON text.
    Json,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("integer"),
            Self::UInt => f.write_str("unsigned integer"),
            Self::Float => f.write_str("float"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Date => f.write_str("date"),
            Self::Json => f.write_str("JSON"),
        }
    }
}

/// One column: its name, what it holds, and whether it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    name: Arc<str>,
    kind: Kind,
    nullable: bool,
}

impl Field {
    /// A column that may be empty.
    pub fn new(name: impl Into<Arc<str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind, nullable: true }
    }

    /// The same column, never empty.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// The column's name.
    #[inline]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the column holds.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the column may be empty.
    #[inline]
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }
}

/// The columns of a stream, in order. Cheap to share: rows hold it behind an `Arc`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Field>", into = "Vec<Field>")]
pub struct Schema {
    fields: Vec<Field>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Schema {
    /// A schema of these columns. Where a name stands twice, the first one is found by name.
    pub fn new(fields: impl IntoIterator<Item = Field>) -> Self {
        let fields: Vec<Field> = fields.into_iter().collect();
        let mut by_name = HashMap::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            by_name.entry(Arc::clone(&field.name)).or_insert(index);
        }
        Self { fields, by_name }
    }

    /// The columns in order.
    #[inline]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How many columns there are.
    #[inline]
    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// The position of a column.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The column of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index(name).map(|index| &self.fields[index])
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Eq for Schema {}

impl From<Vec<Field>> for Schema {
    fn from(fields: Vec<Field>) -> Self {
        Self::new(fields)
    }
}

impl From<Schema> for Vec<Field> {
    fn from(schema: Schema) -> Self {
        schema.fields
    }
}
