//! One value as JSON: what JSON numbers do not hold exactly travels as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sync_core::Value;
use sync_core::model::Schema;

/// The first integer that a JSON number of a browser does not tell from its neighbour.
pub(super) const INEXACT: u64 = 1 << 53;

/// A row as an object by column.
pub(super) struct RowJson<'a> {
    pub(super) schema: &'a Schema,
    pub(super) values: &'a [Value],
}

impl Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (field, value) in self.schema.fields().iter().zip(self.values) {
            map.serialize_entry(field.name(), &ValueJson(value))?;
        }
        map.end()
    }
}

struct ValueJson<'a>(&'a Value);

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(v) => serializer.serialize_bool(*v),
            Value::Int(v) if v.unsigned_abs() < INEXACT => serializer.serialize_i64(*v),
            Value::UInt(v) if *v < INEXACT => serializer.serialize_u64(*v),
            Value::Float(v) if v.is_finite() => serializer.serialize_f64(*v),
            Value::Bytes(v) => serializer.serialize_str(&STANDARD.encode(v)),
            Value::Json(v) => {
                let raw: &RawValue =
                    serde_json::from_str(v).map_err(|_| S::Error::custom("a column of JSON holds none"))?;
                raw.serialize(serializer)
            }
            other => serializer.collect_str(other),
        }
    }
}
